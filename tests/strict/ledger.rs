//! What the clients of one crowd saw.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// So many of the things that went wrong are kept with their time.
const LONGEST_STORY: usize = 40;

/// The sum over all clients.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    /// Answers and echoes that came as they should.
    pub good: u64,
    /// Requests without their whole and right answer: refused, reset, cut short, an error, wrong bytes, too late.
    pub lost: u64,
    /// Connections that the proxy closed without having said so, while no request was out.
    pub closed: u64,
    /// Answers with `Connection: close` to a client that wanted to stay.
    pub told: u64,
    /// Tunnels that were opened.
    pub tunnels: u64,
    /// Tunnels that did not come to the end that their client meant.
    pub tunnels_closed: u64,
    /// Tunnels that are open now, without those that are half closed.
    pub open: u64,
    /// The longest that a few bytes took through a tunnel and back.
    pub longest_pause: Duration,
    /// What went wrong, how often.
    pub why: BTreeMap<String, u64>,
    /// What went wrong first, with its time since the crowd came, and what the fact did meanwhile.
    story: Vec<(Duration, String)>,
    /// Clients that have had their first success.
    pub at_work: u64,
}

/// Both ends of a connection as its client has them: its own address, and that of the proxy.
pub type Ends = (SocketAddr, SocketAddr);

/// A connection on which something went wrong.
#[derive(Clone, Debug)]
pub struct Gone {
    pub ends: Ends,
    pub why: String,
}

/// Where the clients write down what they see.
#[derive(Clone)]
pub struct Ledger {
    tally: Arc<Mutex<Tally>>,
    since: Instant,
    /// What went wrong, connection by connection, since it was last asked for.
    gone: Arc<Mutex<Vec<Gone>>>,
    /// The connection that the client has now.
    ends: Arc<Mutex<Option<Ends>>>,
}

impl Ledger {
    pub fn new() -> Self {
        Self { tally: Arc::default(), since: Instant::now(), gone: Arc::default(), ends: Arc::default() }
    }

    /// The same one, for a client that has its own connection.
    pub fn of_client(&self) -> Self {
        Self { ends: Arc::default(), ..self.clone() }
    }

    /// What goes wrong from now on goes wrong on this connection.
    pub fn is_on(&self, stream: &TcpStream) {
        let ends = stream.local_addr().and_then(|own| Ok((own, stream.peer_addr()?)));
        *self.ends.lock().expect("ends") = ends.ok();
    }

    /// What went wrong since this was last asked for.
    pub fn take_gone(&self) -> Vec<Gone> {
        std::mem::take(&mut *self.gone.lock().expect("what went wrong"))
    }

    pub fn tally(&self) -> Tally {
        self.tally.lock().expect("a tally").clone()
    }

    pub fn note(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().expect("a tally"));
    }

    pub fn lost(&self, kind: &str, reason: impl fmt::Display) {
        self.wrong(format!("{kind}: {reason}"), |tally| tally.lost += 1);
    }

    pub fn closed(&self, kind: &str) {
        self.wrong(format!("{kind}: closed while idle"), |tally| tally.closed += 1);
    }

    pub fn told(&self, kind: &str) {
        self.wrong(format!("{kind}: told to close"), |tally| tally.told += 1);
    }

    pub fn tunnel_closed(&self, kind: &str, reason: impl fmt::Display) {
        self.wrong(format!("{kind}: {reason}"), |tally| tally.tunnels_closed += 1);
    }

    /// Something that the fact itself does; it stands between what the clients saw.
    pub fn mark(&self, what: &str) {
        let now = self.since.elapsed();
        self.note(|tally| tally.story.push((now, format!("--- {what}"))));
    }

    fn wrong(&self, what: String, count: impl FnOnce(&mut Tally)) {
        let now = self.since.elapsed();
        if let Some(ends) = *self.ends.lock().expect("ends") {
            self.gone.lock().expect("what went wrong").push(Gone { ends, why: what.clone() });
        }
        self.note(|tally| {
            count(tally);
            let wrong = tally.why.values().sum::<u64>();
            if wrong < LONGEST_STORY as u64 {
                tally.story.push((now, what.clone()));
            }
            *tally.why.entry(what).or_default() += 1;
        });
    }
}

impl Tally {
    /// No client saw anything.
    #[track_caller]
    pub fn assert_unseen(&self) {
        assert_eq!((self.lost, self.closed, self.told, self.tunnels_closed), (0, 0, 0, 0), "{self}");
        assert!(self.requests > 0, "nobody asked for anything");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, lost, closed, told, tunnels, tunnels_closed, .. } = self;
        write!(out, "{requests} requests: {lost} lost, {closed} closed, {told} told to close; ")?;
        write!(out, "{tunnels} tunnels: {tunnels_closed} closed, longest pause {:?}", self.longest_pause)?;
        for (why, count) in &self.why {
            write!(out, "\n{count:>6} × {why}")?;
        }
        let story = if self.why.is_empty() { &[][..] } else { &self.story };
        for (when, what) in story {
            write!(out, "\n{:>8.3} s  {what}", when.as_secs_f64())?;
        }
        Ok(())
    }
}
