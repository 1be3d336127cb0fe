//! Debug lines: what `segue debug` shows of the exchanges of one client or one site, while they go on.
//!
//! The terminal of the operator has the other end of a socket pair. A line is one packet, and is lost when that socket is
//! full: traffic never waits for a terminal, and nothing is queued here. Lines name methods, paths, hosts, servers, sizes,
//! times and the names of fields; no value of a field but `Host`, no value of a query, and nothing of a body.
//!
//! While no session is open an exchange reads one flag of its thread, and each of its steps one pointer of its own.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::time::Instant;

use crate::control::debug::{DebugFilter, MOST_DEBUG, has_gone};
use crate::http1::request::Framing;
use crate::http1::response::ResponseBody;
use crate::observe::journal::redacted_target;
use crate::observe::record::RequestId;
use crate::observe::{Plain, beginning};

/// How often it is looked whether a terminal is still there that nothing is sent to.
const LOOK: Duration = Duration::from_secs(1);

/// How long nothing is sent to a terminal that had no room for a line.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest line, in bytes of its text.
const LONGEST_LINE: usize = 8 * 1024;

/// One `segue debug`, for the threads of a worker.
#[derive(Debug)]
pub struct DebugSession {
    filter: DebugFilter,
    began: Instant,
    until: Instant,
    socket: OwnedFd,
    /// Lines that the terminal did not take since it took one.
    lost: AtomicU64,
    /// No line is sent before then, in milliseconds since it began: the terminal had no room.
    full_until: AtomicU64,
    /// The next look whether the terminal is there, in milliseconds since it began.
    look_at: AtomicU64,
    /// The terminal is gone.
    has_ended: AtomicBool,
}

impl DebugSession {
    /// Shows what `filter` selects, for as long as `lasts`, on the terminal that has the other end of `socket`.
    #[must_use]
    pub fn new(filter: DebugFilter, lasts: Duration, socket: OwnedFd) -> Self {
        let began = Instant::now();
        Self {
            filter,
            began,
            until: began + lasts,
            socket,
            lost: AtomicU64::new(0),
            full_until: AtomicU64::new(0),
            look_at: AtomicU64::new(LOOK.as_millis() as u64),
            has_ended: AtomicBool::new(false),
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let millis = self.millis(now);
        if millis >= self.look_at.load(Ordering::Relaxed) {
            self.look_at.store(millis + LOOK.as_millis() as u64, Ordering::Relaxed);
            if has_gone(&self.socket) {
                self.has_ended.store(true, Ordering::Relaxed);
            }
        }
        self.has_ended.load(Ordering::Relaxed) || now >= self.until
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }

    /// Sends a line, unless the terminal has no room for it.
    pub fn send(&self, now: Instant, line: &str) {
        let millis = self.millis(now);
        if millis < self.full_until.load(Ordering::Relaxed) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let line = match lost {
            0 => format!("{line}\n"),
            1 => format!("-- 1 line is lost: this terminal does not keep up\n{line}\n"),
            _ => format!("-- {lost} lines are lost: this terminal does not keep up\n{line}\n"),
        };
        match rustix::net::send(&self.socket, line.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {
                self.lost.fetch_add(lost + 1, Ordering::Relaxed);
                self.full_until.store(millis + PAUSE.as_millis() as u64, Ordering::Relaxed);
            }
            Err(_) => self.has_ended.store(true, Ordering::Relaxed),
        }
    }
}

/// The sessions of one thread.
#[derive(Debug, Default)]
pub struct DebugSessions {
    /// There is one, perhaps: all that an exchange looks at when there is none.
    any: Cell<bool>,
    list: RefCell<Vec<Arc<DebugSession>>>,
}

impl DebugSessions {
    /// Begins a session.
    pub fn add(&self, session: Arc<DebugSession>) {
        let now = Instant::now();
        let mut list = self.list.borrow_mut();
        list.retain(|one| !one.is_over(now));
        if list.len() == MOST_DEBUG {
            list.remove(0); // the supervisor has noticed before this thread that a terminal has gone
        }
        list.push(session);
        self.any.set(true);
    }

    /// Whether there may be one.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.get()
    }

    /// The sessions that show an exchange of this client, for this host and the site that answers to it; none when there
    /// is none.
    pub(super) fn select(
        &self,
        client: Option<IpAddr>,
        host: Option<&str>,
        site: Option<&str>,
    ) -> Option<Vec<Arc<DebugSession>>> {
        let now = Instant::now();
        let mut list = self.list.borrow_mut();
        list.retain(|one| !one.is_over(now));
        self.any.set(!list.is_empty());
        let sessions: Vec<_> = list.iter().filter(|one| one.filter.selects(client, host, site)).cloned().collect();
        (!sessions.is_empty()).then_some(sessions)
    }
}

/// The lines of one exchange.
#[derive(Debug)]
pub(super) struct DebugLines {
    id: RequestId,
    generation: u64,
    sessions: Vec<Arc<DebugSession>>,
}

impl DebugLines {
    /// The lines of the exchange `id` of this generation, for these sessions.
    pub(super) fn new(id: RequestId, generation: u64, sessions: Vec<Arc<DebugSession>>) -> Box<Self> {
        Box::new(Self { id, generation, sessions })
    }

