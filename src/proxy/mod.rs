//! The way of a request: the exchange opens, finds its site, is admitted, goes to a server by one attempt or several,
//! and its bodies are relayed. Read [`serve`] from the top.
//!
//! What comes before (accept, the gate, the connection) is the listener's; what is below a single attempt is
//! `upstream`'s.

mod attempt;
mod body;
pub mod client;
mod exchange;
mod fault;
mod forwards;
mod headers;
mod origin;
mod page;
pub mod parked;
pub mod plan;
mod private;
mod reply;
mod story;
pub mod thread;
mod trim;
pub mod tunnel;
pub mod underway;

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::Incoming;

use self::attempt::Answer;
use self::exchange::Exchange;
use self::fault::Fault;
use crate::config::SiteSettings;
use crate::http1::authority::Host;
use crate::http1::request::Framing;
use crate::route::Facts;
use crate::upstream::upload::Upload;

pub use self::body::{BodyError, Reply};
pub use self::client::Client;
pub use self::exchange::record_empty;
pub use self::plan::Plan;
pub use self::reply::{refuse, refuse_slow_head};
pub use self::thread::Thread;

/// An exchange on its way to its response.
pub type Handling = Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>>>>;

/// Opens the exchange of a request and answers it. The client's connection is busy from this call on, until the body
/// of the response is dropped.
#[must_use]
pub fn handle(thread: &Rc<Thread>, client: &Rc<Client>, request: Request<Incoming>) -> Handling {
    let (exchange, body) = Exchange::open(thread, client, request);
    Box::pin(async move { Ok(serve(exchange, body).await) })
}

async fn serve(mut exchange: Box<Exchange>, body: Incoming) -> Response<Reply> {
    let site = match route(&mut exchange) {
        Ok(site) => site,
        Err(Fault::NoSites) => return reply::welcome(exchange),
        Err(fault) => return reply::fault(exchange, &fault),
    };
    match forwards::left(&exchange.head) {
        Ok(Some(0)) => return forwards::answer(exchange),
        Ok(_) => {}
        Err(fault) => return reply::fault(exchange, &fault),
    }
    match go_to_server(&mut exchange, site, body).await {
        Ok(answer) => reply::relay(exchange, site, answer),
        Err(fault) => reply::fault(exchange, &fault),
    }
}

/// Which site answers.
fn route(exchange: &mut Exchange) -> Result<usize, Fault> {
    let plan = &exchange.thread.plan;
    if plan.config.sites.is_empty() {
        return Err(Fault::NoSites);
    }
    let asked = if plan.sites.asks_for_host() { exchange.host() } else { None };
    let host = asked.and_then(|asked| Host::parse(asked).ok());
    let Some(site) = plan.sites.find(&Facts { host: host.as_ref().map(|host| &*host.name) }) else {
        return Err(Fault::NoSite { host: asked.unwrap_or_default().to_owned() });
    };
    let pool = plan.config.sites[site].pool;
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

/// Sends the request to the site's pool.
async fn go_to_server(exchange: &mut Exchange, site: usize, body: Incoming) -> Result<Answer, Fault> {
    let thread = exchange.thread.clone(); // not the plan: all threads would count its owners on one cache line
    let plan = &thread.plan;
    let site = &plan.config.sites[site];
    admit(exchange, site)?;
    exchange.is_underway();
    let trusted = &plan.config.listeners[usize::from(exchange.client.listener)].trusted_proxies;
    let mut outgoing = thread.head_buffer();
    headers::write_request(&mut outgoing, exchange, trusted)?;
    let mut upload = Upload::new(body, exchange.facts.framing, site.max_body);
    let answered = attempt::run(exchange, site.pool, &outgoing, &mut upload).await;
    thread.keep_head_buffer(outgoing);
    let mut answer = answered?;
    if answer.head.upgraded {
        attempt::finish_upload(exchange, site.pool, &answer, &mut upload).await?;
    }
    match upload.is_done() {
        true => {}
        false if upload.is_asked_for() => answer.upload = Some(upload),
        false => {
            answer.unasked = true;
            answer.connection.spoil();
        }
    }
    Ok(answer)
}
