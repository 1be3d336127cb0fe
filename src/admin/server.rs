//! A small HTTP server beside the proxy, for `[metrics]` and the admin API.
//!
//! The supervisor holds its listening sockets, as all others, and one worker accepts on them: the one that serves. A client
//! that comes while one worker takes over from another waits in the backlog of the kernel.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockRef};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, spawn_local};

use super::api::{Api, OpenHere};
use super::asker::Asker;
use super::dashboard::Dashboard;
use super::head::{HEAD_DEADLINE, LONGEST_HEAD, path_for_get, read_head};
use super::live::LiveStreams;
use super::login::Login;
use super::peer::{AccessLevel, AdminPeer};
use super::response::ApiBody;
use crate::config::{DashboardSettings, SecretFile};
use crate::control::message::LivePosition;
use crate::net::Stream;
use crate::observe::journal::Journal;

/// Connections for monitoring that are open at once: more of them wait in the backlog.
const MOST_SCRAPES: usize = 16;
/// The same of what may change something,
const MOST_CHANGES: usize = 16;
/// of what may look; one more is closed,
const MOST_LOOKS: usize = 64;
/// and of what may do nothing.
const MOST_REFUSED: usize = 4;
/// Requests for the page of a site that are open at once: more of them wait.
const MOST_OF_PAGE: usize = 64;
/// The time for a connection, from accept to its end.
const DEADLINE: Duration = Duration::from_secs(10);
/// The time for what is open when the worker ends.
const PATIENCE: Duration = Duration::from_millis(250);
/// No descriptor is free: the time until the next try.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The sockets, and what accepts on them.
#[derive(Debug)]
pub struct AdminServer {
    monitoring: Vec<Rc<OwnedFd>>,
    admin: Option<Rc<OwnedFd>>,
    /// The socket to which the proxy sends requests for the page, and what is there.
    page: Option<(Rc<OwnedFd>, Dashboard)>,
    open: ConnectionSlots,
    api: Api,
    live: LiveStreams,
    /// The revision of what operators have set by which this process acts.
    acts_by: watch::Sender<u64>,
    accepting: Vec<JoinHandle<()>>,
}

/// The room for connections. None of a kind can keep out those of another.
#[derive(Clone, Debug)]
struct ConnectionSlots {
    scrapes: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    /// Of processes that may do nothing, and hear so.
    refused: Arc<Semaphore>,
    /// Of the proxy itself.
    page: Arc<Semaphore>,
}

/// The path of the stream of events.
const LIVE: &str = "/v1/live";

/// What is behind a listening socket.
#[derive(Clone, Debug)]
enum Door {
    /// Metrics. A unix socket for them is no socket of the admin API: its file says which users connect to it.
    Monitoring,
    /// The admin API.
    Admin,
    /// The status page of a site.
    Page(Dashboard),
}

