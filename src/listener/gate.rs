//! The io that hyper's server gets: it sees every byte before hyper does, and all the time that passes.
//!
//! hyper takes heads that must be refused and hides how it took them, has one timer where there are four waits, and
//! closes what must stay open. So the gate follows the framing of requests by itself. A head reaches hyper only once
//! it is whole and valid, and as a digest: the exchange has the fields from the gate, and hyper is told what it has to
//! know. The bytes of a next message reach it only once the exchange before it is over, because after an upgrade they
//! are not HTTP. Whatever ends the connection on the client's side reaches hyper as an end of stream
//! between two messages; the task of the connection then takes the socket out of hyper, and the gate says why.
//!
//! ```text
//!   Between ──first bytes──▶ Head ──whole and valid──▶ Body ──its last byte──▶ Answering
//!      ▲  │                   │                                                   │
//!      │  └──────▶ Over ◀─────┘                                                   │
//!      └──────────────────── exchange closed, response flushed ───────────────────┘
//! ```

mod body;

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::Version;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::splice::Splice;
use super::waits::{Side, Waits};
use crate::config::ListenerSettings;
use crate::http1::chunked::{ChunkFault, Scanner};
use crate::http1::encode;
use crate::http1::request::{Framing, HeadSearch, Limits, Refusal, RequestHead};
use crate::net::Stream;
use crate::proxy::client::{HeadSeen, Trouble};
use crate::proxy::{Client, Thread};
use crate::upstream::connection::takes_whole_read;

/// How long a connection stays with hyper after its last response: a client in full swing is back sooner.
const QUIET: Duration = Duration::from_millis(16);

/// Most bytes kept back from hyper while an exchange is open; what comes beyond waits in the kernel.
const READ_AHEAD: usize = 16 * 1024;

/// Bytes of room for one read into the gate's own buffer.
const ROOM: usize = 4096;

/// The client's side of a connection, as hyper sees it.
pub(super) struct Gate {
    stream: Stream,
    thread: Rc<Thread>,
    client: Rc<Client>,
    /// The settings, an index into the listeners of the configuration.
    listener: usize,
    position: Position,
    search: HeadSearch,
    /// What was read and is not with hyper.
    held: BytesMut,
    /// How much of it hyper may have.
    released: usize,
    /// The client has closed its sending side.
    finished: bool,
    /// Bytes may be there of which the poller says nothing.
    unwatched: bool,
    /// The client has closed its sending side, and perhaps all of its body is there.
    departing: bool,
    /// The client said that its request is the last one.
    last: bool,
    waits: Waits,
    splice: Splice,
}

/// Where the gate is in what the client sends.
enum Position {
    /// Between two messages.
    Between,
    /// Part of a head was read. All of it is held.
    Head { began: Instant },
    /// Inside a body.
    Body(Rest),
    /// The request was read whole, its exchange is open or the end of the response is not flushed.
    Answering,
    /// hyper was given the end of stream.
    Over(Over),
}

/// What is still to come of a body.
enum Rest {
    Length(u64),
    Chunked(Scanner),
    Broken(ChunkFault),
}

/// Why hyper was given the end of stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The connection is whole and nothing is open on it. What was read of the next request is held.
    Left,
    /// The client closed its sending side between two requests.
    Closed,
    /// The client closed its sending side inside a head.
    ClosedInHead,
    /// What came is no request that may pass.
    Refused { refusal: Refusal, began: Instant },
    /// A head did not come whole in time.
    SlowHead { began: Instant },
}

/// What a gate leaves.
pub(super) struct Remains {
    pub(super) stream: Stream,
    /// Set when it was the gate that ended the serving.
    pub(super) over: Option<Over>,
    /// What was read and is not with hyper.
    pub(super) held: BytesMut,
    /// Whether bytes of the client may be on their way, or lie unread in the kernel.
    pub(super) may_receive: bool,
}

/// What may become of the first bytes of a message.
enum Look {
    /// They start with a head; so many bytes of its body may follow it.
    Pass {
        head: RequestHead,
        body: usize,
    },
    /// They are no whole head yet.
    Incomplete,
    Refused,
}

