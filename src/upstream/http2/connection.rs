//! One connection of HTTP/2 to a server.

use std::cell::{Cell, RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::inbox::{Inbox, StreamFault};
use crate::http2::error::ErrorCode;
use crate::http2::rotation::SendRotation;
use crate::http2::session::client::RequestHints;
use crate::http2::settings::LocalSettings;
use crate::http2::{Event, FieldSection, Session};
use crate::pool::Server;

/// So much is gathered before it is written; beyond it no body is taken from a client.
pub(super) const GATHERED: usize = 64 * 1024;
/// What a server may send of a body that its client does not take.
const WINDOW: u32 = 64 * 1024;
/// A server that says nothing on any stream for so long may be gone.
const SILENT: Duration = Duration::from_secs(1);
/// Largest response head, in bytes.
const MAX_HEAD: u32 = 64 * 1024;

/// A connection, with the streams that are open on it.
#[derive(Debug)]
pub struct Http2Connection {
    /// Where it leads; `None` to a unix socket.
    address: Option<SocketAddr>,
    /// The version of the addresses of its server that it was last found among.
    version: Cell<u64>,
    /// That of requests on it (RFC 9113 §8.3.1).
    pub(super) scheme: &'static [u8],
    /// When it was opened.
    pub(super) opened: Instant,
    pub(super) state: RefCell<StreamsState>,
}

/// What the streams of a connection share.
#[derive(Debug)]
pub(super) struct StreamsState {
    pub(super) session: Session,
    /// By key.
    pub(super) inboxes: Vec<Option<Rc<RefCell<Inbox>>>>,
    /// Places for streams that are not opened yet.
    reserved: usize,
    pub(super) rotation: SendRotation,
    /// Streams that it had.
    pub(super) served: u64,
    /// When something came last.
    pub(super) heard: Instant,
    /// Since when the server takes nothing of what is to be written.
    pub(super) stalled: Option<Instant>,
    /// Since when no stream is open.
    pub(super) idle_since: Instant,
    /// A stream waited in vain, and nothing came on any other meanwhile: the server may be gone.
    is_suspect: bool,
    /// Nothing goes on over it.
    pub(super) ended: Option<StreamFault>,
    /// It is to be closed, since nothing will ask for it.
    pub(super) is_unwanted: bool,
    driver: Option<Waker>,
    /// What waits until the server has said what it takes.
    undecided: Vec<Waker>,
}

impl Http2Connection {
    /// A connection that was just opened, over TLS or not, to where its server is in this version of its addresses.
    #[must_use]
    pub(super) fn new(address: Option<SocketAddr>, version: u64, is_tls: bool) -> Rc<Self> {
        let local =
            LocalSettings { stream_window: WINDOW, max_streams: 0, max_fields: MAX_HEAD, ..LocalSettings::default() };
        let now = Instant::now();
        let state = StreamsState {
            session: Session::client(local),
            inboxes: Vec::new(),
            reserved: 0,
            rotation: SendRotation::default(),
            served: 0,
            heard: now,
            stalled: None,
            idle_since: now,
            is_suspect: false,
            ended: None,
            is_unwanted: false,
            driver: None,
            undecided: Vec::new(),
        };
        let scheme: &[u8] = if is_tls { b"https" } else { b"http" };
        Rc::new(Self { address, version: Cell::new(version), scheme, opened: now, state: RefCell::new(state) })
    }

    /// Whether it leads to where its server is now.
    pub(super) fn leads_to(&self, server: &Server) -> bool {
        let version = server.address_version();
        if self.version.get() != version && self.address.is_some_and(|address| server.is_at(address)) {
            self.version.set(version);
        }
        self.version.get() == version
    }

    /// How many more streams may be opened on it.
    pub(super) fn streams_left(&self) -> usize {
        let state = self.state.borrow();
        let is_usable = state.ended.is_none() && !state.is_suspect && !state.is_unwanted && state.stalled.is_none();
        if is_usable { state.session.streams_left().saturating_sub(state.reserved) } else { 0 }
    }

    /// Whether it will soon be known how many streams it takes.
    pub(super) fn is_beginning(&self) -> bool {
        let state = self.state.borrow();
        state.ended.is_none() && !state.is_suspect && state.stalled.is_none() && !state.session.has_settings()
    }

    /// Whether nothing goes on over it.
    pub(super) fn has_ended(&self) -> bool {
        self.state.borrow().ended.is_some()
    }

    /// Whether no stream is open on it, or about to be.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.session.open() == 0 && state.reserved == 0
    }

    /// Closes it once no stream is open on it.
    pub(super) fn let_go(&self) {
        self.state.borrow_mut().is_unwanted = true;
        self.wake();
    }

    /// Keeps a place for a stream.
    pub(super) fn reserve(&self) {
        self.state.borrow_mut().reserved += 1;
    }

    /// A place is not needed any more.
    pub(super) fn give_back_place(&self) {
        let mut state = self.state.borrow_mut();
        state.reserved = state.reserved.saturating_sub(1);
        state.idle_since = Instant::now();
        drop(state);
        self.wake();
    }

    /// Opens a stream with a request, in the place that was kept for it. False when none may be opened any more.
    pub(super) fn open(&self, head: &[u8], hints: RequestHints<'_>, inbox: &Rc<RefCell<Inbox>>) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.ended.is_some() {
            return false;
        }
        let Some(key) = state.session.request(head, hints) else { return false };
        state.reserved = state.reserved.saturating_sub(1);
        state.served += 1;
        if state.inboxes.len() <= key {
            state.inboxes.resize_with(key + 1, || None);
        }
        state.inboxes[key] = Some(inbox.clone());
        inbox.borrow_mut().key = Some(key);
        state.wake();
        true
    }

    /// Ready with whether the server takes requests that ask for a tunnel with a protocol in it (RFC 8441 §3).
    pub(super) fn poll_takes_protocols(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state.borrow_mut();
        if state.session.has_settings() || state.ended.is_some() {
            return Poll::Ready(state.session.takes_protocols());
        }
        state.undecided.push(cx.waker().clone());
        Poll::Pending
    }

    /// A stream ended without an answer, for which it has waited since then.
    pub(super) fn waited_since(&self, since: Instant) {
        let mut state = self.state.borrow_mut();
        state.is_suspect |= since.elapsed() >= SILENT && state.heard.elapsed() >= SILENT;
    }

    /// Has the task of the connection write what there is.
    pub(super) fn wake(&self) {
        self.state.borrow_mut().wake();
    }

    /// The session, for a stream that is open.
    pub(super) fn session(&self) -> RefMut<'_, Session> {
        RefMut::map(self.state.borrow_mut(), |state| &mut state.session)
    }
}

