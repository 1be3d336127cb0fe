//! A record as an entry of the journal's native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! A value with a line break is written with its length, so that nothing in a value can begin another field.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::bounded::FIELD;
use super::redact::{self, Target};
use super::{Identity, sentence};
use crate::observe::end::{Reason, Side};
use crate::observe::event::{Level, kind};
use crate::observe::record::{AttemptRecord, Protocol, Record, RecordNames};
use crate::observe::words::{beginning, push_plain};

/// `SYSLOG_IDENTIFIER` of everything.
pub(super) const IDENTIFIER: &str = "segue";

/// Appends the entry of `record` to `out`. `scratch` is memory to use again.
pub(super) fn write(out: &mut Vec<u8>, scratch: &mut String, record: &Record, names: &RecordNames, identity: Identity) {
    let mut number = itoa::Buffer::new();
    scratch.clear();
    sentence::write(scratch, record, names);
    field(out, "MESSAGE", scratch);
    field(out, "PRIORITY", number.format(level(record).priority()));
    field(out, "MESSAGE_ID", kind::EXCHANGE.message_id);
    field(out, "SYSLOG_IDENTIFIER", IDENTIFIER);
    field(out, "PROXY_EVENT", kind::EXCHANGE.name);
    some(out, "PROXY_LISTENER", names.listeners.get(usize::from(record.listener)));
    some(out, "PROXY_SITE", record.site.and_then(|site| names.sites.get(usize::from(site))));
    if let Some((pool, servers)) = record.pool.and_then(|pool| names.pools.get(usize::from(pool))) {
        field(out, "PROXY_POOL", pool);
        let last = record.attempts.last();
        some(out, "PROXY_SERVER", last.and_then(|last| servers.get(usize::from(last.server))));
    }
    if record.status != 0 {
        field(out, "PROXY_STATUS", number.format(record.status));
        if let Some(class) = STATUS_CLASSES.get(usize::from(record.status / 100)) {
            field(out, "PROXY_STATUS_CLASS", class);
        }
    }
    if let Some(status) = record.grpc_status {
        field(out, "PROXY_GRPC_STATUS", number.format(status));
    }
    if let Some(method) = &record.method {
        scratch.clear();
        push_plain(scratch, method.as_str(), sentence::METHOD);
        field(out, "PROXY_METHOD", scratch);
    }
    field(out, "PROXY_PROTOCOL", record.protocol.as_str());
    if let Some(client) = record.client {
        scratch.clear();
        let _ = std::fmt::Write::write_fmt(scratch, format_args!("{}", client.ip().to_canonical()));
        field(out, "PROXY_CLIENT", scratch);
    }
    field(out, "PROXY_END", record.end.reason.as_str());
    field(out, "PROXY_PHASE", record.end.phase.as_str());
    if let Some(generation) = identity.generation {
        field(out, "PROXY_GENERATION", number.format(generation));
    }
    field(out, "PROXY_REQUEST_ID", record.id.as_str());
    out.extend_from_slice(b"PROXY_DATA=");
    // JSON has no raw line breaks, and a write to a Vec cannot fail
    let _ = serde_json::to_writer(&mut *out, &Data::new(record, names));
    out.push(b'\n');
}

/// `PROXY_STATUS_CLASS`, by the first digit.
const STATUS_CLASSES: [&str; 6] = ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How urgent an exchange is for an operator: defects of ours, then faults of servers, then retries and what it ended; faults of
/// clients are ordinary traffic.
pub(super) fn level(record: &Record) -> Level {
    match (record.end.reason, record.end.side()) {
        (Reason::Internal, _) => Level::Error,
        (Reason::Ok, _) if record.status >= 500 => Level::Warn,
        (Reason::Ok, _) if record.attempts.len() > 1 => Level::Info,
        (Reason::Killed, _) => Level::Info,
        (Reason::Ok, _) | (_, Side::Client) => Level::Debug,
        (_, Side::Server | Side::Proxy) => Level::Warn,
    }
}

fn some(out: &mut Vec<u8>, name: &str, value: Option<&String>) {
    if let Some(value) = value {
        field(out, name, value);
    }
}