impl Gate {
    /// A gate before `stream`, from which `first` was read already.
    pub(super) fn new(
        thread: &Rc<Thread>,
        client: &Rc<Client>,
        listener: usize,
        stream: Stream,
        first: BytesMut,
    ) -> Self {
        Self {
            stream,
            thread: thread.clone(),
            client: client.clone(),
            listener,
            position: Position::Between,
            search: HeadSearch::new(),
            held: first,
            released: 0,
            finished: false,
            unwatched: false,
            departing: false,
            last: false,
            waits: Waits::default(),
            splice: Splice::default(),
        }
    }

    /// Takes the gate apart, once hyper has let go of it.
    ///
    /// # Errors
    /// When the socket cannot be watched as before.
    pub(super) fn take_apart(mut self) -> io::Result<Remains> {
        self.waits.end(Side::Read, &self.client.alarm);
        self.waits.end(Side::Write, &self.client.alarm);
        let is_whole = matches!(self.position, Position::Between | Position::Answering) && self.held.is_empty();
        let over = match self.position {
            Position::Over(over) => Some(over),
            _ => None,
        };
        let stream = if self.unwatched { self.stream.watch_again()? } else { self.stream };
        Ok(Remains { stream, over, held: self.held, may_receive: !(self.finished || self.last && is_whole) })
    }

    fn settings(&self) -> &ListenerSettings {
        &self.thread.plan.config.listeners[self.listener]
    }

    fn begin_wait(&mut self, side: Side, after: Duration) {
        self.waits.begin(side, after, &self.client.alarm);
    }

    fn renew_wait(&mut self, side: Side, after: Duration) {
        self.waits.renew(side, after, &self.client.alarm);
    }

    fn end_wait(&mut self, side: Side) {
        self.waits.end(side, &self.client.alarm);
    }

    fn is_over(&mut self, side: Side) -> bool {
        self.waits.is_over(side, &self.client.alarm)
    }

    /// Gives hyper the end of stream.
    fn end(&mut self, over: Over) -> Poll<io::Result<()>> {
        self.end_wait(Side::Read);
        self.position = Position::Over(over);
        Poll::Ready(Ok(()))
    }

    /// Passes on a fault of the socket: the client is gone.
    fn lost(&self, fault: io::Error) -> io::Error {
        self.client.note(Trouble::ClientClosed);
        fault
    }
}

/// Reading, by position.
impl Gate {
    fn poll_between(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.client.is_leaving() && !self.finished {
            return self.end(Over::Left);
        }
        if !self.held.is_empty() {
            return self.admit_held(cx, buffer, Instant::now());
        }
        if self.finished {
            return self.end(Over::Closed);
        }
        let thread = self.thread.clone();
        let mut scratch = thread.scratch.borrow_mut();
        let mut read = ReadBuf::new(&mut **scratch);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if read.filled().is_empty() => {
                self.finished = true;
                self.end(Over::Closed)
            }
            Poll::Ready(Ok(())) => self.admit(cx, buffer, read.filled()),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(self.lost(fault))),
            Poll::Pending => {
                self.begin_wait(Side::Read, QUIET);
                if self.is_over(Side::Read) {
                    return self.end(Over::Left);
                }
                Poll::Pending
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, began: Instant) -> Poll<io::Result<()>> {
        if self.client.is_leaving() {
            return self.end(Over::Left); // hyper has seen nothing of it
        }
        match self.poll_hold(cx) {
            Poll::Ready(Ok(0)) => self.end(Over::ClosedInHead),
            Poll::Ready(Ok(_)) => self.admit_held(cx, buffer, began),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(self.lost(fault))),
            // an empty line alone is no request, and its client may have none: an answer would be taken for the next
            Poll::Pending if self.is_over(Side::Read) && *self.held == *b"\r\n" => {
                self.held.clear();
                self.end(Over::Left)
            }
            Poll::Pending if self.is_over(Side::Read) => self.end(Over::SlowHead { began }),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The request was read whole; hyper looks whether the client is still there.
    ///
    /// A client that closes its sending side has left, unless the listener has time for those that wait for their answer
    /// all the same: their end is kept from hyper. Once the response has come whole there is nothing to end any more.
    fn poll_answering(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.finished && self.held.len() < READ_AHEAD {
            if let Err(fault) = ready!(self.poll_hold(cx)) {
                return Poll::Ready(Err(self.lost(fault)));
            }
        }
        if self.finished {
            // the end may have come with an exchange before this one
            let has_left = match self.settings().half_close_timeout {
                None => self.client.is_open(),
                Some(timeout) => {
                    self.begin_wait(Side::Read, timeout);
                    self.is_over(Side::Read)
                }
            };
            if has_left {
                return Poll::Ready(Err(self.lost(io::ErrorKind::ConnectionAborted.into())));
            }
        }
        Poll::Pending
    }

    /// Reads into the gate's own buffer, of which idle connections have none.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(cx))?;
        self.held.reserve(ROOM);
        let read = ready!(pin!(self.stream.read_buf(&mut self.held)).poll(cx))?;
        self.finished = read == 0;
        Poll::Ready(Ok(read))
    }
}

