//! What serves one request: its exchange, and how far it is on its way through the proxy.
//!
//! The connection of the client polls the handler, hands it the body of the request, and writes what it gives. The
//! handler knows no connection, so a connection may have any number of them. Its state is plain data, but for deadlines
//! and a connection to a server that is being opened.

mod moving;

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

pub use self::moving::Leaving;

use super::attempt::{Answer, Dispatch, Dispatched};
use super::client_side::ClientSide;
use super::debug::shown_response_body;
use super::exchange::Exchange;
use super::fault::Fault;
use super::origin::Origin;
use super::relay::{Relay, RelayError};
use super::request::{ClientRequest, RefusedHead};
use super::response::{self, Response, ResponsePart, Then, ends_authentication};
use super::thread::Thread;
use super::tunnel::Tunnel;
use super::{client_identity, forwards, headers, https};
use crate::config::SiteSettings;
use crate::handover::capabilities::Reach;
use crate::handover::exchange::ExchangeTransfer;
use crate::http1::request::Framing;
use crate::message::authority::Host;
use crate::message::body::Piece;
use crate::message::fields::grpc_status;
use crate::observe::WithCauses;
use crate::observe::end::{End, Phase, Reason};
use crate::observe::record::{Outcome, Protocol};
use crate::route::Facts;
use crate::upstream::upload::Upload;

/// What serves one request, as the connection of its client sees it: [`Handler`], or what stands in for it in tests.
pub trait RequestHandler {
    /// What comes next for the client. Nothing of the response is read from a server while there is no room for it.
    fn poll(&mut self, cx: &mut Context<'_>, side: &mut ClientSide<'_>) -> Poll<ResponsePart>;

    /// Where the exchange is.
    fn phase(&self) -> Phase;

    /// Says how the exchange ends, when its connection ends it.
    fn end(&mut self, end: End);

    /// Closes the exchange, and says when it was over: when the response had come whole, or now, if the client took
    /// longer (`late`). `then` is what becomes of the connection.
    #[must_use]
    fn close(self, late: bool, then: Then) -> Instant;

    /// The tunnel that the exchange turns into, once the client has the head of the response.
    #[must_use]
    fn into_tunnel(self) -> Option<Tunnel>;

    /// Whether the exchange can go on in a generation that takes this.
    fn can_move(&self, reach: &Reach) -> bool {
        let _ = reach;
        false
    }

    /// Whether it has a stream of a connection to a server that other clients share, with which it stays.
    fn is_on_shared_connection(&self) -> bool {
        false
    }

    /// Takes an exchange apart that goes on in another generation; none when it can't move after all.
    #[must_use]
    fn into_transfer(self) -> Option<(Leaving, ExchangeTransfer)>
    where
        Self: Sized,
    {
        None
    }
}

/// Serves one request.
pub struct Handler {
    exchange: Box<Exchange>,
    stage: HandlerStage,
}

/// How far a request is.
///
/// ```text
///   Opened ──▶ Dispatch ──a server answered──▶ Relay ──▶ Ended
///      │          │                └──101──▶ Switched
///      └──────────┴──────our own words──▶ Own ──▶ Ended
/// ```
enum HandlerStage {
    Opened,
    Dispatch(Box<Dispatch>),
    Relay(Relay),
    /// A response of our own, of which the head was given.
    Own(Bytes),
    Switched(Box<Answer>),
    Ended,
}

