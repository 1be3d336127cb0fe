//! The clients of one crowd: how many there are of each kind, and their life from the first to the last.

use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::content::Chance;
use super::exchanges::{Exchange, at_work};
use super::ledger::{Gone, Ledger};
use super::streams::streams;
use super::tls::{HTTP_1, TlsDoor};
use super::tunnels::{Temper, tunnels};
use super::wire::Wire;
use super::{Lost, PATIENCE, Place, Tally};

/// No crowd stays longer than this, whatever becomes of the fact that sent it.
const LONGEST_STAY: Duration = Duration::from_secs(3600);
/// A proxy that refuses everything must not turn the clients into a busy loop.
const AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Where the clients come in.
#[derive(Clone, Debug)]
pub struct Door {
    pub http: SocketAddr,
    /// The site that they ask for.
    pub host: String,
    /// Where bytes are relayed.
    pub tcp: SocketAddr,
    /// Where they come in by TLS, two of three of HTTP/1 and all of HTTP/2.
    pub tls: Option<TlsDoor>,
}

impl Door {
    /// The same one, for clients that all speak TLS.
    pub fn by_tls(mut self) -> Self {
        self.tls.iter_mut().for_each(|tls| tls.is_only = true);
        self
    }
}

/// How many clients there are of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// A connection for each request.
    pub fresh: usize,
    /// One request after the other on a connection that is kept.
    pub busy: usize,
    /// The same with 0.05 to 2 s between them.
    pub idle: usize,
    /// Request bodies that take their time, with length and chunked.
    pub uploads: usize,
    /// Answers that take their time, with length and chunked.
    pub downloads: usize,
    /// Several requests before the first answer.
    pub pipelines: usize,
    /// Half of a head, a pause, the other half.
    pub slow_heads: usize,
    /// WebSockets, with a few bytes now and then, or with many at once.
    pub websockets: usize,
    /// The same through a TCP listener.
    pub sessions: usize,
    /// TCP sessions that are half closed by the client before the answer comes.
    pub half_closed: usize,
    /// Connections of HTTP/2 with one stream at a time, and with 32.
    pub http2: [usize; 2],
    /// The same with 0.05 to 2 s before each request.
    pub calm_http2: [usize; 2],
}

impl Habits {
    /// Some of each.
    pub const EVERYBODY: Self = Self {
        fresh: 2,
        busy: 4,
        idle: 24,
        uploads: 4,
        downloads: 4,
        pipelines: 2,
        slow_heads: 3,
        websockets: 10,
        sessions: 10,
        half_closed: 3,
        http2: [0, 0],
        calm_http2: [0, 0],
    };

    /// As few as there can be of each.
    pub const ONE_OF_EACH: Self = Self {
        fresh: 1,
        busy: 1,
        idle: 2,
        uploads: 2,
        downloads: 2,
        pipelines: 1,
        slow_heads: 1,
        websockets: 2,
        sessions: 2,
        half_closed: 1,
        http2: [0, 0],
        calm_http2: [0, 0],
    };

    /// Clients that wait for most of their time.
    pub const fn waiting(idle: usize, websockets: usize, sessions: usize) -> Self {
        let nobody = Self { fresh: 0, busy: 0, uploads: 0, downloads: 0, pipelines: 0, ..Self::ONE_OF_EACH };
        Self { idle, slow_heads: 0, websockets, sessions, half_closed: 0, ..nobody }
    }

    fn tunnels(&self) -> usize {
        self.websockets + self.sessions
    }

    fn clients(&self) -> usize {
        let Self { fresh, busy, idle, uploads, downloads, pipelines, slow_heads, half_closed, .. } = self;
        let http1 = fresh + busy + idle + uploads + downloads + pipelines + slow_heads;
        http1 + half_closed + self.tunnels() + self.http2.iter().chain(&self.calm_http2).sum::<usize>()
    }
}

/// Clients at work. Dropping it sends them home.
pub struct Crowd {
    ledger: Ledger,
    habits: Habits,
    over: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// What one client has.
pub struct Client {
    pub door: Rc<Door>,
    pub ledger: Ledger,
    pub kind: &'static str,
    pub chance: Chance,
    /// Of all clients.
    pub number: u64,
    over: watch::Receiver<bool>,
    works: bool,
}

impl Crowd {
    /// Sends the clients in; returns when each of them has had its first success.
    #[track_caller]
    pub fn start(place: Place, door: Door, habits: Habits) -> Self {
        let (over, is_over) = watch::channel(false);
        let ledger = Ledger::new();
        let written = ledger.clone();
        let thread = place.run("crowd", move || live(door, habits, written, is_over));
        let crowd = Self { ledger, habits, over, thread: Some(thread) };
        crowd.wait("every client at work", |tally| tally.at_work == habits.clients() as u64);
        crowd
    }

    /// Something that the fact does now; it stands in the story of what went wrong.
    pub fn mark(&self, what: &str) {
        self.ledger.mark(what);
    }

    /// What they saw so far.
    pub fn tally(&self) -> Tally {
        self.ledger.tally()
    }

    /// On which connections something went wrong since this was last asked for.
    pub fn take_gone(&self) -> Vec<Gone> {
        self.ledger.take_gone()
    }

    /// Waits until they had this number of requests more than now.
    #[track_caller]
    pub fn wait_requests(&self, more: u64) {
        let until = self.tally().requests + more;
        self.wait("more requests", |tally| tally.requests >= until);
    }

    /// Waits until this number of answers and echoes more than now came as they should.
    #[track_caller]
    pub fn wait_good(&self, more: u64) {
        let until = self.tally().good + more;
        self.wait("more that is as it should be", |tally| tally.good >= until);
    }

