//! Host names of servers: resolved on the worker's main thread, again and again, because addresses change.
//!
//! A name that has no address yet never stops a generation: the server waits, and takes requests once DNS answers.
//! When DNS fails later the last good addresses stay. A name may have several addresses: see `connect` for their use.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::first_round::{FirstRound, Ticket};
use crate::pool::{Pool, Relocation, listed};

/// The running look-ups; they end when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    /// Ended with this: a `JoinSet` aborts its tasks.
    _tasks: JoinSet<()>,
    first: Rc<FirstRound>,
}

/// The change for one server after an answer of DNS, or without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolverChange {
    /// The server has no address yet, and DNS gives none.
    Waiting {
        /// The error of DNS, for people.
        reason: String,
    },
    /// The server has addresses, the first or others.
    Relocated(Relocation),
    /// DNS fails; the server keeps the last good addresses.
    Kept {
        /// Its addresses.
        addresses: Arc<[SocketAddr]>,
        /// The error of DNS, for people.
        reason: String,
    },
    /// DNS answers again, with the addresses that were kept.
    Confirmed {
        /// Its addresses.
        addresses: Arc<[SocketAddr]>,
    },
}

impl fmt::Display for ResolverChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { reason } => write!(out, "waits for DNS: {reason}"),
            Self::Relocated(relocation @ Relocation { to, .. }) => match &relocation.left()[..] {
                [] => write!(out, "is at {}", listed(to)),
                left => write!(out, "is at {}, no longer at {}", listed(to), listed(left)),
            },
            Self::Kept { addresses, reason } => write!(out, "stays at {} while DNS fails: {reason}", listed(addresses)),
            Self::Confirmed { addresses } => write!(out, "is at {}, DNS says again", listed(addresses)),
        }
    }
}

/// From one answer of DNS to the next question.
const AGAIN: Duration = Duration::from_secs(10);
/// The same for a server that waits for its first address.
const AGAIN_WAITING: Duration = Duration::from_secs(2);
/// DNS counts as failing when it has not answered for so long; the question stays open all the same.
const PATIENCE: Duration = Duration::from_secs(5);

impl Resolver {
    /// Starts to follow the names of all servers, on this thread: inside a `LocalRuntime` or `LocalSet`.
    ///
    /// `on_change` gets the pool, the index of the server, and the change.
    pub fn start(pools: &[Arc<Pool>], on_change: impl Fn(&Pool, usize, &ResolverChange) + 'static) -> Self {
        Self::start_with(pools, look_up, on_change)
    }

    fn start_with<L, F>(pools: &[Arc<Pool>], look_up: L, on_change: F) -> Self
    where
        L: AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>> + 'static,
        F: Fn(&Pool, usize, &ResolverChange) + 'static,
    {
        let shared = Rc::new((look_up, on_change));
        let first = Rc::new(FirstRound::default());
        let mut tasks = JoinSet::new();
        for name in names(pools) {
            let ticket = name.is_news().then(|| first.ticket());
            let shared = Rc::clone(&shared);
            tasks.spawn_local(async move { name.follow(&shared.0, &shared.1, ticket).await });
        }
        Self { _tasks: tasks, first }
    }

    /// Waits until DNS has answered for every name, or `within` has passed; returns how many had no answer. Names
    /// whose state the generation before knew are not waited for.
    ///
    /// Call it before the checks start, so that their first round has addresses to check.
    pub async fn first_round(&self, within: Duration) -> usize {
        self.first.wait(within).await
    }
}

/// One name and port, with the servers that have it.
struct Name {
    host: String,
    port: u16,
    servers: Servers,
    /// Whether DNS failed last time: logged once, not with every question.
    failing: bool,
}

/// Servers by their pools and indexes.
type Servers = Vec<(Arc<Pool>, usize)>;

/// A name that several pools use is asked for once.
fn names(pools: &[Arc<Pool>]) -> Vec<Name> {
    let mut found: BTreeMap<(&str, u16), Servers> = BTreeMap::new();
    for pool in pools {
        for (index, server) in pool.configured() {
            if let Some(name) = server.host() {
                found.entry(name).or_default().push((Arc::clone(pool), index));
            }
        }
    }
    let name = |((host, port), servers): ((&str, u16), Servers)| {
        let mut name = Name { host: host.to_owned(), port, servers, failing: false };
        // the generation before has logged the failure
        name.failing =
            !name.is_news() && name.servers.iter().all(|(pool, index)| pool.servers[*index].addresses().is_none());
        name
    };
    found.into_iter().map(name).collect()
}

