//! The message of a record: one sentence that says what happened and why.

use std::fmt::Write as _;
use std::time::Duration;

use super::redact::{self, Target};
use crate::observe::end::{Phase, Reason};
use crate::observe::record::{AttemptRecord, Outcome, Protocol, Record, RecordNames};
use crate::observe::words::{Took, beginning, push_plain};

/// Longest method, and longest path in a message, in bytes; more of the path is in `PROXY_DATA`.
pub(super) const METHOD: usize = 64;
const PATH: usize = 512;
const HOST: usize = 255;
const DETAIL: usize = 512;
/// Longest list of attempts in a message, in bytes, the last one not counted.
const ATTEMPTS: usize = 500;

/// Writes the sentence of `record`:
/// `192.0.2.7 GET example.com/path → 200 from web-farm/10.0.0.11:80 in 3.2 ms, 1873 bytes out [01JD9Z…]`.
pub(super) fn write(out: &mut String, record: &Record, names: &RecordNames) {
    write_subject(out, record, names);
    match (record.status, record.protocol) {
        (0, Protocol::Tcp) => {}
        (0, _) => out.push_str(" → no answer"),
        (status, _) => {
            out.push_str(" → ");
            out.push_str(itoa::Buffer::new().format(status));
        }
    }
    if let Some(status) = record.grpc_status {
        let _ = write!(out, " (grpc-status {status})");
    }
    write_server(out, record, names);
    let _ = write!(out, " in {}", Took(Duration::from_micros(record.timers.total)));
    write_bytes(out, record);
    if record.end.reason != Reason::Ok {
        let _ = write!(out, ": {}{}", reason_text(record.end.reason), whereabouts(record));
    }
    // a cause that repeats the reason is left out
    if let Some(detail) = record.detail.as_ref().filter(|detail| !repeats(record.end.reason, detail)) {
        out.push_str(": ");
        push_short(out, detail, DETAIL);
    }
    write_failed_attempts(out, record, names);
    let _ = write!(out, " [{}]", record.id.as_str());
}

fn write_subject(out: &mut String, record: &Record, names: &RecordNames) {
    if let Some(client) = record.client {
        let _ = write!(out, "{} ", client.ip().to_canonical());
    }
    let listener = names.listeners.get(usize::from(record.listener));
    let listener = listener.map_or("?", String::as_str);
    let Some(method) = &record.method else {
        let what = if record.protocol == Protocol::Tcp { "TCP connection" } else { "Connection" };
        let _ = write!(out, "{what} on {listener}");
        if record.protocol == Protocol::Tcp && !record.host.shown.is_empty() {
            out.push_str(" for ");
            push_short(out, redact::host(&record.host.shown), HOST);
        }
        return;
    };
    push_short(out, method.as_str(), METHOD);
    if record.host.shown.is_empty() && record.target.shown.is_empty() {
        return; // its head was refused before that was understood
    }
    out.push(' ');
    push_short(out, redact::host(&record.host.shown), HOST);
    let mut path = String::with_capacity(record.target.shown.len());
    Target::new(&record.target.shown).write_path(&mut path);
    if push_short(out, &path, PATH) && record.target.cut && !record.target.shown.contains('?') {
        out.push('…');
    }
}

fn write_bytes(out: &mut String, record: &Record) {
    let mut number = itoa::Buffer::new();
    out.extend([", ", number.format(record.bytes_out), " bytes out"]);
    if record.bytes_in > 0 {
        out.extend([", ", number.format(record.bytes_in), " in"]);
    }
}

/// Returns whether it was all.
fn push_short(out: &mut String, text: &str, most: usize) -> bool {
    let whole = push_plain(out, text, most);
    if !whole {
        out.push('…');
    }
    whole
}

fn write_server(out: &mut String, record: &Record, names: &RecordNames) {
    let Some(last) = record.attempts.last().filter(|last| last.outcome == Outcome::Responded) else {
        return;
    };
    let Some((pool, servers)) = record.pool.and_then(|pool| names.pools.get(usize::from(pool))) else {
        return;
    };
    let word = if record.protocol == Protocol::Tcp { "to" } else { "from" };
    let _ = write!(out, " {word} {pool}/{}", server(servers, last));
}

fn write_failed_attempts(out: &mut String, record: &Record, names: &RecordNames) {
    let servers = record.pool.and_then(|pool| names.pools.get(usize::from(pool)));
    let servers = servers.map_or(&[][..], |(_, servers)| servers);
    let mut separator = " (";
    let before = out.len();
    for attempt in record.attempts.iter().filter(|attempt| attempt.outcome != Outcome::Responded) {
        if out.len() - before > ATTEMPTS {
            out.push_str(", …");
            break;
        }
        let _ = write!(out, "{separator}{}: {}", server(servers, attempt), outcome(attempt.outcome));
        separator = ", ";
    }
    if separator == ", " {
        out.push(')');
    }
}