    /// Writes a line about what happens `at` this time after the exchange opened.
    pub(super) fn write(&self, at: Duration, text: impl FnOnce() -> String) {
        let now = Instant::now();
        let text = Plain(&text()).to_string();
        let shown = beginning(&text, LONGEST_LINE);
        let (id, generation, micros) = (self.id.as_str(), self.generation, at.as_micros());
        let line = format!("{id} g{generation} {:>5}.{:03} ms  {shown}", micros / 1000, micros % 1000);
        self.sessions.iter().filter(|one| !one.is_over(now)).for_each(|one| one.send(now, &line));
    }
}

/// A request target for a line: without values of its query and its parameters, and of bounded length.
pub(super) fn shown_path(target: &[u8]) -> String {
    let shown = &target[..target.len().min(MOST_OF_TARGET)];
    let text = redacted_target(&String::from_utf8_lossy(shown));
    if shown.len() < target.len() { text + "…" } else { text }
}

const MOST_OF_TARGET: usize = 512;

/// How the body of a request is framed.
pub(super) fn shown_request_body(framing: Framing) -> String {
    shown_response_body(match framing {
        Framing::None => ResponseBody::None,
        Framing::Length(length) => ResponseBody::Length(length),
        Framing::Chunked => ResponseBody::Chunked,
    })
}

/// How the body of a response is framed.
pub(super) fn shown_response_body(body: ResponseBody) -> String {
    match body {
        ResponseBody::None => "no body".to_owned(),
        ResponseBody::Length(length) => format!("body of {length} bytes"),
        ResponseBody::Chunked => "chunked body".to_owned(),
        ResponseBody::UntilClose => "body until the server closes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

    use super::*;

    fn session(filter: DebugFilter, lasts: Duration) -> (Arc<DebugSession>, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let (ours, theirs) = pair.expect("a pair");
        (Arc::new(DebugSession::new(filter, lasts, theirs)), ours)
    }

    fn read(socket: &OwnedFd) -> Option<String> {
        let mut buffer = [0; 16 * 1024];
        let (len, _) = rustix::net::recv(socket, &mut buffer, RecvFlags::empty()).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    fn of_site(site: &str) -> DebugFilter {
        DebugFilter { client: None, site: Some(site.to_owned()) }
    }

    #[test]
    fn a_line_is_one_line_of_bounded_length() {
        let (session, terminal) = session(of_site("a"), Duration::from_secs(60));
        let lines = DebugLines::new(RequestId::new(1, 1), 7, vec![session]);
        lines.write(Duration::from_micros(1_234), || "a\r\nb\u{1b}[2J".to_owned());
        let line = read(&terminal).expect("a line");
        assert!(line.ends_with(" g7     1.234 ms  a\\r\\nb\\u{1b}[2J\n"), "{line}");
        lines.write(Duration::ZERO, || "é".repeat(LONGEST_LINE));
        assert!(read(&terminal).is_some_and(|line| line.len() < LONGEST_LINE + 100 && line.ends_with("é\n")));
    }

    #[test]
    fn a_terminal_that_does_not_read_loses_lines_and_hears_how_many() {
        let (session, terminal) = session(of_site("a"), Duration::from_secs(60));
        let mut sent = 0_u64;
        let now = Instant::now();
        while session.lost.load(Ordering::Relaxed) < 3 {
            session.send(now, &"x".repeat(1000));
            sent += 1;
            assert!(sent < 100_000, "it is never full");
        }
        let mut lines = 0;
        while read(&terminal).is_some() {
            lines += 1;
        }
        assert_eq!(lines + 3, sent);
        session.send(now + PAUSE, "again");
        let told = "-- 3 lines are lost: this terminal does not keep up\nagain\n";
        assert_eq!(read(&terminal).as_deref(), Some(told));
    }

    #[test]
    fn a_session_ends_with_its_time_and_with_its_terminal() {
        let sessions = DebugSessions::default();
        let select = || sessions.select(None, Some("a"), None);
        let (late, _reads) = session(of_site("a"), Duration::ZERO);
        sessions.add(late);
        assert!(sessions.any() && select().is_none() && !sessions.any());
        let (left, terminal) = session(of_site("a"), Duration::from_secs(60));
        sessions.add(left);
        let lines = DebugLines::new(RequestId::new(1, 1), 1, select().expect("shown"));
        drop(terminal);
        lines.write(Duration::ZERO, || "x".to_owned());
        assert!(select().is_none() && !sessions.any());
    }

    #[test]
    fn a_terminal_that_has_gone_is_noticed_without_a_line_for_it() {
        let (session, terminal) = session(of_site("a"), Duration::from_secs(60));
        drop(terminal);
        assert!(!session.is_over(Instant::now()), "it is not looked at each time");
        assert!(session.is_over(Instant::now() + LOOK));
    }

    #[test]
    fn values_of_queries_and_parameters_are_never_shown() {
        assert_eq!(shown_path(b"/a/b;id=7?token=1&2"), "/a/b;id=*?token=*&*");
        assert_eq!(shown_path(b"*"), "*");
        assert!(shown_path(&[b'x'; 10_000]).len() < 600);
    }
}
