//! A tunnel through a stream, for what wants a socket: bytes pass between the stream and one end of a pair of sockets, and
//! the other end is that of the server.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::net::UnixStream;

use super::stream::UpstreamStream;
use crate::message::body::{Demand, Piece};
use crate::net::Stream;

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// The socket of a server that is reached through this stream, on which it has switched protocols.
///
/// # Errors
/// When there is no descriptor left.
pub fn socket_of(stream: UpstreamStream) -> io::Result<Stream> {
    let (ours, theirs) = UnixStream::pair()?;
    let pump = Pump {
        stream,
        socket: Stream::Unix(ours),
        up: Bytes::new(),
        down: Bytes::new(),
        is_up_over: false,
        is_down_over: false,
    };
    tokio::task::spawn_local(pump.run());
    Ok(Stream::Unix(theirs))
}

/// What passes.
struct Pump {
    stream: UpstreamStream,
    socket: Stream,
    up: Bytes,
    down: Bytes,
    is_up_over: bool,
    is_down_over: bool,
}

impl Pump {
    async fn run(mut self) {
        // a failure drops both: the stream is cancelled, and the socket ends
        let _ = poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let up = self.poll_up(cx)?;
        let down = self.poll_down(cx)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_up_over {
            if self.up.is_empty() {
                let mut piece = bytes::BytesMut::with_capacity(PIECE);
                match self.socket.poll_read_into(cx, &mut piece)? {
                    Poll::Ready(0) => {
                        self.stream.finish_tunnel();
                        self.is_up_over = true;
                    }
                    Poll::Ready(_) => self.up = piece.freeze(),
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            match self.stream.write(&self.up) {
                Ok(written) => self.up.advance(written),
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    std::task::ready!(self.stream.poll_write_ready(cx))?;
                }
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_down_over {
            if self.down.is_empty() {
                match self.stream.poll_body(cx, Demand::Little) {
                    Poll::Ready(Some(Ok(Piece::Data(data)))) => self.down = data,
                    Poll::Ready(Some(Ok(Piece::Trailers(_)))) => {}
                    Poll::Ready(Some(Err(fault))) => return Poll::Ready(Err(io::Error::other(fault))),
                    Poll::Ready(None) => {
                        self.socket.finish_writing()?;
                        self.is_down_over = true;
                    }
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            match self.socket.poll_write_some(cx, &self.down)? {
                Poll::Ready(written) => self.down.advance(written),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}