/// A listening socket that the runtime watches.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AdminServer {
    /// On the sockets for monitoring and that of the admin API, for the service with this run directory. Nothing is accepted
    /// before [`AdminServer::set_serves`].
    #[must_use]
    pub fn new(
        monitoring: Vec<OwnedFd>,
        admin: Option<OwnedFd>,
        run_dir: &Path,
        journal: Journal,
        open_here: OpenHere,
        page_token: &str,
    ) -> Self {
        let (acts_by, seen) = watch::channel(0);
        let asker = Asker::new(run_dir);
        Self {
            monitoring: monitoring.into_iter().map(Rc::new).collect(),
            admin: admin.map(Rc::new),
            page: None,
            open: ConnectionSlots::new(),
            live: LiveStreams::new(asker.clone()),
            api: Api::new(asker, journal, seen, open_here, page_token.into()),
            acts_by,
            accepting: Vec::new(),
        }
    }

    /// Also serves the status page of a site, on this socket. Returns what is wrong with the file of its users.
    pub fn serve_page(
        &mut self,
        socket: OwnedFd,
        settings: &DashboardSettings,
        place: impl Fn(&SecretFile) -> PathBuf,
    ) -> Vec<String> {
        let Some((dashboard, problems)) = Dashboard::new(settings, place) else { return Vec::new() };
        self.page = Some((Rc::new(socket), dashboard));
        problems
    }

    /// This process acts by what operators have set up to `revision`.
    pub fn acts_by(&self, revision: u64) {
        self.acts_by.send_replace(revision);
    }

    /// Goes on with event streams of another worker.
    pub fn take_streams(&self, sockets: Vec<OwnedFd>, positions: Vec<LivePosition>) {
        let dashboard = self.page.as_ref().map(|(_, dashboard)| dashboard);
        self.live.take(sockets, positions, |user, mark| dashboard.is_some_and(|page| page.knows(user, mark)));
    }

    /// Gives the open event streams away, each between two events. Takes a second at most.
    pub async fn give_streams(&self) -> Vec<(OwnedFd, LivePosition)> {
        self.live.give().await
    }

    /// Ends the open event streams: the service ends.
    pub async fn end_streams(&self) {
        self.live.end().await;
    }

    /// Accepts from now on, or leaves that to another worker. What is open is answered.
    pub fn set_serves(&mut self, serves: bool) {
        self.accepting.drain(..).for_each(|task| task.abort());
        if serves {
            self.live.go_on();
            let monitoring = self.monitoring.iter().map(|one| (one, Door::Monitoring));
            let admin = self.admin.iter().map(|one| (one, Door::Admin));
            let page = self.page.iter().map(|(one, dashboard)| (one, Door::Page(dashboard.clone())));
            let all = monitoring.chain(admin).chain(page).map(|(socket, door)| {
                spawn_local(accept(socket.clone(), door, self.open.clone(), self.api.clone(), self.live.clone()))
            });
            self.accepting = all.collect();
        }
    }

    /// Closes the sockets: this process accepts no more, and the address may be needed otherwise.
    pub fn close(&mut self) {
        self.set_serves(false);
        self.monitoring.clear();
        self.admin = None;
        self.page = None;
    }

    /// Waits until nothing is open, but not for long: a client that reads slowly keeps no process.
    pub async fn finished(&self) {
        let ConnectionSlots { scrapes, changes, looks, refused: _, page } = &self.open;
        let finished = async {
            for (room, size) in
                [(scrapes, MOST_SCRAPES), (changes, MOST_CHANGES), (looks, MOST_LOOKS), (page, MOST_OF_PAGE)]
            {
                let _ = room.acquire_many(size as u32).await; // it is never closed
            }
        };
        let _ = tokio::time::timeout(PATIENCE, finished).await;
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.set_serves(false);
    }
}

