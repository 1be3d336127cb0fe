//! Both servers: what each of them makes of a stream of bytes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::listener::http1::{Http1, Http1Parts, Next, ReadAhead};
use crate::listener::service::{Local, Service};
use crate::listener::tests::support::Answers;
use crate::message::body::{Demand, Piece, RequestBodyError};
use crate::net::Stream;
use crate::observe::end::{End, Phase, Reason};
use crate::observe::record::Index;
use crate::proxy::client_side::ClientSide;
use crate::proxy::fault::Fault;
use crate::proxy::handler::RequestHandler;
use crate::proxy::origin::Origin;
use crate::proxy::request::{ClientRequest, RefusedHead};
use crate::proxy::response::{BodyLength, Response, ResponsePart, Then};
use crate::proxy::tunnel::Tunnel;
use crate::proxy::{Client, Thread};

/// What a server made of a stream.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) seen: Vec<Seen>,
    pub(super) end: Ending,
}

/// Names and values; those of one name in the order in which they came.
pub(super) type Fields = Vec<(String, String)>;

/// How it went on after the last request.
#[derive(Debug)]
pub(super) enum Ending {
    /// Nothing was there, or no whole head, or the connection was closed.
    Over,
    /// For this reason.
    Refused(String),
}

/// A request as a server understood it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    /// The host of a target in absolute-form.
    pub(super) authority: Option<String>,
    pub(super) path: String,
    pub(super) fields: Fields,
    pub(super) body: Body,
}

#[derive(Debug, PartialEq)]
pub(super) enum Body {
    Whole {
        data: Vec<u8>,
        trailers: Fields,
    },
    /// The stream ended in it.
    Cut,
    Wrong(String),
}

impl Seen {
    pub(super) fn is_head_of(&self, other: &Self) -> bool {
        let head = |seen: &Self| (seen.method.clone(), seen.authority.clone(), seen.path.clone(), seen.fields.clone());
        head(self) == head(other)
    }

    /// The values of a field.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        let fields = self.fields.iter().filter(|(field, _)| field == name);
        fields.map(|(_, value)| value.clone()).collect()
    }
}

/// Writes the pieces, with a turn for the server after each, and then the end.
fn client(pieces: &[Vec<u8>]) -> (UnixStream, tokio::task::JoinHandle<UnixStream>) {
    let (server, mut client) = UnixStream::pair().expect("a socket pair");
    let pieces = pieces.to_vec();
    let writing = tokio::task::spawn_local(async move {
        for piece in pieces {
            if client.write_all(&piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await; // fails when the server has closed already
        client
    });
    (server, writing)
}

thread_local! {
    static SEEN: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
    static REFUSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

pub(super) async fn ours(thread: &Rc<Thread>, pieces: &[Vec<u8>]) -> Observed {
    let (stream, writing) = client(pieces);
    let peer = Client::new(thread.timer_wheel.timer(), &thread.clients, 0, None);
    let mut http1 = Http1::<Reading>::new(thread, peer, 0, Stream::Unix(stream), ReadAhead::default());
    loop {
        match poll_fn(|cx| http1.poll(cx)).await {
            Next::Ends { end, .. } => {
                assert!(!matches!(end.reason, Reason::Internal | Reason::ClientTimeout), "{end:?}");
                break;
            }
            Next::Idle => {
                let Http1Parts { client, stream, ahead } = http1.into_parts().expect("a runtime");
                http1 = Http1::new(thread, client, 0, stream, ahead);
            }
            Next::Moves(_) | Next::MovesOpen(_) | Next::Tunnel(_) | Next::Http2 => unreachable!("nothing was switched"),
        }
    }
    drop(http1);
    drop(writing.await);
    let end = REFUSED.take().map_or(Ending::Over, Ending::Refused);
    Observed { seen: SEEN.take(), end }
}

pub(super) async fn hypers(pieces: &[Vec<u8>]) -> Observed {
    let (stream, writing) = client(pieces);
    let seen = RefCell::new(Vec::new());
    let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
        let (head, body) = request.into_parts();
        let body = read(body).await;
        seen.borrow_mut().push(Seen {
            method: head.method.as_str().to_owned(),
            authority: head.uri.authority().map(|authority| authority.as_str().to_owned()),
            path: origin_form(head.uri.path_and_query().map_or("", |path| path.as_str())),
            fields: fields(&head.headers),
            body,
        });
        Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let served = builder.half_close(true).serve_connection(TokioIo::new(stream), service).await;
    drop(writing.await);
    let end = match served {
        Err(error) if error.is_parse() => Ending::Refused(error.to_string()),
        _ => Ending::Over,
    };
    Observed { seen: seen.into_inner(), end }
}

async fn read(mut body: hyper::body::Incoming) -> Body {
    let (mut data, mut trailers) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(more)) => data.extend_from_slice(&more),
            Ok(Err(frame)) => trailers = frame.into_trailers().map(|trailers| fields(&trailers)).unwrap_or_default(),
            Err(error) if is_cut(&error) => return Body::Cut,
            Err(error) => return Body::Wrong(error.source().map_or_else(|| error.to_string(), ToString::to_string)),
        }
    }
    Body::Whole { data, trailers }
}

