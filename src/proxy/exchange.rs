//! One exchange: what is known of it so far, and the record of it when it ends.
//!
//! It lives until the client has the response (or as long as the tunnel that it became): dropped, it writes its record.
//! Dropped before its end was said, the client went away.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Uri, Version};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::debug::{DebugLines, shown_path, shown_request_body};
use super::fault::Fault;
use super::origin::{self, Origin};
use super::request::{ClientRequest, RefusedHead};
use super::thread::Thread;
use super::underway::Entry;
use crate::http1::request::{Framing, MethodFacts, RequestHead};
use crate::message::auth::Credentials;
use crate::message::authority::Host;
use crate::message::head::RawHead;
use crate::observe::end::{End, Phase, Reason};
use crate::observe::metrics::{Busy, Counted};
use crate::observe::record::{AttemptRecord, Index, Outcome, Protocol, Record, RequestId, Text, Timers};
use crate::observe::{self, Took, WithCauses};
use crate::upstream::upload;

/// An exchange that is open.
pub struct Exchange {
    pub(super) thread: Rc<Thread>,
    pub(super) origin: Rc<Origin>,
    pub(super) id: RequestId,
    /// Before this process began, perhaps, for a tunnel that moved.
    pub(super) opened: Instant,
    /// What the head says.
    pub(super) facts: RequestHead,
    pub(super) protocol: Protocol,
    /// `None` when none was understood, and in TCP mode.
    pub(super) method: Option<Method>,
    /// As it came; an empty one where none was found right.
    pub(super) head: Rc<RawHead>,
    /// Where the client reached us, when it named no host.
    pub(super) reached: Option<Box<str>>,
    /// The client as the generation before believed it, when that had the head.
    pub(super) forwarded_client: Option<SocketAddr>,
    pub(super) site: Option<Index>,
    pub(super) pool: Option<Index>,
    pub(super) status: u16,
    pub(super) phase: Phase,
    end: Option<End>,
    detail: Option<Box<str>>,
    pub(super) timers: Timers,
    /// When the head of the response came. The timers cannot tell: they end after an hour, which an upload may last.
    pub(super) responded: Instant,
    pub(super) bytes_in: u64,
    /// The `grpc-status` that came with the response.
    pub(super) grpc_status: Option<u32>,
    pub(super) bytes_out: u64,
    /// The client waits for `100 Continue`, and has not got it.
    pub(super) waits_for_continue: bool,
    /// The client has got `100 Continue`.
    pub(super) continued: bool,
    pub(super) attempts: SmallVec<[AttemptRecord; 1]>,
    /// The attempt that is under way.
    attempting: Option<CurrentAttempt>,
    /// When the response had come whole: the end of the exchange, unless the client takes longer.
    finished: Option<Instant>,
    /// What the connection is busy with.
    busy: Busy,
    /// Its place among all that is under way, once it has one.
    place: Option<usize>,
    /// It goes on in another generation, whose record it is.
    moved: bool,
    /// Its debug lines, when a session of `segue debug` shows it.
    debug: Option<Box<DebugLines>>,
}

/// An attempt that is under way.
#[derive(Clone, Copy)]
struct CurrentAttempt {
    server: Index,
    reused: bool,
    began: Instant,
}

impl Exchange {
    /// Opens the exchange of a request.
    pub(super) fn open(thread: &Rc<Thread>, origin: &Rc<Origin>, request: ClientRequest) -> Box<Self> {
        let mut exchange = Self::blank(thread, origin, Some(request));
        exchange.method = Method::from_bytes(exchange.head.method()).ok();
        exchange
    }

    /// Opens the exchange of a connection in TCP mode, whose client asked for this host by TLS.
    pub(super) fn open_tcp(thread: &Rc<Thread>, origin: &Rc<Origin>, host: Option<&str>) -> Box<Self> {
        let mut exchange = Self::blank(thread, origin, None);
        exchange.protocol = Protocol::Tcp;
        if let Some(host) = host {
            exchange.head = known_head(host, "");
        }
        exchange.begin_debug();
        exchange
    }