impl Name {
    /// Whether the generation before did not know a server with this name.
    fn is_news(&self) -> bool {
        !self.servers.iter().all(|(pool, index)| pool.servers[*index].is_remembered())
    }

    async fn follow<L, F>(mut self, look_up: &L, on_change: &F, mut first: Option<Ticket>)
    where
        L: AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>>,
        F: Fn(&Pool, usize, &ResolverChange),
    {
        loop {
            let answer = self.ask(look_up, on_change).await;
            let after = match answer {
                Ok(addresses) => {
                    self.take_in(&addresses, on_change);
                    AGAIN
                }
                Err(reason) => self.fail(&reason, on_change),
            };
            drop(first.take());
            sleep(jittered(after)).await;
        }
    }

    /// Asks once. While the answer is late the name counts as failing, but no other question is asked: a resolver
    /// that hangs must not collect threads that wait for it.
    async fn ask<L, F>(&mut self, look_up: &L, on_change: &F) -> Result<Vec<SocketAddr>, String>
    where
        L: AsyncFn(&str, u16) -> io::Result<Vec<SocketAddr>>,
        F: Fn(&Pool, usize, &ResolverChange),
    {
        let host = self.host.clone();
        let mut asked = pin!(look_up(&host, self.port));
        let answer = match timeout(PATIENCE, &mut asked).await {
            Ok(answer) => answer,
            Err(_) => {
                let late = format!("no answer within {}", humantime::format_duration(PATIENCE));
                self.fail(&late, on_change);
                asked.await
            }
        };
        match answer {
            Ok(addresses) if addresses.is_empty() => Err("the name has no address".to_owned()),
            Ok(addresses) => Ok(addresses),
            Err(fault) => Err(in_words(&fault)),
        }
    }

    fn take_in(&mut self, addresses: &[SocketAddr], on_change: &impl Fn(&Pool, usize, &ResolverChange)) {
        let failed = std::mem::take(&mut self.failing);
        for (pool, index) in &self.servers {
            let server = &pool.servers[*index];
            match (server.relocate(addresses, SystemTime::now()), server.located()) {
                (Some(relocation), _) => on_change(pool, *index, &ResolverChange::Relocated(relocation)),
                (None, Some(addresses)) if failed => on_change(pool, *index, &ResolverChange::Confirmed { addresses }),
                (None, _) => {}
            }
        }
    }

    /// Logs that DNS fails, once; returns the time until the next question.
    fn fail(&mut self, reason: &str, on_change: &impl Fn(&Pool, usize, &ResolverChange)) -> Duration {
        let failed = std::mem::replace(&mut self.failing, true);
        let mut again = AGAIN;
        for (pool, index) in &self.servers {
            let reason = reason.to_owned();
            let change = match pool.servers[*index].located() {
                Some(addresses) => ResolverChange::Kept { addresses, reason },
                None => {
                    again = AGAIN_WAITING;
                    ResolverChange::Waiting { reason }
                }
            };
            if !failed {
                on_change(pool, *index, &change);
            }
        }
        again
    }
}

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

fn in_words(fault: &io::Error) -> String {
    let text = fault.to_string();
    let said = text.strip_prefix("failed to lookup address information: ");
    said.unwrap_or(&text).to_owned()
}

