//! The codec beside hyper's client, which reads the same bytes: what hyper refuses we refuse, and what we take we
//! understand as hyper does. We may refuse more.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::*;

/// What was understood of a response.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    reusable: bool,
}

fn runtime() -> tokio::runtime::LocalRuntime {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).expect("a runtime")
}

/// A socket on which `bytes` come, cut into pieces of `step`, and then the end.
fn server(bytes: &[u8], step: usize) -> UnixStream {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    let bytes = bytes.to_vec();
    tokio::task::spawn_local(async move {
        for piece in bytes.chunks(step.max(1)) {
            if theirs.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = theirs.shutdown().await;
        // the request is read so that the close is an end and no reset
        let _ = tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await;
    });
    ours
}

async fn ours(bytes: &[u8], step: usize, head: bool) -> Result<Seen, ResponseError> {
    let mut connection = Connection::over(Wire::Http1(Stream::Unix(server(bytes, step))), None, 0);
    let shared = ReadBuffers::default();
    connection.begin();
    let asked = Asked { head, ..Asked::default() };
    let response = loop {
        let response = poll_fn(|cx| connection.poll_head(cx, asked, &shared, Demand::Much)).await?;
        if !response.informational {
            break response;
        }
    };
    let mut body = Vec::new();
    while let Some(piece) = poll_fn(|cx| connection.poll_body(cx, &shared, Demand::Much)).await {
        if let Piece::Data(data) = piece? {
            body.extend_from_slice(&data);
        }
    }
    Ok(Seen {
        status: response.status.as_u16(),
        fields: fields(&headers(&response.fields)),
        body,
        reusable: connection.is_reusable(),
    })
}

async fn hypers(bytes: &[u8], step: usize, head: bool) -> Result<Seen, hyper::Error> {
    let io = TokioIo::new(server(bytes, step));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let driver = tokio::task::spawn_local(connection);
    let request = http::Request::builder().method(if head { "HEAD" } else { "GET" }).uri("/").header("host", "a");
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).expect("a request")).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    driver.abort();
    Ok(Seen { status: head.status.as_u16(), fields: fields(&head.headers), body, reusable: false })
}

fn headers(lines: &[u8]) -> HeaderMap {
    let mut table = [httparse::EMPTY_HEADER; 256];
    let text = [lines, b"\r\n"].concat();
    let parsed = httparse::parse_headers(&text, &mut table).expect("fields");
    let fields = parsed.unwrap().1.iter().map(|field| {
        (field.name.parse().expect("a name"), http::HeaderValue::from_bytes(field.value).expect("a value"))
    });
    fields.collect()
}

/// The fields that both sides are to agree on: those of the connection are gone on ours.
fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let own = ["connection", "keep-alive", "transfer-encoding", "content-length", "trailer", "upgrade", "te"];
    let mut fields: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort();
    fields
}

/// Runs both over the same bytes; hyper sits out what only an end of time would settle.
fn compare(bytes: &[u8], step: usize, head: bool) -> (Result<Seen, String>, Result<Seen, String>) {
    runtime().block_on(async {
        let within = Duration::from_secs(5);
        let own = tokio::time::timeout(within, ours(bytes, step, head)).await.expect("our codec comes to an end");
        let other = tokio::time::timeout(within, hypers(bytes, step, head)).await.expect("hyper comes to an end");
        (own.map_err(|error| error.to_string()), other.map_err(|error| error.to_string()))
    })
}

/// A response as servers send them.
fn response() -> impl Strategy<Value = Vec<u8>> {
    let status = prop::sample::select(vec![200u16, 201, 204, 206, 304, 404, 500, 503]);
    let fields = prop::collection::vec(("x-[a-z]{1,8}", "[ -~]{0,20}"), 0..5);
    let body = prop::collection::vec(any::<u8>(), 0..300);
    (status, fields, body, 0..4u8, any::<bool>(), 1..64usize).prop_map(
        |(status, fields, body, framing, close, chunk)| {
            let mut out = format!("HTTP/1.1 {status} Some Reason\r\n").into_bytes();
            for (name, value) in fields {
                out.extend_from_slice(format!("{name}: {}\r\n", value.trim()).as_bytes());
            }
            if close {
                out.extend_from_slice(b"Connection: close, X-Gone\r\nX-Gone: 1\r\n");
            }
            let bodiless = matches!(status, 204 | 304);
            match framing {
                0 if !bodiless => {
                    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for piece in body.chunks(chunk) {
                        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                        out.extend_from_slice(piece);
                        out.extend_from_slice(b"\r\n");
                    }
                    out.extend_from_slice(b"0\r\n\r\n");
                }
                1 if !bodiless => {
                    out.extend_from_slice(b"\r\n");
                    out.extend_from_slice(&body);
                }
                _ if bodiless => out.extend_from_slice(b"\r\n"),
                _ => {
                    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                    out.extend_from_slice(&body);
                }
            }
            out
        },
    )
}

fn without_gone(mut seen: Seen) -> Seen {
    seen.fields.retain(|(name, _)| name != "x-gone");
    Seen { reusable: false, ..seen }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn valid_responses_are_understood_as_hyper_does(bytes in response(), step in 1..400usize) {
        let (own, other) = compare(&bytes, step, false);
        prop_assert_eq!(own.map(without_gone), other.map(without_gone), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn what_hyper_refuses_is_refused_and_what_we_take_is_the_same(
        mut bytes in response(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
        step in 1..400usize,
    ) {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (own, other) = compare(&bytes, step, false);
        if let Ok(own) = own {
            let other = other.map(without_gone);
            prop_assert_eq!(Ok(without_gone(own)), other, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_connection_is_used_again_only_when_nothing_is_left_on_it() {
    let reusable = |bytes: &[u8], head| runtime().block_on(ours(bytes, 1000, head)).expect("a response").reusable;
    assert!(reusable(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false));
    assert!(reusable(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true));
    assert!(!reusable(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", false), "data after the response");
    assert!(!reusable(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false));
    assert!(!reusable(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false));
    assert!(!reusable(b"HTTP/1.1 200 OK\r\n\r\nok", false), "the end of the connection was the end of the body");
}

#[test]
fn a_body_cut_short_is_an_error() {
    for cut in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ] {
        let seen = runtime().block_on(ours(cut, 1000, false));
        assert!(matches!(seen, Err(ResponseError::Closed)), "{seen:?}");
    }
}