/// A value of 4 KB and more would be shown as null; only a name from the configuration can be as long.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    let value = beginning(value, FIELD);
    out.extend_from_slice(name.as_bytes());
    if memchr::memchr(b'\n', value.as_bytes()).is_some() {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// `PROXY_DATA`: the fields that are not for filters. Together with the rest, texts of these lengths stay below 4 KB.
#[derive(Serialize)]
struct Data<'a> {
    started: u64,
    us: Phases<'a>,
    bytes: Bytes,
    #[serde(skip_serializing_if = "Attempts::is_empty")]
    attempts: Attempts<'a>,
    #[serde(skip_serializing_if = "String::is_empty")]
    host: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referer: Option<String>,
    /// The keys whose value was cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut: Vec<&'static str>,
}

/// The most bytes of a path in JSON.
const PATH: usize = 1024;
/// The same of a host name, and of the name of a server.
const HOST: usize = 255;
/// The same of any other text.
const TEXT: usize = 448;
/// The same of the names in a handshake.
const NAME: usize = 100;
/// The same of all attempts, the last one not counted.
const ATTEMPTS: usize = 400;

/// What the handshake of the client agreed on.
#[derive(Serialize)]
struct Tls {
    version: &'static str,
    suite: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn: Option<Box<str>>,
    resumed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

#[derive(Serialize)]
struct Bytes {
    r#in: u64,
    out: u64,
}

impl<'a> Data<'a> {
    fn new(record: &'a Record, names: &'a RecordNames) -> Self {
        let mut cut = Vec::new();
        let mut short = |key, text: &str, most, whole: bool| {
            let mut out = String::with_capacity(text.len().min(most));
            if !push_plain(&mut out, text, most) || !whole {
                cut.push(key);
            }
            out
        };
        let mut redacted = String::with_capacity(record.target.shown.len());
        Target::new(&record.target.shown).write(&mut redacted);
        let path = short("path", &redacted, PATH, !record.target.cut);
        let host = short("host", redact::host(&record.host.shown), HOST, !record.host.cut);
        let detail = record.detail.as_ref().map(|detail| short("detail", detail, TEXT, true));
        let tls = record.tls.as_ref().map(|tls| Tls {
            version: tls.version.as_str(),
            suite: tls.suite_name(),
            sni: tls.server_name.as_ref().map(|name| short("sni", name, NAME, true)),
            alpn: tls.alpn.clone(),
            resumed: tls.resumed,
            client: tls.client_name().map(|name| short("client", &name, NAME, true)),
        });
        let user_agent = record.user_agent.as_ref().map(|text| short("user_agent", &text.shown, TEXT, !text.cut));
        let referer = record.referer.as_ref().map(|text| {
            redacted.clear();
            redact::referer(&text.shown, &mut redacted);
            short("referer", &redacted, TEXT, !text.cut)
        });
        let servers = record.pool.and_then(|pool| names.pools.get(usize::from(pool)));
        let attempts = Attempts::new(&record.attempts, servers.map_or(&[], |(_, servers)| servers));
        if attempts.attempts.len() < record.attempts.len() {
            cut.push("attempts");
        }
        Self {
            started: record.started,
            us: Phases(record),
            bytes: Bytes { r#in: record.bytes_in, out: record.bytes_out },
            attempts,
            host,
            path,
            client_port: record.client.map(|client| client.port()).filter(|port| *port != 0),
            tls,
            detail,
            user_agent,
            referer,
            cut,
        }
    }
}

/// How long each phase took, in microseconds. Phases that were not reached are absent; the one in which the exchange
/// ended has the rest of the time.
struct Phases<'a>(&'a Record);

impl Serialize for Phases<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Record { timers, attempts, status, protocol, .. } = self.0;
        let mut map = out.serialize_map(None)?;
        if timers.head > 0 {
            map.serialize_entry("head", &timers.head)?;
        }
        if !attempts.is_empty() {
            let tunnel = *protocol == Protocol::Tcp || *status == 101;
            let stations = [("connect", timers.connected), ("request", timers.sent), ("response", timers.responded)];
            let stations = &stations[..if *protocol == Protocol::Tcp { 1 } else { 3 }];
            let reached = stations.iter().rposition(|(_, at)| *at > 0).map_or(0, |last| last + 1);
            let mut before = 0;
            // a response may come before the whole request was sent
            for (name, at) in stations[..reached].iter().filter(|(_, at)| *at > 0) {
                map.serialize_entry(name, &at.saturating_sub(before))?;
                before = before.max(*at);
            }
            let last = if tunnel { "tunnel" } else { "body" };
            let running = stations.get(reached).map_or(last, |(name, _)| name);
            map.serialize_entry(running, &timers.total.saturating_sub(u64::from(before)))?;
        }
        map.serialize_entry("total", &timers.total)?;
        map.end()
    }
}