    /// The exchange of a head that is refused: of what came as much is kept for the record as is understood.
    pub(super) fn open_refused(thread: &Rc<Thread>, origin: &Rc<Origin>, refused: &RefusedHead<'_>) -> Box<Self> {
        let RefusedHead { seen, began, version, .. } = *refused;
        let mut exchange = Self::blank(thread, origin, None);
        exchange.facts.version = version;
        exchange.protocol = protocol_of(version);
        exchange.timers.head = micros(began, exchange.opened);
        exchange.phase = Phase::Head;
        let mut words = seen.trim_ascii_start().split(|byte| byte.is_ascii_whitespace());
        exchange.method = words.next().and_then(|word| Method::from_bytes(word).ok());
        exchange.head = head_of_refused(words.next().unwrap_or_default());
        exchange.begin_debug();
        exchange
    }

    pub(super) fn blank(thread: &Rc<Thread>, origin: &Rc<Origin>, request: Option<ClientRequest>) -> Box<Self> {
        let (facts, head, reached, opened, took) = match request {
            Some(ClientRequest { facts, head, reached, began, complete }) => {
                (facts, head, reached, complete, micros(began, complete))
            }
            None => (NO_HEAD, Rc::default(), None, Instant::now(), 0),
        };
        thread.counters.busy(origin.listener, Busy::Exchange);
        // on the heap at once: it moves from hand to hand until the response is through
        Box::new(Self {
            id: thread.request_id(opened),
            thread: thread.clone(),
            origin: origin.clone(),
            opened,
            facts,
            protocol: protocol_of(facts.version),
            method: None,
            head,
            reached,
            forwarded_client: None,
            site: None,
            pool: None,
            status: 0,
            phase: Phase::Route,
            end: None,
            detail: None,
            timers: Timers { head: took, ..Timers::default() },
            responded: opened,
            bytes_in: 0,
            grpc_status: None,
            bytes_out: 0,
            waits_for_continue: facts.expects_continue,
            continued: false,
            attempts: SmallVec::new(),
            attempting: None,
            finished: None,
            busy: Busy::Exchange,
            place: None,
            moved: false,
            debug: None,
        })
    }

    /// Begins its debug lines, if a session of `segue debug` shows it: once its site is known.
    #[inline]
    pub(super) fn begin_debug(&mut self) {
        if self.thread.debug.any() {
            self.begin_lines();
        }
    }

    #[cold]
    fn begin_lines(&mut self) {
        let thread = self.thread.clone();
        let site =
            self.site.and_then(|site| thread.runtime_config.names.sites.get(usize::from(site))).map(String::as_str);
        let client = self.believed_client();
        let host = self.known_host();
        let host = host.as_ref().map(|host| &*host.name);
        let lines = thread.debug.select(client.map(|client| client.ip()), host, site);
        self.debug = lines.map(|sessions| DebugLines::new(self.id, thread.runtime_config.generation, sessions));
        self.debug(|| self.opening_line(client));
        let pool = self.pool.and_then(|pool| thread.runtime_config.names.pools.get(usize::from(pool)));
        if let Some((pool, _)) = pool {
            self.debug(|| site.map_or_else(|| format!("pool {pool}"), |site| format!("site {site:?}, pool {pool}")));
        }
    }

    /// What there is to say of a request, or of a connection without one. No value of a field is among it.
    fn opening_line(&self, client: Option<SocketAddr>) -> String {
        let from = client.map_or_else(|| "a unix socket".to_owned(), |client| client.to_string());
        let by = self.origin.peer.filter(|peer| Some(*peer) != client).map(|peer| format!(" by way of {peer}"));
        let listener = self.thread.listener_name(self.origin.listener);
        let from = format!("from {from}{} on {listener}", by.unwrap_or_default());
        match (self.phase, self.protocol) {
            (Phase::Tunnel, _) => return format!("tunnel {from}, which the generation before had"),
            (_, Protocol::Tcp) => {
                let host = self.known_host().map(|host| format!(", for {}", host.name)).unwrap_or_default();
                return format!("connection {from}, tcp{host}");
            }
            _ => {}
        }
        let method = self.method.as_ref().map_or("-", Method::as_str);
        let path = if self.phase == Phase::Head { self.head.path() } else { self.path() };
        let path = shown_path(path);
        let host = self.known_host().map(|host| format!(" of {}", host.name)).unwrap_or_default();
        if self.phase == Phase::Head {
            return format!("request {method} {path}{host} {from}, whose head is not right");
        }
        let names = self.head.fields().map(|field| String::from_utf8_lossy(field.name));
        let body = shown_request_body(self.facts.framing);
        format!(
            "request {method} {path}{host} {from}: {}, head of {} bytes in {}, {body}, fields {}",
            self.protocol.as_str(),
            self.facts.len,
            Took(Duration::from_micros(self.timers.head.into())),
            names.collect::<Vec<_>>().join(" ")
        )
    }

