//! The way of a request.

pub mod client;
pub mod thread;
pub mod tunnel;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::http1::request::Refusal;
pub use client::Client;
pub use thread::Thread;

/// Stand-in: the body of a response.
pub struct Reply {
    client: Rc<Client>,
    left: Bytes,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let left = std::mem::take(&mut self.get_mut().left);
        Poll::Ready((!left.is_empty()).then(|| Ok(Frame::data(left))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.client.close_exchange();
    }
}

/// Stand-in: answers every request.
pub fn handle(
    _: &Rc<Thread>,
    client: &Rc<Client>,
    _: Request<Incoming>,
) -> Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>>>> {
    client.open_exchange();
    let reply = Reply {
        client: client.clone(),
        left: Bytes::from_static(b"hello\n"),
    };
    Box::pin(async move { Ok(Response::new(reply)) })
}

/// Stand-in: the answer to a refused request.
pub fn refuse(_: &Rc<Thread>, _: &Rc<Client>, refusal: &Refusal, _: &[u8], _: Instant) -> Bytes {
    format!(
        "HTTP/1.1 {} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        refusal.status()
    )
    .into()
}

/// Stand-in: the answer to a slow head.
pub fn refuse_slow_head(_: &Rc<Thread>, _: &Rc<Client>, _: &[u8], _: Instant) -> Bytes {
    Bytes::from_static(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
}