    /// All tunnels that stay are open.
    #[track_caller]
    pub fn assert_tunnels_run(&self) {
        let tally = self.tally();
        assert!(tally.open >= self.habits.tunnels() as u64, "{} tunnels are open: {tally}", tally.open);
    }

    /// Lets each client finish what it is at, and sends it home.
    #[track_caller]
    pub fn end(mut self) -> Tally {
        self.go_home();
        self.tally()
    }

    /// The same; what they saw can be asked for after it.
    #[track_caller]
    pub fn go_home(&mut self) {
        self.over.send_replace(true);
        let ended = self.thread.take().expect("ended once").join();
        assert!(ended.is_ok(), "a client failed");
    }

    #[track_caller]
    fn wait(&self, what: &str, mut condition: impl FnMut(&Tally) -> bool) {
        let until = Instant::now() + 2 * PATIENCE;
        loop {
            let tally = self.tally();
            if condition(&tally) {
                return;
            }
            let at_work = tally.at_work;
            assert!(Instant::now() < until, "waited in vain for {what}, {at_work} of {:?}: {tally}", self.habits);
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.send_replace(true);
    }
}

async fn live(door: Door, habits: Habits, ledger: Ledger, over: watch::Receiver<bool>) {
    let door = Rc::new(door);
    let mut all = JoinSet::new();
    let mut seed = 0;
    let mut client = |kind| {
        seed += 1;
        let (door, ledger, over) = (door.clone(), ledger.of_client(), over.clone());
        Client { door, ledger, kind, chance: Chance::new(seed), number: seed, over, works: false }
    };
    for (kind, count, exchange) in [
        ("fresh", habits.fresh, Exchange::Fresh),
        ("busy", habits.busy, Exchange::Busy),
        ("idle", habits.idle, Exchange::Idle),
        ("upload", habits.uploads, Exchange::Upload),
        ("download", habits.downloads, Exchange::Download),
        ("pipeline", habits.pipelines, Exchange::Pipeline),
        ("slow head", habits.slow_heads, Exchange::SlowHead),
    ] {
        (0..count).for_each(|_| drop(all.spawn_local(at_work(client(kind), exchange))));
    }
    for number in 0..habits.websockets {
        all.spawn_local(tunnels(client("websocket"), Temper::of(number), true));
    }
    for number in 0..habits.sessions {
        all.spawn_local(tunnels(client("session"), Temper::of(number), false));
    }
    for _ in 0..habits.half_closed {
        all.spawn_local(tunnels(client("half-closed"), Temper::Late, false));
    }
    for (count, at_once) in habits.http2.into_iter().zip([1, 32]) {
        (0..count).for_each(|_| drop(all.spawn_local(streams(client("stream"), at_once, 1..60))));
    }
    for (count, at_once) in habits.calm_http2.into_iter().zip([1, 32]) {
        (0..count).for_each(|_| drop(all.spawn_local(streams(client("calm stream"), at_once, 50..2000))));
    }
    let mut over = over;
    let _ = tokio::time::timeout(LONGEST_STAY, over.wait_for(|over| *over)).await;
    go_home(all, &ledger).await;
}

/// The longest that a client does is one exchange; then each looks whether it is over.
async fn go_home(mut all: JoinSet<()>, ledger: &Ledger) {
    let until = tokio::time::Instant::now() + 2 * PATIENCE;
    loop {
        match tokio::time::timeout_at(until, all.join_next()).await {
            Ok(None) => return,
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(fault))) => std::panic::resume_unwind(fault.into_panic()),
            Err(_late) => {
                (0..all.len()).for_each(|_| ledger.lost("a client", "came to no end"));
                return;
            }
        }
    }
}

impl Client {
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until the crowd goes home.
    pub fn over(&self) -> impl Future<Output = ()> + 'static {
        let mut over = self.over.clone();
        // an error means that nobody holds the other end any more
        async move { drop(over.wait_for(|over| *over).await) }
    }

    pub async fn pause(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.over()).await;
    }

    /// A number of milliseconds.
    pub fn think(&mut self, milliseconds: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.chance.within(milliseconds))
    }

    /// A connection that speaks HTTP/1, or a loss.
    pub async fn connect(&self) -> Option<Wire> {
        let connected = match &self.door.tls {
            Some(tls) if tls.takes(self.number) => {
                let (version, is_on) = (TlsDoor::version(self.number), |socket: &_| self.ledger.is_on(socket));
                tls.connect(&self.door.host, version, HTTP_1, is_on).await.map(Wire::over)
            }
            _ => Wire::connect(self.door.http, |socket| self.ledger.is_on(socket)).await,
        };
        self.connected(connected).await
    }

    /// A connection for bytes, or a loss.
    pub async fn connect_tcp(&self) -> Option<Wire> {
        self.connected(Wire::connect(self.door.tcp, |socket| self.ledger.is_on(socket)).await).await
    }

    pub async fn connected<T>(&self, connected: Result<T, Lost>) -> Option<T> {
        match connected {
            Ok(connection) => Some(connection),
            Err(lost) => {
                self.ledger.note(|tally| tally.requests += 1);
                self.ledger.lost(self.kind, lost);
                self.after_failure().await;
                None
            }
        }
    }

    pub async fn after_failure(&self) {
        self.pause(AFTER_FAILURE).await;
    }

    /// Something went as it should.
    pub fn succeeded(&mut self) {
        let is_first = !std::mem::replace(&mut self.works, true);
        self.ledger.note(|tally| (tally.good, tally.at_work) = (tally.good + 1, tally.at_work + u64::from(is_first)));
    }
}
