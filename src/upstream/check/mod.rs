//! The active checks of all pools: they run on the worker's main thread and report their results to the servers'
//! health.
//!
//! A generation still checks while it drains: its open connections need live servers too.

mod fault;
mod http2;
mod probe;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::probe::Probe;
use super::first_round::{FirstRound, Ticket};
use crate::pool::health::{CheckVerdict, Finding, HealthState, Transition};
use crate::pool::{Pool, Server};

/// The running checks; they end when this is dropped.
#[derive(Debug)]
pub struct Checks {
    /// Ended with this: a `JoinSet` aborts its tasks.
    _tasks: JoinSet<()>,
    first: Rc<FirstRound>,
}

impl Checks {
    /// Starts the checks of every server whose pool has one, on this thread: inside a `LocalRuntime` or `LocalSet`.
    ///
    /// `on_transition` gets the pool, the index of the server, and the change. Each server is checked at once and
    /// then every interval, start to start, at moments spread over it; also as soon as DNS has another address for
    /// it. A server that continues from the generation before is checked when that one would have checked it next.
    pub fn start(pools: &[Arc<Pool>], on_transition: impl Fn(&Pool, usize, &Transition) + 'static) -> Self {
        let checked = pools.iter().filter(|pool| pool.settings.check.is_some());
        let watched = checked.flat_map(|pool| pool.configured().map(move |(index, _)| (pool, index)));
        let watched: Vec<_> = watched.collect();
        let on_transition = Rc::new(on_transition);
        let first = Rc::new(FirstRound::default());
        let mut tasks = JoinSet::new();
        for (place, (pool, index)) in watched.iter().enumerate() {
            let server = &pool.servers[*index];
            let first_checks = Schedule::new(pool.settings.check_interval, place, watched.len());
            let watch = ServerCheck {
                probe: Probe::new(&pool.settings, &server.name),
                schedule: if server.is_remembered() { first_checks.going_on(server) } else { first_checks },
                pool: Arc::clone(pool),
                index: *index,
                on_transition: Rc::clone(&on_transition),
            };
            tasks.spawn_local(watch.run((!server.is_remembered()).then(|| first.ticket())));
        }
        Self { _tasks: tasks, first }
    }

    /// Waits until every server had its first result, or `within` has passed; returns how many had none.
    ///
    /// A server that waits for DNS counts as having one, and so does one that the generation before knew.
    pub async fn first_round(&self, within: Duration) -> usize {
        self.first.wait(within).await
    }
}

/// The check of one server.
struct ServerCheck<F> {
    pool: Arc<Pool>,
    index: usize,
    probe: Probe,
    schedule: Schedule,
    on_transition: Rc<F>,
}

impl<F: Fn(&Pool, usize, &Transition)> ServerCheck<F> {
    async fn run(mut self, first: Option<Ticket>) {
        let mut first = first;
        // an address that is known from the start can change before the first check, too
        let mut version = self.server().address_version();
        loop {
            wait(self.server(), self.schedule.next, version).await;
            if self.server().admin.is_in_maint() {
                drop(first.take()); // the start waits for no server in maintenance
                self.maintenance().await;
            }
            version = self.check().await;
            drop(first.take());
            self.schedule.advance(Instant::now());
        }
    }

    /// Waits until the maintenance of the server is over. What was known of it is too old then: the first check decides.
    async fn maintenance(&self) {
        let server = self.server();
        while server.admin.is_in_maint() {
            server.admin.maint_changed().await;
        }
        if let Some(transition) = server.back_from_maintenance(SystemTime::now()) {
            (self.on_transition)(&self.pool, self.index, &transition);
        }
    }

    /// Makes one check; returns the version of the address that it used.
    async fn check(&self) -> u64 {
        let server = self.server();
        let version = server.address_version();
        let finding = match server.addresses() {
            Some(addresses) => self.probe.run(server, &addresses).await,
            None => {
                Finding { verdict: CheckVerdict::Nothing, detail: "address waits for DNS".into(), took: Duration::ZERO }
            }
        };
        // a finding about a previous address says nothing about the present one
        if server.address_version() == version
            && let Some(transition) = server.health.observe(finding, SystemTime::now())
        {
            if matches!(transition.to, HealthState::Up | HealthState::Down) {
                server.passive.clear(); // from here on only its checks decide, and the transition says so
            }
            (self.on_transition)(&self.pool, self.index, &transition);
        }
        version
    }