fn server<'a>(servers: &'a [String], attempt: &AttemptRecord) -> &'a str {
    servers.get(usize::from(attempt.server)).map_or("?", |name| beginning(name, HOST))
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Responded => "responded",
        Outcome::ConnectFailed => "could not connect",
        Outcome::ConnectTimeout => "no connection in time",
        Outcome::TlsFailed => "TLS handshake failed",
        Outcome::TlsUntrusted => "certificate not trusted",
        Outcome::Closed => "closed the connection",
        Outcome::ResponseTimeout => "no response in time",
        Outcome::WentDown => "went down",
        Outcome::BadResponse => "bad response",
        Outcome::Abandoned => "given up",
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Ok => "all went well",
        Reason::ClientClosed => "the client closed the connection",
        Reason::ClientTimeout => "the client took too long",
        Reason::BadRequest => "the request broke a rule of HTTP",
        Reason::TooLarge => "the request was above a limit",
        Reason::NoSite => "no site answers to this host",
        Reason::NoServer => "no server of the pool is up",
        Reason::ServerRefused => "no server could be reached",
        Reason::ServerTls => "no TLS with a server",
        Reason::ServerTimeout => "the server took too long",
        Reason::ServerClosed => "the server closed the connection",
        Reason::ServerBadResponse => "the response broke a rule of HTTP",
        Reason::Denied => "this is not allowed here",
        Reason::Drained => "it was cut at the drain deadline",
        Reason::Internal => "a defect in Segue ended it",
        Reason::Killed => "an operator had it closed",
        Reason::Evicted => "it made room for another connection",
        Reason::Moved => "the next generation goes on with it",
    }
}

fn repeats(reason: Reason, detail: &str) -> bool {
    reason == Reason::ServerClosed && detail.starts_with(reason_text(reason))
}

/// When, for reasons that may come at any time.
fn whereabouts(record: &Record) -> &'static str {
    match record.end.reason {
        Reason::ClientClosed
        | Reason::ClientTimeout
        | Reason::ServerTimeout
        | Reason::ServerClosed
        | Reason::Drained
        | Reason::Internal
        | Reason::Killed => match record.end.phase {
            Phase::Handshake => " in the TLS handshake",
            Phase::Head => " before its request was whole",
            Phase::Route => " before a site was found",
            Phase::Connect => " while connecting to a server",
            Phase::Request => " while the request was sent on",
            Phase::Response => " before the response came",
            Phase::Body => " while the response was relayed",
            Phase::Tunnel => " while the tunnel was open",
            Phase::Idle | Phase::Done => "",
        },
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;

    use super::*;
    use crate::observe::end::End;
    use crate::observe::journal::entry::tests::names;
    use crate::observe::record::Text;
    use crate::observe::record::tests::retried;

    fn said(record: &Record) -> String {
        let mut out = String::new();
        write(&mut out, record, &names());
        out
    }

    #[test]
    fn a_retried_success_names_the_server_that_answered_and_the_one_that_did_not() {
        assert_eq!(
            said(&retried()),
            "192.0.2.7 GET shop.example.com/cart → 200 from farm/b in 3.2 ms, 1873 bytes out (a: could not connect) \
             [01HF7YAT00000000000000001A]"
        );
    }

    #[test]
    fn a_failure_says_why_in_words() {
        let mut record = retried();
        record.attempts.pop();
        record.status = 502;
        record.end = End::new(Phase::Connect, Reason::ServerRefused);
        record.detail = Some("connection refused".into());
        record.bytes_in = 12;
        assert_eq!(
            said(&record),
            "192.0.2.7 GET shop.example.com/cart → 502 in 3.2 ms, 1873 bytes out, 12 in: no server could be reached: \
             connection refused (a: could not connect) [01HF7YAT00000000000000001A]"
        );
        record.end = End::new(Phase::Response, Reason::ClientClosed);
        record.status = 0;
        record.attempts = smallvec![];
        record.detail = None;
        (record.client, record.bytes_in, record.bytes_out) = (None, 0, 0);
        assert_eq!(
            said(&record),
            "GET shop.example.com/cart → no answer in 3.2 ms, 0 bytes out: the client closed the connection before the \
             response came [01HF7YAT00000000000000001A]"
        );
    }

    #[test]
    fn a_server_that_closed_early_is_said_once() {
        let mut record = retried();
        record.attempts.pop();
        record.attempts[0].outcome = Outcome::Closed;
        record.status = 502;
        record.end = End::new(Phase::Response, Reason::ServerClosed);
        record.detail = Some("the server closed the connection before its response was whole".into());
        assert_eq!(
            said(&record),
            "192.0.2.7 GET shop.example.com/cart → 502 in 3.2 ms, 1873 bytes out: the server closed the connection \
             before the response came (a: closed the connection) [01HF7YAT00000000000000001A]"
        );
    }

    #[test]
    fn a_tcp_connection_has_no_request() {
        let mut record = retried();
        record.protocol = Protocol::Tcp;
        record.method = None;
        record.status = 0;
        record.attempts.remove(0);
        assert_eq!(
            said(&record),
            "192.0.2.7 TCP connection on http for shop.example.com to farm/b in 3.2 ms, 1873 bytes out \
             [01HF7YAT00000000000000001A]"
        );
        record.host = Text::default();
        assert_eq!(
            said(&record),
            "192.0.2.7 TCP connection on http to farm/b in 3.2 ms, 1873 bytes out [01HF7YAT00000000000000001A]"
        );
    }

    #[test]
    fn a_target_can_neither_break_the_line_nor_fill_the_journal() {
        let mut record = retried();
        record.target = Text::of(format!("/x\n\u{1b}[2J\u{202e}{}", "é".repeat(4_000)).as_bytes());
        let said = said(&record);
        assert!(said.len() < 700 && !said.contains(|char: char| char.is_control() || char == '\u{202e}'), "{said}");
        assert!(said.contains("é… → 200"));
    }
}