impl RequestHandler for Handler {
    fn poll(&mut self, cx: &mut Context<'_>, side: &mut ClientSide<'_>) -> Poll<ResponsePart> {
        loop {
            match &mut self.stage {
                HandlerStage::Opened => match self.begin(side) {
                    Ok(event) => {
                        if let Some(event) = event {
                            return Poll::Ready(event);
                        }
                    }
                    Err(fault) => return Poll::Ready(self.fault(&fault)),
                },
                HandlerStage::Dispatch(attempts) => {
                    let given = ready!(attempts.poll(cx, &mut self.exchange, side));
                    return Poll::Ready(match given {
                        Ok(Dispatched::Interim(head)) => {
                            self.exchange.debug(|| format!("informational response {}", head.status.as_u16()));
                            if self.exchange.protocol == Protocol::Http10 {
                                continue; // HTTP/1.0 has no informational responses (RFC 9110 §15.2)
                            }
                            ResponsePart::Interim(Response::interim(*head))
                        }
                        Ok(Dispatched::Continue) => {
                            self.exchange.debug(|| "client told to send the body: 100 of our own".to_owned());
                            ResponsePart::Interim(Response::go_on())
                        }
                        Ok(Dispatched::Answer(answer)) => self.answered(answer, side),
                        Err(fault) => self.fault(&fault),
                    });
                }
                HandlerStage::Relay(relay) => {
                    let piece = ready!(relay.poll(cx, &mut self.exchange, side));
                    match piece {
                        Some(Ok(Piece::Trailers(_))) if !self.exchange.facts.te_trailers => {}
                        piece => return Poll::Ready(self.relayed(piece)),
                    }
                }
                HandlerStage::Own(body) => {
                    let body = std::mem::take(body);
                    if body.is_empty() || self.exchange.is_head() {
                        return Poll::Ready(self.ended());
                    }
                    self.exchange.bytes_out += body.len() as u64;
                    return Poll::Ready(ResponsePart::Data(body));
                }
                HandlerStage::Switched(_) | HandlerStage::Ended => return Poll::Ready(ResponsePart::End),
            }
        }
    }

    fn phase(&self) -> Phase {
        self.exchange.phase()
    }

    fn end(&mut self, end: End) {
        self.exchange.ends(end);
    }

    fn close(mut self, late: bool, then: Then) -> Instant {
        self.exchange.debug(|| match then {
            Then::KeepAlive => "the client's connection stays open for its next request".to_owned(),
            Then::Close | Then::Tunnel => "the client's connection closes after this response".to_owned(),
        });
        self.exchange.close(late)
    }

    fn into_tunnel(self) -> Option<Tunnel> {
        let HandlerStage::Switched(answer) = self.stage else { return None };
        let pool = usize::from(self.exchange.pool?);
        let timeout = self.exchange.thread.runtime_config.pools[pool].settings.tunnel_timeout;
        let Answer { connection, open, .. } = *answer;
        let (stream, ahead, stays) = connection.into_inner().into_tunnel().ok()?;
        Some(Tunnel::new(self.exchange, stream, ahead, timeout, open).here(stays))
    }

    fn can_move(&self, reach: &Reach) -> bool {
        self.exchange.origin.is_in(reach) && self.moves(reach)
    }

    fn is_on_shared_connection(&self) -> bool {
        match &self.stage {
            HandlerStage::Dispatch(attempts) => attempts.is_on_shared_connection(),
            HandlerStage::Relay(relay) => relay.is_on_shared_connection(),
            _ => false,
        }
    }

    fn into_transfer(self) -> Option<(Leaving, ExchangeTransfer)> {
        self.save()
    }
}

impl Handler {
    /// Opens the exchange of a request.
    #[must_use]
    pub fn new(thread: &Rc<Thread>, origin: &Rc<Origin>, request: ClientRequest) -> Self {
        Self { exchange: Exchange::open(thread, origin, request), stage: HandlerStage::Opened }
    }

    /// Opens the exchange of a request whose head is not right, and gives the response and its body.
    #[must_use]
    pub fn refuse(thread: &Rc<Thread>, origin: &Rc<Origin>, refused: &RefusedHead<'_>) -> (Response, Bytes) {
        let mut exchange = Exchange::open_refused(thread, origin, refused);
        let response = response::refuse(&mut exchange, refused);
        exchange.debug(|| format!("refused with {}; the client's connection closes", exchange.status));
        thread.counters.head_refused(origin.listener, exchange.status);
        response
    }

