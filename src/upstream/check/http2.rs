//! A check over HTTP/2, with hyper as the client, and the health protocol of gRPC
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;

use super::fault::CheckFault;
use crate::message::fields::grpc_status;
use crate::net::Stream;

/// Octets of an answer to a question for health, at most.
const MOST: usize = 1024;

/// The method that is asked.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Runs what hyper needs on this thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// The question whether a service of this name is well; all of the server, when it is empty.
pub(super) fn question(host: &str, service: &str) -> Request<String> {
    // a message of one field: its tag (1, length-delimited), its length, the name; before it a flag and the length
    let mut message = String::new();
    if !service.is_empty() {
        message.push('\x0a');
        message.push(char::from(service.len() as u8)); // checked: it is short
        message.push_str(service);
    }
    let body = format!("\0\0\0\0{}{message}", char::from(message.len() as u8));
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(CHECK);
    let fields = request.headers_mut();
    fields.insert(http::header::HOST, HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("localhost")));
    fields.insert(http::header::USER_AGENT, HeaderValue::from_static("segue-check"));
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// Sends the request; gives the status of the response. An answer about health has to be a good one.
pub(super) async fn ask(stream: Stream, mut request: Request<String>, is_health: bool) -> Result<u16, CheckFault> {
    let fields = request.headers_mut();
    fields.remove(http::header::CONNECTION);
    let host = fields.remove(http::header::HOST);
    let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let scheme = if stream.tls().is_some() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    *request.uri_mut() = uri.unwrap_or_default();
    let builder = http2::Builder::new(LocalExecutor);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(CheckFault::of_http2)?;
    let mut connection = pin!(connection);
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(CheckFault::of_http2)?;
        let status = response.status().as_u16();
        if is_health && status == 200 {
            let fields = response.headers().clone();
            let (body, trailers) = read(response.into_body()).await?;
            judge(&fields, &body, trailers.as_ref())?;
        }
        Ok(status)
    });
    poll_fn(|cx| {
        let _ = connection.as_mut().poll(cx); // when the connection ends, the answer has the reason
        answer.as_mut().poll(cx)
    })
    .await
}

/// The body of a short answer, and its trailers.
async fn read(mut body: Incoming) -> Result<(Vec<u8>, Option<HeaderMap>), CheckFault> {
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(CheckFault::of_http2)?;
        match frame.into_data() {
            Ok(more) if data.len() + more.len() <= MOST => data.extend_from_slice(&more),
            Ok(_) => return Err(CheckFault::NotHealth),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((data, trailers))
}

/// Whether the answer says that the service is well. The status is among the trailers, or in the head of an answer that has
/// nothing else.
fn judge(head: &HeaderMap, body: &[u8], trailers: Option<&HeaderMap>) -> Result<(), CheckFault> {
    let fields = trailers.filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(head);
    match grpc_status(fields).ok_or(CheckFault::NotHealth)? {
        0 => {}
        other => return Err(CheckFault::GrpcStatus(other)),
    }
    // a field of the number 1 as a varint; without it the value is 0
    match body {
        [0, 0, 0, 0, 2, 8, 1, ..] => Ok(()),
        [0, 0, 0, 0, 2, 8, 2, ..] => Err(CheckFault::Health("NOT_SERVING")),
        [0, 0, 0, 0, 2, 8, 3, ..] => Err(CheckFault::Health("SERVICE_UNKNOWN")),
        [0, 0, 0, 0, 0, ..] => Err(CheckFault::Health("UNKNOWN")),
        _ => Err(CheckFault::NotHealth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_message_of_grpc() {
        assert_eq!(question("a", "").body().as_bytes(), b"\0\0\0\0\0");
        assert_eq!(question("a", "a.B").body().as_bytes(), b"\0\0\0\0\x05\x0a\x03a.B");
    }

    #[test]
    fn only_a_service_that_serves_is_well() {
        let map =
            |value| HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static(value))]);
        let (none, ok) = (HeaderMap::new(), map("0"));
        assert!(judge(&none, b"\0\0\0\0\x02\x08\x01", Some(&ok)).is_ok());
        for (head, body, trailers, words) in [
            (&none, &b"\0\0\0\0\x02\x08\x02"[..], Some(&ok), "health NOT_SERVING"),
            (&none, b"\0\0\0\0\0", Some(&ok), "health UNKNOWN"),
            (&none, b"hello", Some(&ok), "answer is not one of grpc.health.v1.Health"),
            (&none, b"\0\0\0\0\x02\x08\x01", None, "answer is not one of grpc.health.v1.Health"),
            (&map("12"), b"", None, "grpc-status 12"),
        ] {
            assert_eq!(judge(head, body, trailers).expect_err("not well").to_string(), words);
        }
    }
}