    /// Writes a debug line, if a session shows this exchange.
    #[inline]
    pub(super) fn debug(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.debug {
            self.write_line(lines, line);
        }
    }

    /// Apart from the way of other requests, so that the words of a line take no place on it.
    #[cold]
    #[inline(never)]
    fn write_line(&self, lines: &DebugLines, line: impl FnOnce() -> String) {
        lines.write(self.opened.elapsed(), line);
    }

    /// The host that was asked for, if it is one.
    fn known_host(&self) -> Option<Host<'_>> {
        Host::parse(self.host()?).ok()
    }

    /// The host that was asked for, as it came: with a port, in any case.
    pub(super) fn host(&self) -> Option<&str> {
        std::str::from_utf8(self.host_bytes()).ok().filter(|host| !host.is_empty())
    }

    /// The same; empty when there was none.
    pub(super) fn host_bytes(&self) -> &[u8] {
        self.head.authority().or_else(|| self.head.host()).unwrap_or_default()
    }

    /// The target, as it goes on to a server but for an empty path before a query.
    pub(super) fn path(&self) -> &[u8] {
        match self.head.path() {
            _ if self.facts.whole_server => b"*", // that of an absolute-form without a path is empty
            b"" => b"/",
            path => path,
        }
    }

    /// Whether the request has a body.
    pub(super) fn has_body(&self) -> bool {
        !matches!(self.facts.framing, Framing::None | Framing::Length(0))
    }

    /// Microseconds from the opening of the exchange to `instant`; never 0.
    pub(super) fn at(&self, instant: Instant) -> u32 {
        micros(self.opened, instant).max(1)
    }

    /// The head of the response has come, and the attempt is over.
    pub(super) fn responds(&mut self, now: Instant) {
        self.timers.responded = self.at(now);
        self.responded = now;
        self.end_attempt(Outcome::Responded, now);
    }

    /// Microseconds from the beginning of an attempt to `now`.
    fn took(&self, began: Instant, now: Instant) -> u32 {
        match began == self.opened && now == self.responded {
            true => self.timers.responded,
            false => micros(began, now),
        }
    }

    /// An attempt against a server begins.
    pub(super) fn begin_attempt(&mut self, server: usize, now: Instant) {
        let server = server as Index; // checked: a pool has fewer servers than that
        self.attempting = Some(CurrentAttempt { server, reused: false, began: now });
        if let Some(place) = self.place {
            self.thread.underway.attempt(place, server);
        }
        self.phase = Phase::Connect;
        (self.timers.connected, self.timers.sent) = (0, 0); // those of an attempt before say nothing of this one
    }

    /// Goes on with an attempt of another generation, which has its connection.
    pub(super) fn resume_attempt(&mut self, server: Index, reused: bool, began: Instant) {
        self.attempting = Some(CurrentAttempt { server, reused, began });
        if let Some(place) = self.place {
            self.thread.underway.attempt(place, server);
        }
        self.phase = if self.timers.sent == 0 { Phase::Request } else { Phase::Response };
    }

    /// The attempt has its connection.
    pub(super) fn connected(&mut self, reused: bool, now: Instant) {
        self.timers.connected = self.at(now);
        self.phase = Phase::Request;
        if let Some(attempting) = &mut self.attempting {
            attempting.reused = reused;
        }
    }

    /// The server has the whole request.
    pub(super) fn sent(&mut self, now: Instant) {
        self.timers.sent = self.at(now);
        self.phase = Phase::Response;
        self.debug(|| format!("request sent: {} bytes of body", self.bytes_in));
    }

    /// Notes how the attempt went.
    pub(super) fn end_attempt(&mut self, outcome: Outcome, now: Instant) {
        if let Some(CurrentAttempt { server, reused, began }) = self.attempting.take() {
            self.attempts.push(AttemptRecord { server, reused, outcome, took: self.took(began, now) });
        }
    }

    /// It is a tunnel from here on.
    pub(super) fn becomes_tunnel(&mut self) {
        let counters = &self.thread.counters;
        counters.idle(self.origin.listener, self.busy);
        self.busy = if self.protocol == Protocol::Tcp { Busy::Tcp } else { Busy::Upgrade };
        counters.busy(self.origin.listener, self.busy);
        self.debug(|| "tunnel: bytes pass both ways from here on".to_owned());
        match self.place {
            Some(place) => self.thread.underway.turn(place, self.busy),
            None => self.is_underway(),
        }
    }

    /// It may take long from here on, and is listed among what keeps this generation alive.
    pub(super) fn is_underway(&mut self) {
        self.place = Some(self.thread.underway.add(Entry {
            opened: self.opened,
            origin: self.origin.clone(),
            busy: self.busy,
            protocol: self.protocol,
            site: self.site,
            pool: self.pool,
            server: self.attempting.map(|attempt| attempt.server).or_else(|| self.server()),
            method: self.method.clone(),
            head: self.head.clone(),
        }));
    }

    /// The server of the last attempt that ended.
    pub(super) fn server(&self) -> Option<Index> {
        self.attempts.last().map(|attempt| attempt.server)
    }

    /// The name of that server, with its pool.
    pub(super) fn server_name(&self) -> String {
        self.server().map(|server| self.name_of(server)).unwrap_or_default()
    }

    /// The name of the server of the attempt that is under way.
    pub(super) fn server_under_way(&self) -> String {
        self.attempting.map(|attempt| self.name_of(attempt.server)).unwrap_or_default()
    }

    fn name_of(&self, server: Index) -> String {
        let named = || {
            let (pool, servers) = self.thread.runtime_config.names.pools.get(usize::from(self.pool?))?;
            Some(format!("{pool}/{}", servers.get(usize::from(server))?))
        };
        named().unwrap_or_default()
    }

    /// It goes on in another generation: nothing of it is counted or recorded here.
    pub(super) fn leaves(&mut self) {
        self.moved = true;
    }

    /// The response came whole.
    pub(super) fn finish(&mut self, now: Instant) {
        self.finished = Some(now);
    }

    /// Says when it is over: when the response had come whole, or now, when the client takes longer.
    pub(super) fn close(&mut self, late: bool) -> Instant {
        let over = self.finished.filter(|_| !late).unwrap_or_else(Instant::now);
        self.finished = Some(over);
        over
    }

    /// Whether the request may be repeated without harm (RFC 9110 §9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.as_ref().is_some_and(Method::is_idempotent)
    }

    /// Whether the request can be sent again whatever becomes of it: without harm, and whole.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_idempotent() && upload::is_kept(self.facts.framing)
    }

    /// Whether the response has no body whatever it says.
    pub(super) fn is_head(&self) -> bool {
        self.method.as_ref() == Some(&Method::HEAD)
    }

    /// Says how it ends. The first word stands.
    pub(super) fn ends(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// How it ended, and the details beyond that, once it did.
    pub(super) fn end(&self) -> (Option<End>, Option<&str>) {
        (self.end, self.detail.as_deref())
    }

    /// Where it is, or was when it ended.
    pub(super) fn phase(&self) -> Phase {
        self.end.map_or(self.phase, |end| end.phase)
    }

    /// Says what exactly happened.
    pub(super) fn explain(&mut self, detail: &dyn std::fmt::Display) {
        if self.detail.is_none() {
            self.detail = Some(detail.to_string().into());
        }
    }

    /// Says that it ends with a fault.
    pub(super) fn fails(&mut self, fault: &Fault) {
        self.ends(fault.end(self.phase));
        self.explain(&WithCauses(fault));
    }

    fn closing_line(&self, end: End, is_selected: bool) -> String {
        let (reason, phase, status) = (end.reason.as_str(), end.phase.as_str(), self.status);
        let detail = self.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        let (received, sent) = (self.bytes_in, self.bytes_out);
        let (took, record) = (Took(Duration::from_micros(self.timers.total)), if is_selected { "a" } else { "no" });
        format!(
            "over: {reason} in phase {phase}{detail}, status {status}, {received} bytes in and {sent} out, {took}; \
             {record} record in the journal"
        )
    }

    fn count(&self) {
        self.thread.counters.exchange(&Counted {
            listener: self.origin.listener,
            site: self.site,
            pool: self.pool,
            status: self.status,
            timers: self.timers,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            attempts: &self.attempts,
        });
    }

    /// The client: the one that a trusted proxy names, or the peer.
    pub(super) fn believed_client(&self) -> Option<SocketAddr> {
        self.forwarded_client.or_else(|| self.client_by_proxies()).or(self.origin.peer)
    }

    fn client_by_proxies(&self) -> Option<SocketAddr> {
        let listener = self.thread.runtime_config.config.listeners.get(usize::from(self.origin.listener))?;
        let trusted = &listener.trusted_proxies;
        if origin::is_proxy(trusted, self.origin.peer) { origin::forwarded_client(&self.head, trusted) } else { None }
    }

    /// What stands in the record, but for what has to be copied.
    fn record(&mut self, end: End, now: Instant) -> Record {
        Record {
            id: self.id,
            started: self.thread.wall(self.opened, now),
            listener: self.origin.listener,
            site: self.site,
            pool: self.pool,
            client: self.believed_client(),
            protocol: self.protocol,
            tls: self.origin.tls.as_ref().map(|tls| tls.facts.clone()),
            method: self.method.take(),
            target: Text::default(),
            host: Text::default(),
            user_agent: None,
            referer: None,
            status: self.status,
            end,
            detail: self.detail.take(),
            timers: self.timers,
            bytes_in: self.bytes_in,
            grpc_status: self.grpc_status,
            bytes_out: self.bytes_out,
            attempts: std::mem::take(&mut self.attempts),
        }
    }

    /// Whether the record goes to the journal.
    fn is_selected(&self, end: End, now: Instant) -> bool {
        let took = Duration::from_micros(self.timers.total);
        let refused = self.attempts.is_empty() && end.reason != Reason::Internal;
        self.thread
            .selects(&observe::RecordFacts { id: self.id, status: self.status, end, took, empty: false, refused }, now)
    }

    /// What the client said, as the record has it: texts are copied no earlier.
    fn copy_texts(&self, record: &mut Record) {
        record.host = Text::of_owned(self.host_bytes().to_ascii_lowercase());
        if self.protocol != Protocol::Tcp {
            // a head that was refused may have no path, as that of CONNECT, and none is made up for it
            let path = if self.phase == Phase::Head { self.head.path() } else { self.path() };
            record.target = Text::of(path);
        }
        let log = &self.thread.runtime_config.config.log;
        if log.user_agent {
            record.user_agent = self.head.values(b"user-agent").next().map(Text::of);
        }
        if log.referer {
            record.referer = self.head.values(b"referer").next().map(Text::of);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = self.finished.unwrap_or_else(Instant::now);
        self.thread.counters.idle(self.origin.listener, self.busy);
        if let Some(place) = self.place {
            self.thread.underway.remove(place);
        }
        if self.moved {
            return self.debug(|| "goes on in the next generation".to_owned());
        }
        self.end_attempt(Outcome::Abandoned, now);
        self.timers.total = match now == self.responded && self.timers.responded < u32::MAX {
            true => self.timers.responded.into(),
            false => now.saturating_duration_since(self.opened).as_micros() as u64,
        };
        self.timers.total = self.timers.total.max(1);
        let end = self.end.unwrap_or(End::new(self.phase, Reason::ClientClosed));
        self.count();
        let is_selected = self.is_selected(end, now);
        self.debug(|| self.closing_line(end, is_selected));
        if is_selected {
            let mut record = self.record(end, now);
            self.copy_texts(&mut record);
            self.thread.record(record);
        }
    }
}

/// What is known of a head that is refused, from the word where its target stands. A path stays as it came: its bytes may
/// be why the head is refused.
fn head_of_refused(target: &[u8]) -> Rc<RawHead> {
    if target.starts_with(b"/") {
        return known_head("", &String::from_utf8_lossy(target));
    }
    let Ok(target) = Uri::try_from(target) else { return Rc::default() };
    let host = target.authority().map_or("", |host| host.as_str());
    known_head(host, target.path_and_query().map_or("", |path| path.as_str()))
}

/// A head of which no more is known; either may be empty.
pub(super) fn known_head(host: &str, path: &str) -> Rc<RawHead> {
    let scheme = if host.is_empty() { "" } else { "http://" };
    Rc::new(RawHead::of_target(&format!("{scheme}{host}{path}")))
}

fn protocol_of(version: Version) -> Protocol {
    match version {
        Version::HTTP_10 => Protocol::Http10,
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http11,
    }
}

/// What is known of a head that there is none of.
const NO_HEAD: RequestHead = RequestHead {
    len: 0,
    version: Version::HTTP_11,
    method: MethodFacts { head: false, safe: false, idempotent: false },
    framing: Framing::None,
    expects_continue: false,
    upgrade: false,
    keep_alive: false,
    names_fields: false,
    te_trailers: false,
    credentials: Credentials::Portable,
    whole_server: false,
};

fn micros(from: Instant, to: Instant) -> u32 {
    if from == to {
        return 0; // as often as not, and a difference costs more than all else here
    }
    u32::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::control::connections::ConnectionId;
    use crate::observe::journal::{Identity, Journal, Role};
    use crate::observe::metrics::Counters;
    use crate::proxy::RuntimeConfig;
    use crate::proxy::origin::Accepted;

    const LONG: Duration = Duration::from_secs(3 * 3600);

    // The connection was idle for as long as the upload had taken beyond an hour, and closed as such.
    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_response_comes_when_it_comes_however_long_that_took() {
        let runtime_config =
            Arc::new(RuntimeConfig::new(1, Config::from_toml("[listen.http]\n").expect("a configuration")));
        let journal = Journal::start(Identity { role: Role::Worker, generation: Some(1) }, None).expect("a journal");
        let thread = Thread::start(0, runtime_config.clone(), Counters::alone(&runtime_config.names), journal);
        let accepted = Accepted { id: ConnectionId::default(), at: Instant::now() };
        let mut exchange = Exchange::open_tcp(&thread, &Rc::new(Origin::new(accepted, 0, None)), None);
        tokio::time::advance(LONG).await;
        let now = Instant::now();
        exchange.responds(now);
        exchange.finish(exchange.responded);
        assert_eq!(exchange.close(false), now);
    }

    #[tokio::test(flavor = "local")]
    async fn ids_and_times_follow_a_clock_that_is_set() {
        let runtime_config =
            Arc::new(RuntimeConfig::new(1, Config::from_toml("[listen.http]\n").expect("a configuration")));
        let journal = Journal::start(Identity { role: Role::Worker, generation: Some(1) }, None).expect("a journal");
        let thread = Thread::start(0, runtime_config.clone(), Counters::alone(&runtime_config.names), journal);
        let before = thread.request_id(Instant::now());
        thread.was_wrong_by(Duration::from_secs(3600));
        let after = thread.request_id(Instant::now());
        assert!(after.as_str()[..8] >= before.as_str()[..8], "{} came after {}", after.as_str(), before.as_str());
        thread.was_wrong_by(Duration::from_secs(3600));
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let told = Duration::from_micros(thread.wall(Instant::now(), Instant::now()));
        assert!(told.abs_diff(wall) < Duration::from_secs(60), "{told:?} at {wall:?}");
    }
}
