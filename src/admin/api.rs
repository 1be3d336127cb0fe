//! The admin API: which request gets what.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::sync::watch;

use super::asker::Asker;
use super::change::{self, ChangeRequest, find};
use super::connections;
use super::dashboard::{Dashboard, PageRequest};
use super::format::TextFormat;
use super::login::Login;
use super::metrics;
use super::page;
use super::peer::{AccessLevel, AdminPeer};
use super::response::{ApiBody, ApiError, json, later, only, plain, with};
use super::servers::{ServerList, open};
use super::supervisor_error::SupervisorError;
use crate::control::admin::{AdminField, AdminValue, Operator};
use crate::control::connections::{ConnectionId, ConnectionsRequest, NoConnectionId};
use crate::control::recent::INTERVAL_S;
use crate::control::status::{GenerationStatus, ServiceStatus};
use crate::observe::event::Event;
use crate::observe::journal::Journal;

/// Bytes of a body.
const LARGEST_BODY: usize = 64 * 1024;
/// Bytes that are read of a larger one.
const MOST_READ: usize = 1 << 20;
/// The longest wait for a worker that has just begun to serve, and has not said yet what it knows.
const FIRST_STATUS: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(25);
/// The longest wait for the body of a client that is not logged in.
const UNKNOWN: Duration = Duration::from_millis(250);
/// The longest wait for this process to act by a change.
const TO_ACT: Duration = Duration::from_secs(2);
/// The journal says this often at most that something was refused; where it goes on, less and less often.
const REFUSALS: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What answers.
#[derive(Clone, Debug)]
pub(super) struct Api {
    asker: Asker,
    journal: Journal,
    /// The revision of what operators have set by which this process acts.
    acts_by: watch::Receiver<u64>,
    refusals: Rc<Refusals>,
    /// What a page sends with a change; empty where none may.
    token: Rc<str>,
    /// What this process has open with a server.
    open_here: OpenHere,
}

/// Tells how many attempts this process has open with a server of a pool.
#[derive(Clone)]
pub struct OpenHere(pub Rc<CountOpen>);

/// By pool and server.
type CountOpen = dyn Fn(&str, &str) -> u64;

impl std::fmt::Debug for OpenHere {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("OpenHere")
    }
}

/// The processes that were refused since the journal last said so.
#[derive(Debug)]
struct Refusals {
    last: Cell<Option<Instant>>,
    pause: Cell<Duration>,
    more: Cell<u64>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { last: Cell::default(), pause: Cell::new(REFUSALS), more: Cell::default() }
    }
}

/// What comes of a request.
type ApiResult = Result<Response<ApiBody>, ApiError>;

/// A request without its body.
struct ApiRequest<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    /// The segments of the path, decoded.
    path: Vec<String>,
    query: Vec<(String, String)>,
}

impl Api {
    pub(super) fn new(
        asker: Asker,
        journal: Journal,
        acts_by: watch::Receiver<u64>,
        open_here: OpenHere,
        token: Rc<str>,
    ) -> Self {
        Self { asker, journal, acts_by, refusals: Rc::default(), token, open_here }
    }

