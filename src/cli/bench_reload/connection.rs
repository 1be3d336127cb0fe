//! One connection of HTTP/1.1 to the proxy: requests, answers, and whether it was closed in between.
//!
//! hyper reads and writes it in a task of its own, which ends with the connection: so a close is noticed when it comes,
//! and not by the next request.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::CONNECTION;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::lost::LostRequest;
use super::target::BenchTarget;

/// The connection. Dropping it closes it.
pub(super) struct BenchConnection {
    sender: SendRequest<Empty<Bytes>>,
    task: JoinHandle<()>,
}

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WholeAnswer {
    pub(super) status: StatusCode,
    /// It says that the connection will be closed.
    pub(super) told: bool,
}

impl BenchConnection {
    /// Opens one.
    pub(super) async fn open(target: &BenchTarget, patience: Duration) -> Result<Self, LostRequest> {
        let socket = target.connect(patience).await?;
        let opened = Builder::new().handshake(TokioIo::new(socket)).await;
        let (sender, connection) = opened.map_err(|fault| LostRequest::before_answer(&fault))?;
        let task = tokio::task::spawn_local(async move {
            let _ = connection.with_upgrades().await; // what was out then tells why it ended
        });
        Ok(Self { sender, task })
    }

    /// Sends the request, and waits for the head of the answer.
    pub(super) async fn head(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, LostRequest> {
        self.sender.ready().await.map_err(|_| LostRequest::NotSent)?;
        self.sender.send_request(request).await.map_err(|fault| LostRequest::before_answer(&fault))
    }

    /// Sends the request, and reads the whole answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Empty<Bytes>>,
        patience: Duration,
    ) -> Result<WholeAnswer, LostRequest> {
        let exchange = async {
            let answer = self.head(request).await?;
            let whole = WholeAnswer { status: answer.status(), told: will_close(answer.version(), answer.headers()) };
            let mut body = answer.into_body();
            while let Some(frame) = body.frame().await {
                frame.map_err(|fault| LostRequest::in_answer(&fault))?;
            }
            Ok(whole)
        };
        timeout(patience, exchange).await.unwrap_or(Err(LostRequest::Late))
    }

    /// The same, and reads the body slowly: `patience` is for each part of it.
    pub(super) async fn download(
        &mut self,
        request: Request<Empty<Bytes>>,
        patience: Duration,
    ) -> Result<WholeAnswer, LostRequest> {
        let answer = timeout(patience, self.head(request)).await.unwrap_or(Err(LostRequest::Late))?;
        let whole = WholeAnswer { status: answer.status(), told: will_close(answer.version(), answer.headers()) };
        let mut body = answer.into_body();
        let mut next = Instant::now();
        while let Some(frame) = timeout_at(next + patience, body.frame()).await.map_err(|_| LostRequest::Late)? {
            let frame = frame.map_err(|fault| LostRequest::in_answer(&fault))?;
            let bytes = frame.data_ref().map_or(0, |data| data.remaining());
            sleep(SLOW.mul_f64(bytes as f64 / SLOW_BYTES)).await;
            next = Instant::now();
        }
        Ok(whole)
    }

    /// Returns once the proxy closed the connection, or said something that no request asked for.
    pub(super) async fn closed(&mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for BenchConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How slowly a download is read: a megabyte in a second.
const SLOW: Duration = Duration::from_secs(1);
const SLOW_BYTES: f64 = 1024.0 * 1024.0;

/// Whether the connection ends with this answer (RFC 9112 §9.3).
fn will_close(version: Version, fields: &HeaderMap) -> bool {
    let values = fields.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = values.flat_map(|value| value.split(',')).map(str::trim);
    match version {
        Version::HTTP_11 => options.any(|option| option.eq_ignore_ascii_case("close")),
        _ => !options.any(|option| option.eq_ignore_ascii_case("keep-alive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_the_connection_ends_with_it() {
        let fields = |values: &[&str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(CONNECTION, value.parse().expect("a value"));
            }
            fields
        };
        assert!(!will_close(Version::HTTP_11, &fields(&[])));
        assert!(!will_close(Version::HTTP_11, &fields(&["keep-alive"])));
        assert!(will_close(Version::HTTP_11, &fields(&["x, Close"])));
        assert!(will_close(Version::HTTP_11, &fields(&["x", "close"])));
        assert!(will_close(Version::HTTP_10, &fields(&[])));
        assert!(!will_close(Version::HTTP_10, &fields(&["Keep-Alive"])));
    }
}