/// A tenth more or less, so that many names and many machines do not ask in step.
fn jittered(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) as u32;
    time.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use tokio::time::Instant;

    use super::*;
    use crate::pool::tests::{server, settings};

    type Log = Rc<RefCell<Vec<String>>>;

    fn pool(servers: &[&str]) -> Arc<Pool> {
        let servers = servers.iter().map(|name| server(name, 1));
        Arc::new(Pool::new(settings(servers.collect()), SystemTime::UNIX_EPOCH))
    }

    /// Follows the names with DNS that gives these answers one after the other, and then hangs. An answer is a list of
    /// addresses, or "!" and a reason, or "hang SECONDS" before the answer that follows.
    fn follow(pools: &[Arc<Pool>], answers: &[&str]) -> (Resolver, Log) {
        let answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let answers = RefCell::new(answers);
        let log = Log::default();
        let written = Rc::clone(&log);
        let look_up = async move |_: &str, _: u16| loop {
            let answer = answers.borrow_mut().pop_front();
            let Some(answer) = answer else {
                std::future::pending::<()>().await;
                continue;
            };
            if let Some(seconds) = answer.strip_prefix("hang ") {
                sleep(Duration::from_secs(seconds.parse().expect("seconds"))).await;
                continue;
            }
            if let Some(reason) = answer.strip_prefix('!') {
                return Err(io::Error::other(reason.to_owned()));
            }
            let addresses = answer.split_whitespace().map(|text| text.parse().expect("an address"));
            return Ok(addresses.collect());
        };
        let resolver = Resolver::start_with(pools, look_up, move |pool, index, change| {
            let line = format!("{} {change}", pool.servers[index].name);
            written.borrow_mut().push(line);
        });
        (resolver, log)
    }

    /// The changes within a minute.
    async fn said(names: &[&str], answers: &[&str]) -> Vec<String> {
        let pools = [pool(names)];
        let (_resolver, log) = follow(&pools, answers);
        sleep(Duration::from_secs(60)).await;
        log.take()
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn every_address_of_a_name_is_known_and_another_order_is_no_news() {
        let answers = ["1.1.1.1:80 [::1]:80", "[::1]:80 1.1.1.1:80", "[::1]:80", "1.1.1.1:80 [::1]:80"];
        assert_eq!(
            said(&["a:80"], &answers).await[..3],
            [
                "a:80 is at 1.1.1.1:80, [::1]:80",
                "a:80 is at [::1]:80, no longer at 1.1.1.1:80",
                "a:80 is at [::1]:80, 1.1.1.1:80",
            ]
        );
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_server_waits_for_its_first_address_and_that_is_said_once() {
        let answers = ["!no such name", "!no such name", "", "1.1.1.1:80", "1.1.1.1:80"];
        assert_eq!(said(&["a:80"], &answers).await[..2], ["a:80 waits for DNS: no such name", "a:80 is at 1.1.1.1:80"]);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn the_last_good_address_stays_when_dns_fails() {
        let answers = ["1.1.1.1:80", "!no server", "!no server", "1.1.1.1:80", "1.1.1.1:80"];
        assert_eq!(
            said(&["a:80"], &answers).await[..3],
            [
                "a:80 is at 1.1.1.1:80",
                "a:80 stays at 1.1.1.1:80 while DNS fails: no server",
                "a:80 is at 1.1.1.1:80, DNS says again"
            ]
        );
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_late_answer_is_said_and_then_taken() {
        assert_eq!(
            said(&["a:80"], &["hang 20", "1.1.1.1:80"]).await[..2],
            ["a:80 waits for DNS: no answer within 5s", "a:80 is at 1.1.1.1:80"]
        );
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn a_name_is_asked_once_for_all_pools() {
        let pools = [pool(&["a:80", "10.0.0.1:80"]), pool(&["a:80"])];
        let (resolver, log) = follow(&pools, &["1.1.1.1:80"]);
        assert_eq!(resolver.first_round(Duration::from_secs(2)).await, 0);
        assert_eq!(log.take(), ["a:80 is at 1.1.1.1:80", "a:80 is at 1.1.1.1:80"]);
        assert_eq!(pools[0].servers_up(), 2);
        assert_eq!(pools[1].servers_up(), 1);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn the_first_round_ends_at_its_deadline_when_dns_hangs() {
        let pools = [pool(&["a:80"])];
        let (resolver, _) = follow(&pools, &[]);
        let started = Instant::now();
        assert_eq!(resolver.first_round(Duration::from_secs(2)).await, 1);
        assert_eq!(started.elapsed().as_secs(), 2);
        assert_eq!(pools[0].servers_up(), 0);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn what_the_generation_before_knew_is_neither_waited_for_nor_said_again() {
        let before = pool(&["a:80", "b:80"]);
        before.servers[0].relocate(&["1.1.1.1:80".parse().expect("an address")], SystemTime::now());
        let after = pool(&["a:80", "b:80"]);
        after.restore(&before.save(&[]), SystemTime::now());
        let (resolver, log) = follow(&[after], &["1.1.1.1:80", "!no such name", "!no such name"]);
        assert_eq!(resolver.first_round(Duration::from_secs(2)).await, 0);
        sleep(Duration::from_secs(8)).await;
        assert_eq!(log.take(), [""; 0]);
    }

    #[tokio::test(flavor = "local")]
    async fn the_system_resolver_is_asked() {
        let pools = [pool(&["localhost:80"])];
        let resolver = Resolver::start(&pools, |_, _, _| {});
        resolver.first_round(Duration::from_secs(10)).await;
        let addresses = pools[0].servers[0].located().expect("an address");
        assert!(addresses.iter().all(|address| address.ip().is_loopback()), "{addresses:?}");
    }

    #[test]
    fn questions_are_a_tenth_apart_at_most() {
        for _ in 0..1000 {
            let time = jittered(AGAIN);
            assert!(time >= AGAIN.mul_f64(0.9) && time <= AGAIN.mul_f64(1.1), "{time:?}");
        }
    }
}