impl Listening {
    fn watch(socket: &OwnedFd) -> io::Result<Self> {
        let own = socket.try_clone()?;
        match SockRef::from(&own).domain()? {
            Domain::UNIX => UnixListener::from_std(own.into()).map(Self::Unix),
            _ => TcpListener::from_std(own.into()).map(Self::Tcp),
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

impl ConnectionSlots {
    fn new() -> Self {
        let room = |size| Arc::new(Semaphore::new(size));
        let all = [MOST_SCRAPES, MOST_CHANGES, MOST_LOOKS, MOST_REFUSED, MOST_OF_PAGE];
        let [scrapes, changes, looks, refused, page] = all.map(room);
        Self { scrapes, changes, looks, refused, page }
    }
}

/// Accepts for ever.
async fn accept(socket: Rc<OwnedFd>, door: Door, open: ConnectionSlots, api: Api, live: LiveStreams) {
    let listening = loop {
        match Listening::watch(&socket) {
            Ok(listening) => break listening,
            Err(_) => tokio::time::sleep(BACK_OFF).await, // no descriptor is free
        }
    };
    loop {
        let stream = match listening.accept().await {
            Ok(stream) => stream,
            Err(_) => {
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        match (stream, &door) {
            (Stream::Unix(stream), Door::Admin) => {
                // of a process that is not known nothing is answered
                let Ok(peer) = AdminPeer::of(&stream) else { continue };
                let slot = match peer.access {
                    // what may change something waits for its slot, and keeps no other process from being accepted
                    Some(AccessLevel::Change) => None,
                    Some(AccessLevel::Look) => open.looks.clone().try_acquire_owned().ok(),
                    None => open.refused.clone().try_acquire_owned().ok(),
                };
                if slot.is_some() || peer.access == Some(AccessLevel::Change) {
                    spawn_local(serve_peer(stream, peer, api.clone(), live.clone(), (slot, open.changes.clone())));
                }
            }
            (Stream::Unix(stream), Door::Page(dashboard)) => {
                let is_own = AdminPeer::of(&stream).is_ok_and(|peer| peer.is_own());
                // more of them wait until one is answered; what is not logged in is answered soon
                let slot = open.page.clone().acquire_owned().await.ok().filter(|_| is_own);
                if let Some(slot) = slot {
                    spawn_local(serve_page(stream, dashboard.clone(), api.clone(), live.clone(), slot));
                }
            }
            (stream, _) => {
                if let Ok(slot) = open.scrapes.clone().acquire_owned().await {
                    spawn_local(serve_monitoring(stream, api.clone(), slot));
                }
            }
        }
    }
}

/// Answers one request for monitoring.
async fn serve_monitoring(stream: Stream, api: Api, place: OwnedSemaphorePermit) {
    let answer = async |request: Request<Incoming>| api.answer_to_monitoring(&request).await;
    serve(TokioIo::new(stream), answer).await;
    drop(place);
}

/// Answers one request to the admin API.
async fn serve_peer(
    mut stream: UnixStream,
    peer: AdminPeer,
    api: Api,
    live: LiveStreams,
    (slot, changes): (Option<OwnedSemaphorePermit>, Arc<Semaphore>),
) {
    let place = match slot {
        Some(slot) => Ok(slot),
        None => changes.acquire_owned().await,
    };
    let (Some(head), Ok(place)) = (read_head(&mut stream).await, place) else { return };
    let peer = peer.named(&head);
    if path_for_get(&head) == Some(LIVE) && peer.may(AccessLevel::Look) {
        drop(place); // streams have a bound of their own
        return live.open(stream, None).await;
    }
    let answer = async |request: Request<Incoming>| api.answer(request, &peer).await;
    serve(again(head, stream), answer).await;
    drop(place);
}

/// Answers one request for the status page of a site.
async fn serve_page(
    mut stream: UnixStream,
    dashboard: Dashboard,
    api: Api,
    live: LiveStreams,
    place: OwnedSemaphorePermit,
) {
    let Some(head) = read_head(&mut stream).await else { return };
    let request = dashboard.look_at(&head).await;
    let path = path_for_get(&head).and_then(|path| dashboard.below(path));
    if path == Some(LIVE)
        && let Login::User(user) = &request.login
    {
        drop(place);
        let mark = dashboard.mark(user);
        return live.open(stream, mark.map(|mark| (user.clone(), mark))).await;
    }
    let answer = async |asked: Request<Incoming>| api.answer_page(asked, &dashboard, &request).await;
    serve(again(head, stream), answer).await;
    drop(place);
}

/// Both ways of a connection, where what was read already comes once more.
fn again(head: Vec<u8>, stream: UnixStream) -> TokioIo<impl AsyncRead + AsyncWrite + Unpin> {
    let (rest, write) = stream.into_split();
    TokioIo::new(tokio::io::join(std::io::Cursor::new(head).chain(rest), write))
}

/// Serves one request. No connection is kept: it would end with its worker, in the middle of a request by chance.
async fn serve<I: Read + Write + Unpin>(io: I, answer: impl AsyncFn(Request<Incoming>) -> Response<ApiBody>) {
    let answer = &answer;
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(request).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .keep_alive(false)
        .half_close(true)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(io, service);
    let _ = tokio::time::timeout(DEADLINE, connection).await; // a client may break off
}