impl StreamsState {
    /// Notes the task that reads and writes.
    pub(super) fn watch(&mut self, cx: &Context<'_>) {
        match &mut self.driver {
            Some(driver) => driver.clone_from(cx.waker()),
            None => self.driver = Some(cx.waker().clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Something has come.
    pub(super) fn hear(&mut self) {
        (self.heard, self.is_suspect) = (Instant::now(), false);
    }

    /// Takes what was read: gives how much of it is used.
    ///
    /// # Errors
    /// With the rule that the server broke, and the connection is over.
    pub(super) fn take(&mut self, read: &[u8], fields: &mut FieldSection, age: Duration) -> Result<usize, StreamFault> {
        let mut used = 0;
        loop {
            match self.session.next(&read[used..], fields, age) {
                Ok((len, event)) => {
                    used += len;
                    match event {
                        Some(event) => self.event(event, fields),
                        None => return Ok(used),
                    }
                }
                Err(error) => {
                    self.session.leave(error.code);
                    let is_old = !self.session.has_settings() && read.starts_with(b"HTTP/1.");
                    let rule = if is_old {
                        "The server answers in HTTP/1.1, and its address says HTTP/2."
                    } else {
                        error.rule
                    };
                    return Err(StreamFault::Rule(rule));
                }
            }
        }
    }

    fn event(&mut self, event: Event<'_>, fields: &FieldSection) {
        match event {
            Event::Response { key } => {
                let ends = self.session.is_received(key);
                let Some(inbox) = self.inbox(key) else { return };
                let is_kept = inbox.borrow_mut().push_head(fields, ends);
                inbox.borrow_mut().wake();
                if is_kept {
                    self.close_if_over(key);
                } else {
                    self.break_stream(key, "The server sends too many informational responses.");
                }
            }
            Event::Data { key, data } => {
                let ends = self.session.is_received(key);
                let Some(inbox) = self.inbox(key) else { return };
                let mut inbox = inbox.borrow_mut();
                inbox.data.extend_from_slice(data);
                inbox.is_whole |= ends;
                inbox.wake();
                drop(inbox);
                self.close_if_over(key);
            }
            Event::Trailers { key } => {
                let Some(inbox) = self.inbox(key) else { return };
                let mut inbox = inbox.borrow_mut();
                inbox.trailers = Some(fields.trailers()).filter(|trailers| !trailers.is_empty());
                inbox.is_whole = true;
                inbox.wake();
                drop(inbox);
                self.close_if_over(key);
            }
            Event::Reset { key, code: ErrorCode::RefusedStream } => self.fail(key, StreamFault::Refused),
            Event::Reset { key, code } => self.fail(key, StreamFault::Reset(code)),
            Event::Broken { key, rule } => self.fail(key, StreamFault::Rule(rule)),
            Event::Windows { key: Some(key) } => {
                if let Some(inbox) = self.inbox(key) {
                    inbox.borrow_mut().wake();
                }
            }
            Event::Windows { key: None } => self.wake_streams(),
            Event::Settings => {
                self.wake_streams();
                self.undecided.drain(..).for_each(Waker::wake);
            }
            Event::GoAway { last, .. } => {
                for key in self.session.close_unknown(last) {
                    self.fail(key, StreamFault::Gone);
                }
            }
            Event::Request { .. } | Event::Malformed { .. } | Event::LeaveIsKnown => {} // come to servers
        }
    }

    fn inbox(&self, key: usize) -> Option<Rc<RefCell<Inbox>>> {
        self.inboxes.get(key)?.clone()
    }

    /// Every stream may send more. Each takes all that there is room for, so they go round.
    pub(super) fn wake_streams(&self) {
        let (had, next) = self.inboxes.split_at(self.inboxes.len().min(self.rotation.next()));
        next.iter().chain(had).flatten().for_each(|inbox| inbox.borrow_mut().wake());
    }

    /// Both sides of a stream may have ended.
    pub(super) fn close_if_over(&mut self, key: usize) {
        if self.session.is_received(key) && self.session.is_sent(key) {
            self.session.served();
            self.session.finish(key);
            self.forget(key);
        }
    }

    /// Resets a stream.
    pub(super) fn reset(&mut self, key: usize, code: ErrorCode) {
        self.session.reset(key, code);
        self.forget(key);
        self.wake();
    }

    fn break_stream(&mut self, key: usize, rule: &'static str) {
        self.session.reset(key, ErrorCode::EnhanceYourCalm);
        self.fail(key, StreamFault::Rule(rule));
    }

    /// A stream has ended before its response was whole.
    fn fail(&mut self, key: usize, fault: StreamFault) {
        if let Some(inbox) = self.forget(key) {
            inbox.borrow_mut().fail(fault);
        }
    }

    fn forget(&mut self, key: usize) -> Option<Rc<RefCell<Inbox>>> {
        let inbox = self.inboxes.get_mut(key)?.take()?;
        inbox.borrow_mut().key = None;
        self.idle_since = Instant::now();
        Some(inbox)
    }

    /// The connection is over, and every stream on it.
    pub(super) fn end(&mut self, fault: StreamFault) {
        self.ended = Some(fault);
        self.undecided.drain(..).for_each(Waker::wake);
        let inboxes = std::mem::take(&mut self.inboxes);
        inboxes.into_iter().flatten().for_each(|inbox| inbox.borrow_mut().fail(fault));
    }
}