    /// Finds what answers.
    fn begin(&mut self, side: &mut ClientSide<'_>) -> Result<Option<ResponsePart>, Fault> {
        let exchange = &mut self.exchange;
        let routed = route(exchange);
        exchange.begin_debug();
        let site = match routed {
            Ok(site) => site,
            Err(Fault::NoSites) => {
                let (response, body) = response::welcome(exchange);
                return Ok(Some(self.respond(response, body)));
            }
            Err(fault) => return Err(fault),
        };
        if let Some((response, body)) = https::answer_challenge(exchange) {
            return Ok(Some(self.respond(response, body)));
        }
        if exchange.origin.is_tls {
            https::check_host(exchange)?;
        } else {
            let thread = exchange.thread.clone();
            if let Some((response, body)) = https::redirect(exchange, &thread.runtime_config.config.sites[site])? {
                return Ok(Some(self.respond(response, body)));
            }
        }
        client_identity::check(&self.exchange, site)?;
        let exchange = &mut self.exchange;
        if let Some(0) = forwards::left(&exchange.head)? {
            let (response, body) = forwards::answer(exchange);
            return Ok(Some(self.respond(response, body)));
        }
        // not the runtime configuration: all threads would count its owners on one cache line
        let thread = exchange.thread.clone();
        let site = &thread.runtime_config.config.sites[site];
        admit(exchange, site)?;
        exchange.is_underway();
        let trusted = &thread.runtime_config.config.listeners[usize::from(exchange.origin.listener)].trusted_proxies;
        let mut head = thread.head_buffer();
        let pool = exchange.pool.map_or(site.pool, usize::from);
        match thread.runtime_config.is_of_page(pool) {
            true => headers::write_page_request(&mut head, exchange),
            false => headers::write_request(&mut head, exchange, trusted)?,
        }
        let upload = Upload::new(exchange.facts.framing, site.max_body);
        let mut attempts = Box::new(Dispatch::new(exchange, pool, head, upload));
        attempts.find_private(exchange, side.private)?;
        self.stage = HandlerStage::Dispatch(attempts);
        Ok(None)
    }

    /// A server answered.
    fn answered(&mut self, mut answer: Answer, side: &mut ClientSide<'_>) -> ResponsePart {
        let HandlerStage::Dispatch(mut attempts) = std::mem::replace(&mut self.stage, HandlerStage::Ended) else {
            return ResponsePart::Broken(End::new(self.exchange.phase(), Reason::Internal));
        };
        let exchange = &mut self.exchange;
        exchange.thread.keep_head_buffer(attempts.take_head());
        let status = answer.head.status;
        exchange.status = status.as_u16();
        exchange.debug(|| {
            let (len, body) = (answer.head.len, answer.head.body);
            format!("response {} from the server: head of {len} bytes, {}", status.as_u16(), shown_response_body(body))
        });
        if exchange.protocol == Protocol::Http2 && exchange.facts.upgrade && status.is_success() {
            // to the client it would say that the tunnel is there
            let pool = &exchange.thread.runtime_config.pools[exchange.pool.map_or(0, usize::from)];
            let server = pool.servers[answer.server].name.clone();
            return self.fault(&Fault::Server { outcome: Outcome::BadResponse, server, timeout: Duration::ZERO });
        }
        // what is left of the request would be taken for the next one
        let (unasked, unsent) = (exchange.waits_for_continue, !attempts.upload.is_done());
        if unsent && unasked {
            answer.connection.spoil();
        }
        let last = unsent || ends_authentication(&answer);
        let response = Response::relayed(exchange, &mut answer, last);
        if answer.connection.is_stream() {
            exchange.grpc_status = response.grpc_status();
        }
        if response.then == Then::Tunnel {
            exchange.phase = Phase::Tunnel;
            if exchange.protocol == Protocol::Http2 {
                return self.tunnel_of_stream(response, answer, side);
            }
            self.stage = HandlerStage::Switched(Box::new(answer));
            return ResponsePart::Head(response);
        }
        exchange.phase = Phase::Body;
        let (pool, timeout) = (exchange.pool.map_or(0, usize::from), attempts.timeout());
        let upload = (unsent && !unasked).then_some(attempts.upload);
        self.stage = HandlerStage::Relay(Relay::new(exchange, pool, answer, upload, timeout, side));
        ResponsePart::Head(response)
    }