    fn server(&self) -> &Server {
        &self.pool.servers[self.index]
    }
}

/// Waits until `next`, until the address is not that of `version` any more, or until maintenance begins or ends.
async fn wait(server: &Server, next: Instant, version: u64) {
    let moved = async {
        while server.address_version() == version {
            server.moved().await;
        }
    };
    tokio::select! {
        () = sleep_until(next) => {}
        () = moved => {}
        () = server.admin.maint_changed() => {}
    }
}

/// When the checks of one server start.
#[derive(Debug)]
struct Schedule {
    next: Instant,
    interval: Duration,
    /// From the first check to the second.
    offset: Option<Duration>,
}

impl Schedule {
    /// The first checks start nearly at once, because the start waits for them; the second half an interval to one
    /// and a half later, so that from then on the `of` servers are spread over the interval.
    fn new(interval: Duration, place: usize, of: usize) -> Self {
        let share = place as f64 / of as f64;
        Self {
            next: Instant::now() + FIRST_WITHIN.min(FIRST_STEP * of as u32).mul_f64(share),
            interval,
            offset: Some(interval / 2 + interval.mul_f64(share)),
        }
    }

    /// The first check of a known server comes an interval after the last one of the generation before, so that
    /// reloads in a row do not delay a check. When that time has passed, it is due as one of the first.
    fn going_on(self, server: &Server) -> Self {
        let since = |last: SystemTime| SystemTime::now().duration_since(last).unwrap_or_default();
        let left = server.health.last_checked().map(|last| self.interval.saturating_sub(since(last)));
        let next = self.next.max(Instant::now() + left.unwrap_or_default());
        Self { next, offset: None, ..self }
    }

    /// Moves to the next start in the future: a check that took longer than the interval skips some.
    fn advance(&mut self, now: Instant) {
        if self.next > now {
            return; // this check was made out of turn, for a new address
        }
        self.next += self.offset.take().unwrap_or(self.interval);
        while self.next <= now {
            self.next += self.interval;
        }
    }
}

