//! What puts the fields of a response into the head that hyper writes.
//!
//! hyper is given of a response what it has to act upon, and writes a head of that; the fields that only pass through
//! are lines already, and would cost it a table to make and to take apart. The head is the first of the slices that it
//! writes, alone or behind a `100 Continue`, and the fields go in before the empty line that ends it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use smallvec::SmallVec;
use tokio::io::AsyncWrite;

use crate::net::Stream;

/// The rest of a head, while there is one.
#[derive(Debug, Default)]
pub(super) struct Splice {
    /// hyper was told that it is written.
    rest: BytesMut,
}

const END: &[u8] = b"\r\n";

impl Splice {
    /// Whether everything that hyper was told is with the kernel.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Writes some of `slices`, whose first one ends with a head, and `fields` in that head. Says how much of `slices`
    /// it took. When it is pending nothing was taken.
    ///
    /// # Errors
    /// Whatever the socket says; and when the first slice does not end with a head, which would be a change of hyper.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        slices: &[IoSlice<'_>],
        fields: &[u8],
    ) -> Poll<io::Result<usize>> {
        let head: &[u8] = slices.first().map_or(&[], |head| head);
        let Some(lines) = head.strip_suffix(END).filter(|lines| lines.ends_with(END)) else {
            return Poll::Ready(Err(io::Error::other("hyper wrote no head where one was due")));
        };
        let mut parts = SmallVec::<[IoSlice<'_>; 8]>::new();
        parts.extend([lines, fields, END].map(IoSlice::new));
        parts.extend(slices[1..].iter().map(|slice| IoSlice::new(slice)));
        let written = ready!(Pin::new(stream).poll_write_vectored(cx, &parts))?;
        if let Some(taken) = written.checked_sub(fields.len())
            && taken >= head.len()
        {
            return Poll::Ready(Ok(taken));
        }
        parts[..3].iter().for_each(|part| self.rest.extend_from_slice(part));
        self.rest.advance(written);
        Poll::Ready(Ok(head.len()))
    }

    /// Writes some of the rest.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(stream).poll_write(cx, &self.rest))?;
        self.rest.advance(written);
        if self.rest.is_empty() {
            self.rest = BytesMut::new(); // most heads have none
        }
        Poll::Ready(Ok(written))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

    /// Writes as hyper does, reads what comes out of it.
    async fn written(slices: &[&[u8]], fields: &[u8]) -> Vec<u8> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let reading = tokio::task::spawn(async move {
            let mut seen = Vec::new();
            theirs.read_to_end(&mut seen).await.expect("read");
            seen
        });
        let mut stream = Stream::Unix(ours);
        let mut splice = Splice::default();
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let parts: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut taken = poll_fn(|cx| splice.poll_write(cx, &mut stream, &parts, fields)).await.expect("write");
        while !splice.is_done() {
            poll_fn(|cx| splice.poll_rest(cx, &mut stream)).await.expect("write");
        }
        let body = slices.concat();
        while taken < all {
            taken += poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &body[taken..])).await.expect("write");
        }
        drop(stream);
        reading.await.expect("read")
    }

    #[tokio::test]
    async fn the_fields_stand_at_the_end_of_the_head() {
        let seen = written(&[HEAD, b"body"], b"A: b\r\n").await;
        assert_eq!(seen, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nA: b\r\n\r\nbody");
    }

    #[tokio::test]
    async fn they_stand_in_the_head_behind_a_continue() {
        let seen = written(&[&[CONTINUE, HEAD].concat(), b"body"], b"A: b\r\n").await;
        assert_eq!(seen, [CONTINUE, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nA: b\r\n\r\nbody"].concat());
    }

    #[tokio::test]
    async fn fields_that_fill_the_socket_come_whole() {
        let fields = format!("A: {}\r\n", "b".repeat(3_000_000)).into_bytes();
        let seen = written(&[HEAD, b"body"], &fields).await;
        let expected = [&HEAD[..HEAD.len() - 2], &fields, b"\r\nbody"].concat();
        assert!(seen == expected, "{} of {}", seen.len(), expected.len());
    }

    #[tokio::test]
    async fn what_is_no_head_is_an_error() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let mut stream = Stream::Unix(ours);
        for slices in [&[][..], &[IoSlice::new(b"HTTP/1.1 200 OK\r\n")]] {
            let wrote = poll_fn(|cx| Splice::default().poll_write(cx, &mut stream, slices, b"A: b\r\n")).await;
            assert!(wrote.is_err());
        }
    }
}