struct Attempts<'a> {
    attempts: &'a [AttemptRecord],
    servers: &'a [String],
}

impl<'a> Attempts<'a> {
    /// The last of them, as many as there is room for.
    fn new(attempts: &'a [AttemptRecord], servers: &'a [String]) -> Self {
        const WORDS: usize = 80; // of one attempt, without its server
        let mut room = ATTEMPTS;
        let mut fits = |attempt: &AttemptRecord| {
            let name = servers.get(usize::from(attempt.server)).map_or(0, |name| name.len());
            let before = room;
            room = room.saturating_sub(WORDS + name);
            before > 0
        };
        let shown = attempts.iter().rev().take_while(|attempt| fits(attempt)).count();
        Self { attempts: &attempts[attempts.len() - shown..], servers }
    }

    fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }
}

impl Serialize for Attempts<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct One<'a> {
            server: &'a str,
            result: &'static str,
            reused: bool,
            us: u32,
        }
        let mut seq = out.serialize_seq(Some(self.attempts.len()))?;
        for attempt in self.attempts {
            let server = self.servers.get(usize::from(attempt.server));
            seq.serialize_element(&One {
                server: server.map_or("?", |name| beginning(name, HOST)),
                result: attempt.outcome.as_str(),
                reused: attempt.reused,
                us: attempt.took,
            })?;
        }
        seq.end()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http::Method;
    use smallvec::smallvec;

    use std::sync::Arc;

    use super::*;
    use crate::observe::end::{End, Phase};
    use crate::observe::journal::Role;
    use crate::observe::record::tests::retried;
    use crate::observe::record::{Outcome, Text, Timers};
    use crate::tls::{HandshakeFacts, Version};

    pub(in crate::observe::journal) fn names() -> RecordNames {
        RecordNames {
            listeners: vec!["http".into()],
            sites: vec!["*.example.com".into()],
            pools: vec![("farm".into(), vec!["a".into(), "b".into()])],
        }
    }

    fn entry(record: &Record, names: &RecordNames) -> Vec<u8> {
        let identity = Identity { role: Role::Worker, generation: Some(7) };
        let mut out = Vec::new();
        write(&mut out, &mut String::new(), record, names, identity);
        out
    }

    #[test]
    fn an_entry_has_these_bytes() {
        let expected = "MESSAGE=192.0.2.7 GET shop.example.com/cart → 200 from farm/b in 3.2 ms, 1873 bytes out \
            (a: could not connect) [01HF7YAT00000000000000001A]\n\
            PRIORITY=5\n\
            MESSAGE_ID=033ef123c0d0214f9b86f0856a5c0650\n\
            SYSLOG_IDENTIFIER=segue\n\
            PROXY_EVENT=exchange\n\
            PROXY_LISTENER=http\n\
            PROXY_SITE=*.example.com\n\
            PROXY_POOL=farm\n\
            PROXY_SERVER=b\n\
            PROXY_STATUS=200\n\
            PROXY_STATUS_CLASS=2xx\n\
            PROXY_METHOD=GET\n\
            PROXY_PROTOCOL=http/1.1\n\
            PROXY_CLIENT=192.0.2.7\n\
            PROXY_END=ok\n\
            PROXY_PHASE=done\n\
            PROXY_GENERATION=7\n\
            PROXY_REQUEST_ID=01HF7YAT00000000000000001A\n\
            PROXY_DATA={\"started\":1700000000000123,\
            \"us\":{\"head\":30,\"connect\":620,\"request\":30,\"response\":2250,\"body\":349,\"total\":3249},\
            \"bytes\":{\"in\":0,\"out\":1873},\
            \"attempts\":[{\"server\":\"a\",\"result\":\"connect-failed\",\"reused\":false,\"us\":220},\
            {\"server\":\"b\",\"result\":\"responded\",\"reused\":false,\"us\":2300}],\
            \"host\":\"shop.example.com\",\"path\":\"/cart?item=*\",\"client_port\":50123}\n";
        assert_eq!(String::from_utf8(entry(&retried(), &names())).expect("text"), expected);
    }

    #[test]
    fn the_documentation_lists_every_field() {
        let document = include_str!("../../../docs/journal.md");
        let page = include_str!("../../../packaging/man/segue-journal.7");
        let text = String::from_utf8(entry(&retried(), &names())).expect("text");
        for (field, _) in text.lines().filter_map(|line| line.split_once('=')) {
            assert!(document.contains(&format!("| `{field}` |")), "{field}");
            assert!(page.contains(&format!("\n.B {field}\n")), "{field}");
        }
    }

    #[test]
    fn traffic_can_not_forge_a_field() {
        let mut record = retried();
        record.target = Text::of(b"/x\nPRIORITY=0\nPROXY_STATUS=999?p\nMESSAGE=no");
        record.host = Text::of(b"h\nPROXY_POOL=other");
        record.user_agent = Some(Text::of(b"u\nPROXY_SITE=other"));
        record.referer = Some(Text::of(b"https://r/\nPROXY_SITE=other?q"));
        record.detail = Some("odd\nPROXY_END=ok\n".into());
        let text = String::from_utf8(entry(&record, &names())).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 19, "{text}");
        for name in ["MESSAGE=", "PRIORITY=", "PROXY_STATUS=", "PROXY_POOL=", "PROXY_END="] {
            assert_eq!(lines.iter().filter(|line| line.starts_with(name)).count(), 1, "{name}");
        }
    }

    /// With a name that no handshake would have.
    fn nasty_tls(name: &str) -> Arc<HandshakeFacts> {
        Arc::new(HandshakeFacts {
            version: Version::Tls12,
            suite: 0xcca9,
            server_name: Some(name.into()),
            alpn: Some("http/1.1".into()),
            resumed: false,
            client: None,
        })
    }

    #[test]
    fn a_record_over_tls_says_what_the_handshake_agreed_on() {
        let facts = HandshakeFacts { resumed: true, ..HandshakeFacts::clone(&nasty_tls("shop.example.com")) };
        let record = Record { tls: Some(facts.into()), ..retried() };
        let text = String::from_utf8(entry(&record, &names())).expect("text");
        let data = text.lines().find_map(|line| line.strip_prefix("PROXY_DATA=")).expect("data");
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        let tls = serde_json::json!({
            "version": "TLSv1.2", "suite": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "sni": "shop.example.com",
            "alpn": "http/1.1", "resumed": true,
        });
        assert_eq!(data["tls"], tls);
    }

    #[test]
    fn no_field_of_a_record_has_4_kb_whatever_traffic_does() {
        let mut names = names();
        names.pools[0].1 = vec!["s".repeat(9_000); 2];
        names.sites[0] = "é".repeat(9_000);
        for nasty in ["\u{202e}", "\"", "\\", "\u{0}", "é", "x", ";a=b", "/?\u{1b}&"] {
            let text = nasty.repeat(9_000);
            let foreign = || Text::of(text.as_bytes());
            let mut record = retried();
            record.method = Method::from_bytes(&[b'M'; 9_000]).ok();
            (record.target, record.host) = (Text::of(format!("/{text}").as_bytes()), foreign());
            (record.user_agent, record.referer) = (Some(foreign()), Some(foreign()));
            record.detail = Some(text.as_str().into());
            record.attempts = smallvec![record.attempts[0]; 101];
            (record.started, record.bytes_in, record.bytes_out) = (u64::MAX, u64::MAX, u64::MAX);
            record.tls = Some(nasty_tls(&text));
            record.timers =
                Timers { head: 1 << 31, connected: 1 << 29, sent: 1 << 30, responded: 1 << 31, total: u64::MAX };
            let text = String::from_utf8(entry(&record, &names)).expect("text");
            assert!(!text.contains(['\u{202e}', '\u{0}', '\u{1b}']));
            for line in text.lines() {
                assert!(line.len() < 4096, "{} bytes: {}", line.len(), &line[..40]);
            }
            let data = text.lines().find_map(|line| line.strip_prefix("PROXY_DATA=")).expect("data");
            let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(data["tls"]["version"], "TLSv1.2");
            for key in ["path", "host", "detail", "user_agent", "referer", "attempts"] {
                let cut = data["cut"].as_array().expect("a list").contains(&key.into());
                assert!(cut || data[key].as_str().is_some_and(|text| text.len() < 40), "{key}: {data}");
            }
        }
    }

    #[test]
    fn user_agent_and_referer_are_shown_without_what_may_be_secret() {
        let mut record = retried();
        record.user_agent = Some(Text::of(b"curl/8.5.0"));
        record.referer = Some(Text::of(b"https://me:pw@shop.example.com/a;s=1?token=2#3"));
        let text = String::from_utf8(entry(&record, &names())).expect("text");
        let data = r#""user_agent":"curl/8.5.0","referer":"https://shop.example.com/a;s=*?token=*"}"#;
        assert!(text.contains(data), "{text}");
    }

    #[test]
    fn a_value_with_a_line_break_is_written_with_its_length() {
        let mut out = Vec::new();
        field(&mut out, "PROXY_POOL", "a\nPRIORITY=0");
        assert_eq!(out, b"PROXY_POOL\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\n");
    }

    #[test]
    fn a_connection_without_a_request_has_only_what_is_known() {
        let mut record = retried();
        (record.site, record.pool, record.method, record.client) = (None, None, None, None);
        (record.status, record.end) = (400, End::new(Phase::Done, Reason::BadRequest));
        record.attempts.clear();
        record.timers = Timers { total: 90, ..Timers::default() };
        (record.host, record.target) = (Text::default(), Text::default());
        let text = String::from_utf8(entry(&record, &names())).expect("text");
        assert!(text.contains("PROXY_STATUS=400\nPROXY_STATUS_CLASS=4xx\nPROXY_PROTOCOL"), "{text}");
        assert!(text.contains("PRIORITY=6\n") && text.contains("PROXY_END=bad-request\nPROXY_PHASE=done\n"));
        let data = r#"PROXY_DATA={"started":1700000000000123,"us":{"total":90},"bytes":{"in":0,"out":1873}}"#;
        assert!(text.contains(data), "{text}");
    }

    #[test]
    fn the_phase_that_was_cut_has_the_rest_of_the_time() {
        let mut record = retried();
        let phases = |record: &Record| serde_json::to_string(&Phases(record)).expect("json");
        record.timers = Timers { connected: 100, sent: 150, total: 1_000, ..Timers::default() };
        assert_eq!(phases(&record), r#"{"connect":100,"request":50,"response":850,"total":1000}"#);
        record.timers.sent = 0;
        record.timers.responded = 400; // an early answer
        assert_eq!(phases(&record), r#"{"connect":100,"response":300,"body":600,"total":1000}"#);
        record.protocol = Protocol::Tcp;
        record.timers.responded = 0;
        assert_eq!(phases(&record), r#"{"connect":100,"tunnel":900,"total":1000}"#);
    }

    #[test]
    fn faults_of_servers_are_warnings_and_those_of_clients_are_not() {
        let with = |reason, status| {
            level(&Record {
                end: End::new(Phase::Done, reason),
                status,
                attempts: smallvec![AttemptRecord { server: 0, reused: true, outcome: Outcome::Responded, took: 1 }],
                ..retried()
            })
        };
        assert_eq!(with(Reason::Ok, 200), Level::Debug);
        assert_eq!(with(Reason::Ok, 503), Level::Warn);
        assert_eq!(with(Reason::ServerTimeout, 504), Level::Warn);
        assert_eq!(with(Reason::BadRequest, 501), Level::Debug);
        assert_eq!(with(Reason::ClientClosed, 200), Level::Debug);
        assert_eq!(with(Reason::Internal, 500), Level::Error);
    }
}