/// First checks start this far apart,
const FIRST_STEP: Duration = Duration::from_millis(2);
/// but all of them within this time.
const FIRST_WITHIN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{CheckKind, PoolSettings, ServerSettings};
    use crate::pool::tests::{checked, server};

    type Log = Rc<RefCell<Vec<(usize, HealthState, HealthState, String)>>>;

    fn every(check_interval: Duration) -> PoolSettings {
        let kind = CheckKind::Http { method: "HEAD".to_owned(), path: "/".to_owned() };
        PoolSettings { check_interval, fall: 2, ..checked(kind) }
    }

    fn pool(servers: Vec<ServerSettings>, settings: PoolSettings) -> Arc<Pool> {
        Arc::new(Pool::new(PoolSettings { servers, ..settings }, SystemTime::now()))
    }

    fn start(pool: &Arc<Pool>) -> (Checks, Log) {
        let log = Log::default();
        let written = log.clone();
        let checks = Checks::start(std::slice::from_ref(pool), move |_, index, transition| {
            let Transition { from, to, reason, .. } = transition;
            written.borrow_mut().push((index, *from, *to, reason.clone()));
        });
        (checks, log)
    }

    /// A server on loopback; answers with the status in `status`, and nothing while that is 0.
    async fn farm(status: Rc<std::cell::Cell<u16>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        tokio::task::spawn_local(async move {
            let mut silent = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.expect("accept");
                if status.get() == 0 {
                    silent.push(stream);
                    continue;
                }
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    assert_ne!(stream.read_buf(&mut head).await.expect("read"), 0, "a whole request");
                }
                let answer = format!("HTTP/1.1 {} X\r\n\r\n", status.get());
                stream.write_all(answer.as_bytes()).await.expect("write");
            }
        });
        address
    }

    async fn closed_port() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        listener.local_addr().expect("address").to_string()
    }

    async fn until(condition: impl Fn() -> bool) {
        let reached = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached).await.expect("the condition, in time");
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "local")]
    async fn the_first_round_decides_about_every_server_at_once() {
        let good = farm(Rc::new(200.into())).await;
        let bad = farm(Rc::new(503.into())).await;
        let servers = vec![server(&good, 1), server(&bad, 1), server(&closed_port().await, 1), server("app.test:1", 1)];
        let pool = pool(servers, every(LONG));
        let (checks, log) = start(&pool);
        assert_eq!(checks.first_round(Duration::from_secs(10)).await, 0);
        let states: Vec<_> = pool.servers.iter().map(|server| server.health.state()).collect();
        assert_eq!(states, [HealthState::Up, HealthState::Down, HealthState::Down, HealthState::WaitingForDns]);
        let mut log = log.take();
        log.sort_by_key(|(index, ..)| *index);
        let from = HealthState::Unknown;
        assert_eq!(
            log,
            [
                (0, from, HealthState::Up, "first check passed: status 200".to_owned()),
                (1, from, HealthState::Down, "first check failed: status 503".to_owned()),
                (2, from, HealthState::Down, "first check failed: connection refused".to_owned()),
            ]
        );
        assert_eq!(
            pool.servers[3].health.status().check.map(|check| check.result).as_deref(),
            Some("address waits for DNS")
        );
    }

    #[tokio::test(flavor = "local")]
    async fn the_first_round_ends_at_its_deadline() {
        let servers = vec![server(&farm(Rc::new(0.into())).await, 1)];
        let (checks, _) = start(&pool(servers, every(LONG)));
        assert_eq!(checks.first_round(Duration::from_millis(30)).await, 1);
    }

    #[tokio::test(flavor = "local")]
    async fn a_server_that_the_generation_before_knew_is_not_waited_for() {
        let silent = farm(Rc::new(0.into())).await;
        let before = pool(vec![server(&silent, 1)], every(LONG));
        let finding = Finding { verdict: CheckVerdict::Bad, detail: "said".into(), took: Duration::ZERO };
        before.servers[0].health.observe(finding, SystemTime::now());
        let after = pool(vec![server(&silent, 1)], every(LONG));
        after.restore(&before.save(&[]), SystemTime::now());
        let (checks, log) = start(&after);
        assert_eq!(checks.first_round(LONG).await, 0);
        assert_eq!(after.servers[0].health.state(), HealthState::Down);
        assert_eq!(log.take(), [], "what is known is no news");
    }

    #[tokio::test(flavor = "local")]
    async fn the_checks_of_a_known_server_go_on_in_their_rhythm() {
        let check = every(Duration::from_secs(60));
        let known = pool(vec![server("10.0.0.1:80", 1)], check.clone());
        let now = SystemTime::now();
        let finding = Finding { verdict: CheckVerdict::Good, detail: "said".into(), took: Duration::ZERO };
        for (ago, least, most) in [(20, 35, 41), (0, 55, 61), (90, 0, 1)] {
            known.servers[0].health.observe(finding.clone(), now - Duration::from_secs(ago));
            let next = Schedule::new(check.check_interval, 0, 1).going_on(&known.servers[0]).next;
            let wait = next.saturating_duration_since(Instant::now()).as_secs();
            assert!((least..most).contains(&wait), "{ago} s ago: in {wait} s");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn a_server_goes_down_and_comes_back() {
        let status = Rc::new(std::cell::Cell::new(200));
        let pool = pool(vec![server(&farm(status.clone()).await, 1)], every(Duration::from_millis(10)));
        let (_checks, log) = start(&pool);
        until(|| pool.servers[0].health.is_up()).await;
        status.set(500);
        until(|| pool.servers[0].health.state() == HealthState::Down).await;
        status.set(200);
        until(|| pool.servers[0].health.is_up()).await;
        let reasons: Vec<_> = log.take().into_iter().map(|(.., reason)| reason).collect();
        assert_eq!(
            reasons,
            ["first check passed: status 200", "2 checks failed: status 500", "check passed: status 200"]
        );
    }

    #[tokio::test(flavor = "local")]
    async fn what_checks_decide_ends_an_ejection() {
        for (status, state) in [(200, HealthState::Up), (503, HealthState::Down)] {
            let servers = vec![server(&farm(Rc::new(status.into())).await, 1), server("10.0.0.1:80", 1)];
            let pool = pool(servers, every(LONG));
            let ejection = (0..3).find_map(|_| pool.connection_failed(0, "refused", SystemTime::now()));
            assert!(ejection.is_some());
            let (_checks, _) = start(&pool);
            until(|| pool.servers[0].health.state() == state && !pool.servers[0].passive.is_ejected()).await;
        }
    }

    #[tokio::test(flavor = "local")]
    async fn a_new_address_is_checked_at_once() {
        let pool = pool(vec![server("app.test:1", 1)], every(LONG));
        let (checks, _) = start(&pool);
        assert_eq!(checks.first_round(LONG).await, 0);
        let to = [farm(Rc::new(200.into())).await.parse().expect("an address")];
        pool.servers[0].relocate(&to, SystemTime::now());
        until(|| pool.servers[0].health.is_up()).await;
        let to = [closed_port().await.parse().expect("an address")];
        pool.servers[0].relocate(&to, SystemTime::now());
        until(|| pool.servers[0].health.state() == HealthState::Down).await;
    }

    #[tokio::test(flavor = "local")]
    async fn one_address_that_answers_makes_a_server_up_and_comes_first_from_then_on() {
        for other in [closed_port().await, farm(Rc::new(503.into())).await, farm(Rc::new(0.into())).await] {
            let pool = pool(vec![server("app.test:1", 1)], every(LONG));
            let good = farm(Rc::new(200.into())).await;
            let [other, good] = [other, good].map(|text| text.parse().expect("an address"));
            pool.servers[0].relocate(&[other, good], SystemTime::now());
            let (checks, log) = start(&pool);
            assert_eq!(checks.first_round(LONG).await, 0);
            assert_eq!(pool.servers[0].health.state(), HealthState::Up, "{:?}", log.take());
            assert_eq!(pool.servers[0].located().as_deref(), Some(&[good, other][..]));
        }
    }

    #[tokio::test(flavor = "local")]
    async fn a_server_is_down_when_no_address_answers_and_the_finding_says_each() {
        let pool = pool(vec![server("app.test:1", 1)], every(LONG));
        let both = [closed_port().await, farm(Rc::new(503.into())).await];
        let [dead, bad] = both.clone().map(|text| text.parse().expect("an address"));
        pool.servers[0].relocate(&[dead, bad], SystemTime::now());
        let (checks, log) = start(&pool);
        assert_eq!(checks.first_round(LONG).await, 0);
        let reason = format!("first check failed: {dead}: connection refused, {bad}: status 503");
        assert_eq!(log.take(), [(0, HealthState::Unknown, HealthState::Down, reason)]);
    }

    #[tokio::test(flavor = "local")]
    async fn a_finding_about_an_address_that_was_left_counts_for_nothing() {
        let pool = pool(vec![server("app.test:1", 1)], every(LONG));
        let left = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        pool.servers[0].relocate(&[left.local_addr().expect("address")], SystemTime::now());
        let (_checks, log) = start(&pool);
        let (asked, _) = left.accept().await.expect("accept");
        let to = [farm(Rc::new(200.into())).await.parse().expect("an address")];
        pool.servers[0].relocate(&to, SystemTime::now());
        drop(asked); // the first check fails now, about the address before
        until(|| pool.servers[0].health.is_up()).await;
        let states: Vec<_> = log.take().into_iter().map(|(_, from, to, _)| (from, to)).collect();
        assert_eq!(states, [(HealthState::Unknown, HealthState::Up)]);
    }

    #[tokio::test(flavor = "local")]
    async fn checks_end_when_they_are_dropped() {
        let pool = pool(vec![server(&closed_port().await, 1)], every(Duration::from_millis(1)));
        let (checks, log) = start(&pool);
        until(|| Rc::strong_count(&log) == 2 && Arc::strong_count(&pool) == 2).await;
        drop(checks);
        until(|| Rc::strong_count(&log) == 1 && Arc::strong_count(&pool) == 1).await;
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn checks_of_many_servers_are_spread_over_the_interval() {
        let started = Instant::now();
        let mut starts = Vec::new();
        for place in 0..4 {
            let mut schedule = Schedule::new(Duration::from_secs(2), place, 4);
            assert!(schedule.next - started < FIRST_STEP * 4);
            schedule.advance(schedule.next);
            schedule.advance(schedule.next);
            starts.push((schedule.next - started).as_millis() / 100);
        }
        assert_eq!(starts, [30, 35, 40, 45]);
    }

    #[tokio::test(flavor = "local", start_paused = true)]
    async fn the_interval_runs_from_start_to_start_and_skips_what_is_past() {
        let mut schedule = Schedule::new(Duration::from_secs(2), 0, 1);
        let started = schedule.next;
        let mut after = |seconds: u64| {
            schedule.advance(started + Duration::from_millis(seconds * 1000));
            (schedule.next - started).as_secs()
        };
        assert_eq!([0, 2, 3, 10, 10, 11].map(&mut after), [1, 3, 5, 11, 11, 13]);
    }
}