    /// A server has switched protocols: bytes pass as the bodies of both messages of the stream (RFC 8441 §5).
    fn tunnel_of_stream(&mut self, response: Response, mut answer: Answer, side: &mut ClientSide<'_>) -> ResponsePart {
        let exchange = &mut self.exchange;
        exchange.status = StatusCode::OK.as_u16();
        exchange.becomes_tunnel();
        answer.connection.becomes_tunnel();
        let pool = exchange.pool.map_or(0, usize::from);
        let timeout = exchange.thread.runtime_config.pools[pool].settings.tunnel_timeout;
        self.stage = HandlerStage::Relay(Relay::tunnel(exchange, pool, answer, timeout, side));
        ResponsePart::Head(response.of_stream())
    }

    fn relayed(&mut self, piece: Option<Result<Piece, RelayError>>) -> ResponsePart {
        match piece {
            None => {
                self.exchange.debug(|| format!("response whole: {} bytes of body", self.exchange.bytes_out));
                self.ended()
            }
            Some(Ok(Piece::Data(data))) => {
                self.exchange.bytes_out += data.len() as u64;
                ResponsePart::Data(data)
            }
            Some(Ok(Piece::Trailers(trailers))) => {
                self.exchange.grpc_status = grpc_status(&trailers);
                ResponsePart::Trailers(trailers)
            }
            Some(Err(error)) => {
                let end = error.end();
                self.exchange.ends(end);
                self.exchange.explain(&WithCauses(&error));
                self.exchange.debug(|| format!("response body cut: {}", WithCauses(&error)));
                self.stage = HandlerStage::Ended;
                ResponsePart::Broken(end)
            }
        }
    }

    fn ended(&mut self) -> ResponsePart {
        self.exchange.ends(End::OK);
        self.stage = HandlerStage::Ended;
        ResponsePart::End
    }

    fn fault(&mut self, fault: &Fault) -> ResponsePart {
        self.exchange.debug(|| format!("fault: {fault}"));
        let (response, body) = response::fault(&mut self.exchange, fault);
        self.respond(response, body)
    }

    fn respond(&mut self, response: Response, body: Bytes) -> ResponsePart {
        self.exchange.debug(|| format!("response {} of our own", self.exchange.status));
        self.stage = HandlerStage::Own(body);
        ResponsePart::Head(response)
    }
}

/// Which site answers.
fn route(exchange: &mut Exchange) -> Result<usize, Fault> {
    let runtime_config = &exchange.thread.runtime_config;
    if runtime_config.config.sites.is_empty() {
        return Err(Fault::NoSites);
    }
    let asked = if runtime_config.sites.asks_for_host() { exchange.host() } else { None };
    let host = asked.and_then(|asked| Host::parse(asked).ok());
    let Some(site) = runtime_config.sites.find(&Facts { host: host.as_ref().map(|host| &*host.name) }) else {
        return Err(Fault::NoSite { host: asked.unwrap_or_default().to_owned() });
    };
    let pool = runtime_config.pool_of_site(site, exchange.head.path());
    exchange.site = Some(site as u16);
    exchange.pool = Some(pool as u16);
    Ok(site)
}

/// Whether the site takes the request, as far as its head tells.
fn admit(exchange: &Exchange, site: &SiteSettings) -> Result<(), Fault> {
    match exchange.facts.framing {
        Framing::Length(length) if length > site.max_body => Err(Fault::BodyTooLarge { limit: site.max_body }),
        _ => Ok(()),
    }
}