/// What may pass.
impl Gate {
    /// The first bytes of a message came in. Of those that are a whole head none has to be held.
    fn admit(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        let began = Instant::now();
        match self.look(bytes, began) {
            Look::Pass { head, body } => {
                self.held.extend_from_slice(&bytes[head.len..]);
                self.tell(buffer, &head, body);
                Poll::Ready(Ok(()))
            }
            Look::Incomplete => {
                self.held.extend_from_slice(bytes);
                self.await_head(cx, buffer, began)
            }
            Look::Refused => {
                self.held.extend_from_slice(bytes);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn admit_held(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, began: Instant) -> Poll<io::Result<()>> {
        let held = std::mem::take(&mut self.held);
        let look = self.look(&held, began);
        self.held = held;
        match look {
            Look::Pass { head, body } => {
                self.held.advance(head.len);
                self.tell(buffer, &head, body);
                Poll::Ready(Ok(()))
            }
            Look::Incomplete => self.await_head(cx, buffer, began),
            Look::Refused => Poll::Ready(Ok(())),
        }
    }

    fn await_head(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>, began: Instant) -> Poll<io::Result<()>> {
        if !matches!(self.position, Position::Head { .. }) {
            self.position = Position::Head { began };
            let timeout = self.settings().header_timeout;
            self.renew_wait(Side::Read, timeout);
        }
        if self.finished {
            return self.end(Over::ClosedInHead);
        }
        self.poll_head(cx, buffer, began)
    }

    /// Gives hyper the digest of a head, and what of its body is held.
    fn tell(&mut self, buffer: &mut ReadBuf<'_>, head: &RequestHead, body: usize) {
        self.released = body;
        if buffer.remaining() >= encode::LONGEST_DIGEST {
            encode::digest(buffer, head);
        } else {
            let held = self.held.split();
            encode::digest(&mut self.held, head);
            self.released += self.held.len();
            self.held.unsplit(held);
        }
        if self.released > 0 {
            self.release(buffer);
        }
    }

    fn release(&mut self, buffer: &mut ReadBuf<'_>) {
        let len = self.released.min(buffer.remaining());
        buffer.put_slice(&self.held[..len]);
        self.held.advance(len);
        self.released -= len;
    }

    /// Looks at bytes that start with a head.
    fn look(&mut self, bytes: &[u8], began: Instant) -> Look {
        let settings = self.settings();
        let limits =
            Limits { max_head: settings.max_head, max_target: settings.max_target, max_fields: settings.max_fields };
        match self.search.look(bytes, &limits) {
            Ok(Some(mut facts)) => {
                facts.expects_continue &= bytes.len() == facts.len; // who sends already does not wait
                self.end_wait(Side::Read);
                self.last = !facts.keep_alive;
                let raw = self.search.take(&bytes[..facts.len]);
                // HTTP/1.0 alone may leave it out (RFC 9112 §3.2)
                let names_host = facts.version == Version::HTTP_11 || raw.host().is_some() || raw.authority().is_some();
                self.client.saw_head(Box::new(HeadSeen {
                    facts,
                    raw: Rc::new(raw),
                    reached: (!names_host).then(|| self.stream.reached_at().into()),
                    began,
                    complete: if matches!(self.position, Position::Head { .. }) { Instant::now() } else { began },
                }));
                self.position = match facts.framing {
                    Framing::None | Framing::Length(0) => Position::Answering,
                    Framing::Length(length) => Position::Body(Rest::Length(length)),
                    Framing::Chunked => Position::Body(Rest::Chunked(Scanner::new())),
                };
                let body = match self.position {
                    Position::Body(Rest::Chunked(_)) => 0, // which is given when hyper asks for more, as one chunk
                    _ => self.take_body(&bytes[facts.len..]),
                };
                Look::Pass { head: facts, body }
            }
            Ok(None) => Look::Incomplete,
            Err(refusal) => {
                self.end_wait(Side::Read);
                self.position = Position::Over(Over::Refused { refusal, began });
                Look::Refused
            }
        }
    }

    /// The exchange is over and hyper has written all of its response: it may have the next message.
    fn quiet(&mut self, cx: &Context<'_>) {
        if !matches!(self.position, Position::Answering) {
            return;
        }
        self.position = Position::Between;
        // not from now on, which would be one more look at the clock
        self.waits.renew_until(Side::Read, self.client.closed() + QUIET, &self.client.alarm);
        if !self.held.is_empty() || self.finished || self.client.is_leaving() {
            cx.waker().wake_by_ref(); // hyper would not look at the read side again by itself
        }
    }

    /// Writes the rest of a head that hyper takes for written.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.splice.is_done() {
            let polled = self.splice.poll_rest(cx, &mut self.stream);
            ready!(self.wrote(polled))?;
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Ok(written)) => {
                self.client.took(written, || takes_whole_read(&self.stream));
                self.end_wait(Side::Write);
                if self.finished
                    && matches!(self.position, Position::Answering)
                    && let Some(timeout) = self.settings().half_close_timeout
                {
                    self.renew_wait(Side::Read, timeout); // it takes the response, so it has not gone
                }
            }
            Poll::Ready(Err(_)) => self.client.note(Trouble::ClientClosed),
            Poll::Pending => {
                self.client.took_nothing();
                let timeout = self.settings().write_timeout;
                self.begin_wait(Side::Write, timeout);
                if self.is_over(Side::Write) {
                    self.client.note(Trouble::ClientTimeout);
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        polled
    }
}

impl AsyncRead for Gate {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        if gate.released > 0 {
            gate.release(buffer);
            return Poll::Ready(Ok(()));
        }
        if gate.unwatched
            && !matches!(gate.position, Position::Body(_))
            && let Err(fault) = gate.hold_unwatched()
        {
            return Poll::Ready(Err(gate.lost(fault)));
        }
        match gate.position {
            Position::Between => gate.poll_between(cx, buffer),
            Position::Head { began } => gate.poll_head(cx, buffer, began),
            Position::Body(_) => gate.poll_body(cx, buffer),
            Position::Answering => gate.poll_answering(cx),
            Position::Over(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        ready!(gate.poll_rest(cx))?;
        let fields = gate.client.take_carried();
        if fields.is_empty() {
            let polled = Pin::new(&mut gate.stream).poll_write_vectored(cx, slices);
            return gate.wrote(polled);
        }
        let polled = gate.splice.poll_write(cx, &mut gate.stream, slices, &fields);
        if polled.is_pending() {
            gate.client.keep_carried(fields);
        }
        gate.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes once its own buffer is empty. A socket keeps nothing back, the splice may.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(gate.poll_rest(cx))?;
        if gate.client.flushed() {
            gate.quiet(cx);
        }
        if gate.client.end_flush() {
            cx.waker().wake_by_ref(); // a body that breaks off has waited for this
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