fn is_cut(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    error.is_incomplete_message() || cause.is_some_and(|cause| cause.kind() == io::ErrorKind::UnexpectedEof)
}

fn fields(headers: &HeaderMap) -> Fields {
    let fields = headers.iter().map(|(name, value)| (name.as_str().to_owned(), shown(value.as_bytes())));
    sorted(fields.collect())
}

/// One text for each value, and one that can be read.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The path and the query, or `*`; the path of an absolute-form that has none is `/`.
fn origin_form(path: &str) -> String {
    if path.starts_with('/') || path == "*" { path.to_owned() } else { format!("/{path}") }
}

fn sorted(mut fields: Fields) -> Fields {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

/// Reads requests whole and says nothing.
struct Reading;

struct Reader {
    request: ClientRequest,
    waits: bool,
    data: Vec<u8>,
    trailers: Fields,
    is_answered: bool,
}

impl Service for Reading {
    type Handler = Reader;

    fn call(_: &Rc<Thread>, _: &Rc<Origin>, request: ClientRequest) -> Reader {
        let waits = request.facts.expects_continue;
        Reader { request, waits, data: Vec::new(), trailers: Vec::new(), is_answered: false }
    }

    fn refuse(_: &Rc<Thread>, _: &Rc<Origin>, refused: &RefusedHead<'_>) -> (Response, Bytes) {
        let Fault::Refused(refusal) = refused.fault else { unreachable!("no client is slow") };
        REFUSED.set(Some(refusal.rule().to_owned()));
        (response(StatusCode::BAD_REQUEST, Then::Close), Bytes::new())
    }

    fn tunnel(
        thread: Rc<Thread>,
        client: Box<Client>,
        stream: Stream,
        read_ahead: Bytes,
        tunnel: Tunnel,
    ) -> Local<'static, (Box<Client>, End)> {
        Answers::tunnel(thread, client, stream, read_ahead, tunnel)
    }

    fn relay(
        thread: Rc<Thread>,
        client: Box<Client>,
        pool: usize,
        host: Option<String>,
        stream: Stream,
        first: Bytes,
    ) -> Local<'static, (Box<Client>, End)> {
        Answers::relay(thread, client, pool, host, stream, first)
    }

    fn closed(_: &Thread, _: Index, _: Option<&Client>, _: End) {}
}

impl RequestHandler for Reader {
    fn poll(&mut self, cx: &mut Context<'_>, side: &mut ClientSide<'_>) -> Poll<ResponsePart> {
        if self.is_answered {
            return Poll::Ready(ResponsePart::End);
        }
        if std::mem::take(&mut self.waits) {
            return Poll::Ready(ResponsePart::Interim(response(StatusCode::CONTINUE, Then::KeepAlive)));
        }
        let body = ready!(self.poll_body(cx, side));
        let then = if matches!(body, Body::Whole { .. }) { Then::KeepAlive } else { Then::Close };
        self.is_answered = true;
        let seen = self.seen(body);
        SEEN.with_borrow_mut(|all| all.push(seen));
        Poll::Ready(ResponsePart::Head(response(StatusCode::OK, then)))
    }

    fn phase(&self) -> Phase {
        Phase::Response
    }

    fn end(&mut self, _: End) {}

    fn close(self, _: bool, _: Then) -> Instant {
        Instant::now()
    }

    fn into_tunnel(self) -> Option<Tunnel> {
        None
    }
}

impl Reader {
    fn poll_body(&mut self, cx: &mut Context<'_>, side: &mut ClientSide<'_>) -> Poll<Body> {
        while let Some(piece) = ready!(side.body.poll_piece(cx, Demand::Much)) {
            match piece {
                Ok(Piece::Data(data)) => self.data.extend_from_slice(&data),
                Ok(Piece::Trailers(trailers)) => self.trailers = fields(&trailers),
                Err(RequestBodyError::Framing(rule)) => return Poll::Ready(Body::Wrong(rule.to_owned())),
                Err(_) => return Poll::Ready(Body::Cut),
            }
        }
        let (data, trailers) = (std::mem::take(&mut self.data), std::mem::take(&mut self.trailers));
        Poll::Ready(Body::Whole { data, trailers })
    }

    fn seen(&self, body: Body) -> Seen {
        let head = &self.request.head;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = head.fields().map(|field| (text(field.name).to_ascii_lowercase(), shown(field.value)));
        Seen {
            method: text(head.method()),
            authority: head.authority().map(text),
            path: origin_form(&text(head.path())),
            fields: sorted(fields.collect()),
            body,
        }
    }
}

fn response(status: StatusCode, then: Then) -> Response {
    let length = BodyLength::Known(0);
    let fields = if status == StatusCode::CONTINUE { Vec::new() } else { b"content-length: 0\r\n".to_vec() };
    Response { status, reason: None, fields, length, then, upgrade: false }
}