    /// Answers a request of a client of the address in `[metrics]`.
    pub(super) async fn answer_to_monitoring(&self, request: &Request<Incoming>) -> Response<ApiBody> {
        match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET | &Method::HEAD) => self.metrics(request.headers()).await,
            ("/metrics", _) => only(plain(StatusCode::OK, "Metrics can be read, by GET.\n"), "GET, HEAD"),
            _ => plain(StatusCode::NOT_FOUND, "There is nothing here but /metrics.\n"),
        }
    }

    /// Answers a request that came over the socket of the admin API.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: &AdminPeer) -> Response<ApiBody> {
        let (head, body) = request.into_parts();
        let asked = ApiRequest {
            method: &head.method,
            headers: &head.headers,
            path: segments(head.uri.path()),
            query: pairs(head.uri.query().unwrap_or_default()),
        };
        // before any answer: bytes that are left unread would take the answer along when the connection is closed
        let body = read(body).await;
        let reads = asked.reads();
        let needed = if reads { AccessLevel::Look } else { AccessLevel::Change };
        if !peer.may(needed) {
            return self.refuse(needed, &head.method, head.uri.path(), peer).response();
        }
        self.route(&asked, body, peer, "").await.unwrap_or_else(ApiError::response)
    }

    /// Answers a request for the status page of a site. One that changes something has the token of the session in a field: no
    /// page of another site knows it, and none can send such a field.
    pub(super) async fn answer_page(
        &self,
        request: Request<Incoming>,
        dashboard: &Dashboard,
        came: &PageRequest,
    ) -> Response<ApiBody> {
        let (head, body) = request.into_parts();
        // of a client that is not logged in no body is waited for
        let patience = if matches!(came.login, Login::User(_)) { Duration::MAX } else { UNKNOWN };
        let body = tokio::time::timeout(patience, read(body)).await.ok().flatten();
        let (path, client) = (head.uri.path(), &came.client);
        // before the login: browsers send a password to all that is beside the path that asked for it (RFC 7617 2.2)
        if dashboard.below(path) == Some("") {
            return moved(&format!("{path}/"));
        }
        let user = match &came.login {
            Login::User(user) => user,
            Login::Missing => return log_in("the page has users: log in"),
            Login::Wrong => {
                self.say_refused("log in to the page: wrong user or password".to_owned(), format!("client {client}"));
                return log_in("user or password is wrong");
            }
            Login::TooMany => {
                self.say_refused("log in to the page: too many wrong passwords".to_owned(), format!("client {client}"));
                let why = "too many wrong passwords came from there: try again in a minute";
                return ApiError::new(StatusCode::TOO_MANY_REQUESTS, why).response();
            }
            Login::Busy => return ApiError::for_now("too many log in at once").response(),
        };
        let Some(below) = dashboard.below(path) else {
            return ApiError::new(StatusCode::NOT_FOUND, "this is no path of the page").response();
        };
        let asked = ApiRequest {
            method: &head.method,
            headers: &head.headers,
            path: segments(below),
            query: pairs(head.uri.query().unwrap_or_default()),
        };
        let token = head.headers.get("segue-token").map(HeaderValue::as_bytes).unwrap_or_default();
        let has_token = !token.is_empty()
            && aws_lc_rs::constant_time::verify_slices_are_equal(token, self.token.as_bytes()).is_ok();
        if !asked.reads() && (dashboard.access < AccessLevel::Change || !has_token) {
            self.say_refused(format!("{} {below}", head.method), format!("user {user} of the page, client {client}"));
            let why = if has_token {
                "users of this page may look and not change"
            } else {
                "the token of the session is missing"
            };
            return ApiError::new(StatusCode::FORBIDDEN, why).response();
        }
        let operator = Operator {
            uid: rustix::process::geteuid().as_raw(),
            pid: std::process::id(),
            command: format!("page, user {user}"),
        };
        let peer = AdminPeer { operator, access: Some(dashboard.access) };
        self.route(&asked, body, &peer, user).await.unwrap_or_else(ApiError::response)
    }

    async fn route(&self, asked: &ApiRequest<'_>, body: Option<Vec<u8>>, peer: &AdminPeer, user: &str) -> ApiResult {
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        match (&path[..], asked.reads()) {
            (["metrics"], true) => Ok(self.metrics(asked.headers).await),
            (["v1", "status"], true) => Ok(with(StatusCode::OK, "application/json", self.asker.whole_status().await?)),
            (["v1", "servers"], true) => self.servers(asked.parameter("pool")).await,
            (["v1", "connections"], true) => {
                let wanted = connections::request(&asked.query);
                let wanted = wanted.map_err(|why| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
                Ok(json(&self.asker.connections(wanted).await?))
            }
            (["v1", "connections", id], false) if asked.method == Method::DELETE => {
                self.close_connection(id, asked.parameter("reason"), peer).await
            }
            (["v1", "connections", _], _) => Ok(only(ApiError::not_so("DELETE"), "DELETE")),
            (["v1", "session"], true) => Ok(json(&json!({
                "may_change": peer.may(AccessLevel::Change),
                "token": &*self.token,
                "user": if user.is_empty() { format!("uid {}", peer.operator.uid) } else { user.to_owned() },
            }))),
            (["v1", "history"], true) => {
                let points = self.asker.recent(0, u64::MAX).await?.points;
                Ok(json(&json!({ "interval_s": INTERVAL_S, "points": points })))
            }
            (["v1", "events"], true) => {
                let after = asked.parameter("after").and_then(|after| after.parse().ok()).unwrap_or_default();
                Ok(json(&json!({ "events": self.asker.recent(u64::MAX, after).await?.events })))
            }
            (["v1", "openapi.json"], true) => Ok(with(StatusCode::OK, "application/json", OPENAPI)),
            (["v1", "pools", pool, "servers", server], true) => self.server(pool, server).await,
            (["v1", "pools", pool, "servers", server], false) if asked.method == Method::POST => {
                self.change(pool, server, &asked.json(body)?, peer).await
            }
            (["v1", "pools", _, "servers", _], false) => Ok(only(ApiError::not_so("GET or POST"), "GET, HEAD, POST")),
            (
                ["metrics"]
                | [
                    "v1",
                    "status" | "servers" | "connections" | "session" | "history" | "events" | "live" | "openapi.json",
                ],
                false,
            ) => Ok(only(ApiError::not_so("GET"), "GET, HEAD")),
            ([name], true) if let Some(file) = page::file(name) => Ok(file),
            _ => Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "there is no such path; GET /v1/openapi.json says which there are",
            )),
        }
    }

    /// Metrics, in the format that the fields of the request ask for.
    async fn metrics(&self, headers: &HeaderMap) -> Response<ApiBody> {
        let format = TextFormat::accepted(headers);
        match self.asker.status(move |status| metrics::text(status, format)).await {
            Ok(text) => {
                let mut response = with(StatusCode::OK, format.content_type(), text);
                response.headers_mut().insert(header::VARY, HeaderValue::from(header::ACCEPT));
                response
            }
            Err(error) => later(plain(StatusCode::OK, &format!("The numbers are not to be had: {error}.\n"))),
        }
    }

    async fn servers(&self, pool: Option<String>) -> ApiResult {
        let status = self.known_status().await?;
        let list = ServerList::of(&status, pool.as_deref());
        match pool.filter(|_| list.pools.is_empty()) {
            Some(pool) => Err(missing(&status, &pool, "")),
            None => Ok(json(&list)),
        }
    }

    async fn server(&self, pool: &str, server: &str) -> ApiResult {
        let status = self.known_status().await?;
        let list = ServerList::of(&status, Some(pool));
        let mut servers = list.pools.iter().flat_map(|pool| &pool.servers);
        let found = servers.find(|one| one.status.name == server);
        found.map(json).ok_or_else(|| missing(&status, pool, server))
    }

    /// Sets something for a server. The answer comes when this process acts by it, and other generations are about to.
    async fn change(&self, pool: &str, server: &str, body: &[u8], peer: &AdminPeer) -> ApiResult {
        let status = self.known_status().await?;
        let place = find(&status, pool, server).map_err(|why| ApiError::new(StatusCode::NOT_FOUND, why))?;
        let wanted =
            ChangeRequest::read(body).and_then(|wanted| wanted.changes(&place, &peer.operator, SystemTime::now()));
        let changes = wanted.map_err(|why| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
        let values: Vec<_> = changes.iter().map(|change| change.value).collect();
        let revision = self.asker.administer(changes).await?;
        let mut acts_by = self.acts_by.clone();
        let acts = tokio::time::timeout(TO_ACT, acts_by.wait_for(|acts_by| *acts_by >= revision)).await;
        let status = self.with_open(status); // what it has open now that it gets nothing new
        let word = |field| values.iter().find(|value| value.field() == field).map(|value| value.word());
        Ok(json(&json!({
            "pool": pool,
            "server": server,
            "state": word(AdminField::State),
            "weight": word(AdminField::Weight),
            "open": open(&status, pool, server),
            "note": note(&status, pool, server, &values, acts.is_ok_and(|acts| acts.is_ok())),
        })))
    }

    /// Closes a client connection, with what is open on it, in whichever generation it is.
    async fn close_connection(&self, id: &str, reason: Option<String>, peer: &AdminPeer) -> ApiResult {
        let id: ConnectionId =
            id.parse().map_err(|fault: NoConnectionId| ApiError::new(StatusCode::NOT_FOUND, fault.to_string()))?;
        let reason = reason.map(|reason| change::reason(&reason)).transpose();
        let reason = reason.map_err(|why| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, why))?.flatten();
        let by = peer.operator.clone();
        let mut view = self.asker.connections(ConnectionsRequest::Close { id, by, reason }).await?;
        let closed = view.connections.pop();
        if let (None, Some(generation)) = (&closed, view.silent.first()) {
            let why = format!("generation {generation} did not answer: the connection is closed later if it is there");
            return Err(ApiError::for_now(why));
        }
        let closed = closed.ok_or_else(|| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                format!("no connection {id} is open: `segue connections` shows those that are"),
            )
        })?;
        Ok(json(&closed))
    }

    /// The status with what this process has open now, where that serves: what it reported before is seconds old.
    fn with_open(&self, mut status: ServiceStatus) -> ServiceStatus {
        let own = |one: &&mut GenerationStatus| one.state == "serving" && one.pid == std::process::id();
        let worker = status.generations.iter_mut().filter(own).find_map(|one| one.worker.as_mut());
        for pool in worker.into_iter().flat_map(|worker| &mut worker.pools) {
            for server in &mut pool.servers {
                server.open_attempts = (self.open_here.0)(&pool.name, &server.name);
            }
        }
        status
    }

    /// The status, once the generation that serves has said what it knows.
    async fn known_status(&self) -> Result<ServiceStatus, ApiError> {
        let until = Instant::now() + FIRST_STATUS;
        loop {
            let status = self.asker.status(ServiceStatus::clone).await?;
            if status.serving_worker().is_some() {
                return Ok(self.with_open(status));
            }
            if Instant::now() > until {
                return Err(ApiError::for_now("no generation serves that says what it knows"));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn refuse(&self, needed: AccessLevel, method: &Method, path: &str, peer: &AdminPeer) -> ApiError {
        let Operator { uid, command, .. } = &peer.operator;
        self.say_refused(format!("{method} {path}"), format!("uid {uid} ({command})"));
        let why = match (needed, peer.access) {
            (AccessLevel::Change, Some(_)) => {
                "members of segue-view may look; root and members of the group of the service may change"
            }
            _ => "only root, members of the group of the service and, to look, those of segue-view may ask",
        };
        ApiError::new(StatusCode::FORBIDDEN, why)
    }

    /// Says in the journal that something was refused: once a second, and the less often the longer it goes on.
    fn say_refused(&self, wish: String, by: String) {
        let Refusals { last, more, pause: next } = &*self.refusals;
        let (pause, now) = (next.get(), Instant::now());
        if last.get().is_some_and(|last| now < last + pause) {
            more.set(more.get() + 1);
            return;
        }
        let goes_on = last.get().is_some_and(|last| now < last + 10 * pause);
        next.set(if goes_on { (2 * pause).min(LONGEST_PAUSE) } else { REFUSALS });
        last.set(Some(now));
        let wish = wish.chars().take(200).collect();
        self.journal.event(Event::AdminRefused { wish, by, more: more.take() });
    }
}

impl ApiRequest<'_> {
    fn reads(&self) -> bool {
        [Method::GET, Method::HEAD].contains(self.method)
    }

    fn parameter(&self, name: &str) -> Option<String> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    /// The body, of a request that says that it is JSON: a page of another site cannot say so without being asked first.
    fn json(&self, body: Option<Vec<u8>>) -> Result<Vec<u8>, ApiError> {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json"));
        }
        body.ok_or_else(|| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large, or broke off"))
    }
}

/// A whole body; none of one that is too large or breaks off. Of a larger one so much is read as a client sends without
/// looking for the answer.
async fn read(mut body: Incoming) -> Option<Vec<u8>> {
    let (mut whole, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame.ok()?.into_data() else { continue };
        length += frame.len();
        if length <= LARGEST_BODY {
            whole.extend_from_slice(&frame);
        } else if length > MOST_READ {
            return None;
        }
    }
    (length <= LARGEST_BODY).then_some(whole)
}

/// What an operator should know of a change that is made.
fn note(status: &ServiceStatus, pool: &str, server: &str, values: &[AdminValue], acts: bool) -> Option<String> {
    if !acts {
        return Some("the generation that serves has not said yet that it acts by it".to_owned());
    }
    let takes_it_out = |value: &AdminValue| {
        matches!(value, AdminValue::Drain | AdminValue::Maint | AdminValue::Weight { weight: 0, .. })
    };
    if !values.iter().any(takes_it_out) {
        return None;
    }
    let pools = status.serving_worker().map_or(&[][..], |worker| &worker.pools);
    let mut servers = pools.iter().filter(|one| one.name == pool).flat_map(|pool| &pool.servers);
    let is_left = servers.any(|one| one.name != server && one.takes_requests());
    (!is_left).then(|| format!("no other server of pool {pool} takes requests: they get 503"))
}

/// A name and a password are asked for (RFC 7617).
fn log_in(why: &str) -> Response<ApiBody> {
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, why).response();
    let challenge = HeaderValue::from_static("Basic realm=\"Segue\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// It is at another path.
fn moved(to: &str) -> Response<ApiBody> {
    let mut response = plain(StatusCode::PERMANENT_REDIRECT, "The page is one / further.\n");
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

fn missing(status: &ServiceStatus, pool: &str, server: &str) -> ApiError {
    let why = find(status, pool, server).err().unwrap_or_else(|| "it is not there any more".to_owned());
    ApiError::new(StatusCode::NOT_FOUND, why)
}

impl From<SupervisorError> for ApiError {
    fn from(fault: SupervisorError) -> Self {
        match fault {
            SupervisorError::Declined(why) => Self::new(StatusCode::CONFLICT, why),
            SupervisorError::Unheard(fault) => Self::for_now(format!("the supervisor does not answer: {fault}")),
            SupervisorError::Socket(fault) => Self::for_now(format!("no socket: {fault}")),
        }
    }
}

/// The segments of a path, decoded.
fn segments(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(decoded).collect()
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// What there is, for programs.
const OPENAPI: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_name_has_slashes_is_one_segment() {
        assert_eq!(
            segments("/v1/pools/farm/servers/https%3A%2F%2Fa:443"),
            ["v1", "pools", "farm", "servers", "https://a:443"]
        );
        assert_eq!(pairs("pool=a%20b&x"), [("pool".to_owned(), "a b".to_owned()), ("x".to_owned(), String::new())]);
    }

    #[test]
    fn that_no_server_is_left_is_said_and_what_takes_none_out_needs_no_note() {
        let server = |name: &str, state: &str| json!({ "name": name, "state": state, "weight": 1 });
        let pools = json!([{ "name": "farm", "servers": [server("a", "up"), server("b", "down")] }]);
        let generations = json!([{ "state": "serving", "worker": { "pools": pools } }]);
        let status: ServiceStatus = serde_json::from_value(json!({ "generations": generations })).expect("a status");
        let note = |server, value, acts| note(&status, "farm", server, &[value], acts);
        assert!(note("a", AdminValue::Drain, true).is_some_and(|note| note.contains("503")));
        assert_eq!(note("b", AdminValue::Maint, true), None);
        assert_eq!(note("a", AdminValue::Ready, true), None);
        assert!(note("b", AdminValue::Ready, false).is_some());
    }
}
