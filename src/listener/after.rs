//! What becomes of a connection on which no requests are served any more: another generation gets it, or it ends so that
//! nothing that was sent is lost.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::http1::{OpenParts, ReadAhead};
use super::http2::{Contradicted, OpenSession};
use super::lingering::{self, Patience};
use crate::handover::http2::Http2Transfer;
use crate::handover::successor::{Returned, Successor, TransferPermit};
use crate::handover::transfer::{AcceptedTransfer, Http1Transfer, Load, Transfer};
use crate::http2::error::ErrorCode;
use crate::http2::frame::put_go_away;
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::proxy::private::Private;
use crate::proxy::{Client, Thread};

/// The time to tell a client that its connection ends.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How the serving of a connection ended.
pub(super) enum Served {
    /// Its first message is still to come, and another generation may take it.
    Accepted(Box<Client>, Stream, AcceptedTransfer),
    /// It is whole and nothing is open on it; with what was read of the next request.
    Idle(Box<Client>, Stream, ReadAhead),
    /// An exchange is open on it.
    Http1(Box<Client>, Stream, Box<Http1Transfer>),
    /// HTTP/2 is spoken on it.
    Http2(Box<Client>, Stream, Box<Http2Transfer>),
    Ended(Box<Client>, End),
}

/// What became of a connection that was given to another generation.
enum HandOver {
    Taken,
    /// It goes on here.
    Back(Stream, Load),
    /// It ends, for this reason.
    Lost(Reason),
}

/// Gives the connection to another generation with what is on it.
async fn give(thread: &Thread, client: &Client, stream: Stream, load: Load, place: TransferPermit) -> HandOver {
    let Ok(socket) = stream.detach() else { return HandOver::Lost(Reason::Internal) };
    let facts = client.facts(thread.listener_name(client.origin.listener));
    let given = place.give(Transfer { socket, client: facts, load });
    match thread.until_drained(client, pin!(given)).await {
        Ok(Ok(())) => HandOver::Taken,
        Ok(Err(Returned::Whole(transfer))) => match transfer.socket.attach() {
            Ok(stream) => HandOver::Back(stream, transfer.load),
            Err(_) => HandOver::Lost(Reason::Internal),
        },
        Ok(Err(Returned::Lost)) => HandOver::Lost(Reason::Drained),
        Err(reason) => HandOver::Lost(reason),
    }
}

/// Gives the connection to another generation, or goes on with it when that fails.
pub(super) async fn hand_over(
    thread: Rc<Thread>,
    mut client: Box<Client>,
    stream: Stream,
    ahead: ReadAhead,
    successor: Successor,
) -> Served {
    let phase = if ahead.bytes.is_empty() { Phase::Idle } else { Phase::Head };
    let Ok(Some(place)) = thread.until_cut(&client, pin!(successor.place())).await else {
        return Served::Idle(client, stream, ahead);
    };
    let private = client.private.pack(&thread.runtime_config.names);
    let (ahead, began) = ahead.save();
    let reason = match give(&thread, &client, stream, Load::Idle { ahead, began, private }, place).await {
        HandOver::Back(stream, Load::Idle { ahead, began, private }) => {
            client.private = Private::unpack(private, &thread.runtime_config);
            return Served::Idle(client, stream, ReadAhead::resumed(ahead, began));
        }
        HandOver::Taken => Reason::Moved,
        HandOver::Back(..) => Reason::Internal,
        HandOver::Lost(reason) => reason,
    };
    Served::Ended(client, End::new(phase, reason))
}

/// The same, for a connection whose first message is still to come.
pub(super) async fn hand_over_accepted(
    thread: Rc<Thread>,
    client: Box<Client>,
    stream: Stream,
    accepted: AcceptedTransfer,
    successor: Successor,
) -> Served {
    let Ok(Some(place)) = thread.until_cut(&client, pin!(successor.place())).await else {
        return Served::Accepted(client, stream, accepted);
    };
    let reason = match give(&thread, &client, stream, Load::Accepted(accepted), place).await {
        HandOver::Back(stream, Load::Accepted(accepted)) => return Served::Accepted(client, stream, accepted),
        HandOver::Taken => Reason::Moved,
        HandOver::Back(..) => Reason::Internal,
        HandOver::Lost(reason) => reason,
    };
    Served::Ended(client, End::new(Phase::Handshake, reason))
}

/// Gives the connection to another generation with the exchange that is open, or goes on with both when that fails.
pub(super) async fn hand_over_open(thread: Rc<Thread>, open: OpenParts, place: TransferPermit) -> Served {
    let OpenParts { client, stream, leaving, transfer } = open;
    let phase = leaving.phase();
    match give(&thread, &client, stream, Load::Http1(transfer), place).await {
        HandOver::Taken => {
            leaving.leaves();
            Served::Ended(client, End::new(phase, Reason::Moved))
        }
        HandOver::Back(stream, Load::Http1(transfer)) => {
            leaving.leaves(); // for another exchange of this process
            Served::Http1(client, stream, transfer)
        }
        HandOver::Back(..) => Served::Ended(client, leaving.ends(Reason::Internal)),
        HandOver::Lost(reason) => Served::Ended(client, leaving.ends(reason)),
    }
}

/// Gives a connection of HTTP/2 to another generation with all that is open on it, or goes on with it when that fails.
pub(super) async fn hand_over_session(thread: Rc<Thread>, open: OpenSession, place: TransferPermit) -> Served {
    let OpenSession { client, stream, leaving, transfer } = open;
    let phase = if transfer.streams.is_empty() { Phase::Idle } else { Phase::Body };
    match give(&thread, &client, stream, Load::Http2(transfer), place).await {
        HandOver::Taken => {
            leaving.leave();
            Served::Ended(client, End::new(phase, Reason::Moved))
        }
        HandOver::Back(stream, Load::Http2(transfer)) => {
            leaving.leave(); // for other exchanges of this process
            Served::Http2(client, stream, transfer)
        }
        HandOver::Back(..) => Served::Ended(client, leaving.end(Reason::Internal)),
        HandOver::Lost(reason) => Served::Ended(client, leaving.end(reason)),
    }
}

/// Tells the client of HTTP/2 that its connection ends, and closes it. What became of its streams is not known, so none
/// counts as not begun (RFC 9113 §6.8).
pub(super) async fn end_contradicted(thread: Rc<Thread>, contradicted: Contradicted) -> Served {
    let Contradicted { client, stream, is_between_frames } = contradicted;
    if is_between_frames {
        let mut goodbye = Vec::new();
        put_go_away(&mut goodbye, i32::MAX as u32, ErrorCode::InternalError);
        client.timer.set(TOLD_WITHIN);
        poll_fn(|cx| match stream.poll_write_some(cx, &goodbye) {
            Poll::Pending => client.timer.poll_due(cx),
            Poll::Ready(_) => Poll::Ready(()), // a client that takes not even that hears nothing
        })
        .await;
    }
    linger(thread, client, stream, End::new(Phase::Idle, Reason::Internal), lingering::BRIEF).await
}

/// Ends the connection so that nothing that was sent is lost.
pub(super) async fn linger(
    thread: Rc<Thread>,
    client: Box<Client>,
    stream: Stream,
    end: End,
    patience: Patience,
) -> Served {
    // of a connection that is cut, the patience is short enough to be had whole
    match end.reason {
        Reason::Drained | Reason::Killed => lingering::linger(&client.timer, &stream, patience).await,
        _ => {
            let lingering = pin!(lingering::linger(&client.timer, &stream, patience));
            let _ = thread.until_cut(&client, lingering).await; // it ends in either case
        }
    }
    Served::Ended(client, end)
}
