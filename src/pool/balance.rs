//! The choice of the next server. Each thread has one [`Balancer`] for each pool: only the health of the servers and
//! the count of their open attempts are shared, and a pick allocates nothing.

mod position;

use std::cmp::Ordering;
use std::net::SocketAddr;

pub(super) use self::position::Positions;
use super::Pool;
use super::health::HealthState;
use crate::config::Balance;
use crate::message::head::RawHead;
use crate::observe::record::Index;

/// Picks servers of one pool for one thread.
///
/// The rank of a server decides first, in this order: not yet tried before tried; trusted before ejected; up before
/// unknown, so that a server that no check has reached takes requests only while none is up; primary before backup.
/// Servers that are down, wait for DNS or have weight 0 are never picked; one that an operator drains has weight 0.
///
/// Servers of the best rank take turns by smooth weighted round robin: the credit of each grows by its weight; the
/// one with the most credit is picked and pays the sum of all weights. So the turns of one server are spread evenly
/// over the cycle, and those of a server that goes down fall to all others, not to its neighbour.
#[derive(Debug)]
pub struct Balancer {
    turns: Vec<Candidate>,
    /// Its place among the threads.
    thread: usize,
}

#[derive(Debug)]
struct Candidate {
    weight: u32,
    backup: bool,
    credit: i64,
    /// Valid during a pick.
    rank: Rank,
    /// Open attempts, at the current pick; read only where they matter.
    open: u32,
}

/// Lower is better.
type Rank = u8;
const BACKUP: Rank = 1;
const UNKNOWN: Rank = 2;
const EJECTED: Rank = 4;
const LATER: Rank = 8;
const LEAVING: Rank = 16;
const NEVER: Rank = 32;

/// What a policy picks a server by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick<'a> {
    /// The head of the request; none in TCP mode.
    pub head: Option<&'a RawHead>,
    /// The client's end of its connection; none on unix sockets.
    pub client: Option<SocketAddr>,
    /// The servers that this exchange has tried already. With `redispatch` they come last, else first.
    pub tried: &'a [Index],
    /// The servers that the next generation lacks: they come last.
    pub leaving: &'a [Index],
}

impl Balancer {
    /// A balancer for `pool`. Each `thread` starts one turn later than the one before it, so that together they do
    /// not send the first request of each to the same server; or continues from the position of the generation
    /// before.
    #[must_use]
    pub fn new(pool: &Pool, thread: usize) -> Self {
        let turns = pool.servers.iter().map(|server| Candidate {
            weight: server.admin.weight(),
            backup: server.backup,
            credit: 0,
            open: 0,
            rank: match (server.admin.weight(), server.backup) {
                (0, _) => NEVER,
                (_, false) => 0,
                (_, true) => BACKUP,
            },
        });
        let mut balancer = Self { turns: turns.collect(), thread };
        if pool.positions.get().is_some_and(|positions| balancer.go_on(positions, thread)) {
            return balancer;
        }
        balancer.set_off();
        balancer
    }

    /// Starts as many turns later as there are threads before it.
    fn set_off(&mut self) {
        for _ in 0..self.thread {
            self.take_turn(0);
            self.take_turn(BACKUP);
        }
    }

    /// The index of the server for the next attempt, or `None` when none may be tried: 503. `pool` is the one that this
    /// balancer was made for.
    pub fn pick(&mut self, pool: &Pool, by: &Pick<'_>) -> Option<usize> {
        let tried = by.tried;
        debug_assert_eq!(self.turns.len(), pool.servers.len(), "the pool of this balancer");
        let redispatch = pool.settings.redispatch;
        let mut best = NEVER;
        let mut other_weights = false;
        for (index, (turn, server)) in self.turns.iter_mut().zip(&pool.servers).enumerate() {
            let is_ejected = server.passive.is_ejected();
            let weight = server.admin.weight();
            other_weights |= turn.weight != weight;
            turn.weight = weight;
            turn.rank = turn.rank_in(server.health.state(), is_ejected);
            if !tried.is_empty() && turn.rank != NEVER {
                let was_tried = tried.iter().any(|tried| usize::from(*tried) == index);
                let is_later = if redispatch { was_tried } else { !was_tried || is_ejected };
                turn.rank += if is_later { LATER } else { 0 };
            }
            if turn.rank != NEVER && by.leaving.iter().any(|leaving| usize::from(*leaving) == index) {
                turn.rank += LEAVING;
            }
            best = best.min(turn.rank);
        }
        if other_weights {
            // what each is owed was counted in the weights before; the threads stay apart
            self.turns.iter_mut().for_each(|turn| turn.credit = 0);
            self.set_off();
        }
        if best == NEVER {
            return None;
        }
        if pool.settings.balance == Balance::LeastConnections {
            self.keep_least_loaded(pool, best);
        }
        self.take_turn(best)
    }

    /// Of the servers of rank `best`, keeps those with the fewest open attempts for their weight.
    fn keep_least_loaded(&mut self, pool: &Pool, best: Rank) {
        for (turn, server) in self.turns.iter_mut().zip(&pool.servers) {
            turn.open = server.open_attempts(); // read once: other threads change it meanwhile
        }
        let of_best = self.turns.iter().filter(|turn| turn.rank == best);
        let least = of_best.min_by(|one, other| one.load_against(other.open, other.weight));
        let Some((open, weight)) = least.map(|turn| (turn.open, turn.weight)) else {
            return;
        };
        for turn in &mut self.turns {
            if turn.load_against(open, weight).is_gt() {
                turn.rank = NEVER;
            }
        }
    }

    /// One step of smooth weighted round robin among the servers of rank `best`.
    fn take_turn(&mut self, best: Rank) -> Option<usize> {
        let mut gained = 0;
        let mut richest: Option<(usize, i64)> = None;
        for (index, turn) in self.turns.iter_mut().enumerate() {
            if turn.rank != best {
                continue;
            }
            let weight = i64::from(turn.weight);
            turn.credit += weight;
            gained += weight;
            if richest.is_none_or(|(_, credit)| turn.credit > credit) {
                richest = Some((index, turn.credit));
            }
        }
        let (index, _) = richest?;
        self.turns[index].credit -= gained;
        Some(index)
    }
}

impl Candidate {
    #[inline]
    fn rank_in(&self, state: HealthState, is_ejected: bool) -> Rank {
        if self.weight == 0 {
            return NEVER;
        }
        let rank = if self.backup { BACKUP } else { 0 } + if is_ejected { EJECTED } else { 0 };
        match state {
            HealthState::Up => rank,
            HealthState::Unknown => UNKNOWN + rank,
            HealthState::Down | HealthState::WaitingForDns => NEVER,
        }
    }

    /// Compares the open attempts for each unit of weight, without a division.
    fn load_against(&self, open: u32, weight: u32) -> Ordering {
        let own = u64::from(self.open) * u64::from(weight);
        own.cmp(&(u64::from(open) * u64::from(self.weight)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::config::{CheckKind, ServerSettings};
    use crate::pool::Open;
    use crate::pool::health::{CheckVerdict, Finding};
    use crate::pool::tests::{server, settings};

    /// Servers with these weights, all up.
    fn farm(weights: &[u32]) -> Pool {
        let servers = weights.iter().map(|weight| server("10.0.0.1:80", *weight));
        let mut settings = settings(servers.collect());
        settings.check = Some(CheckKind::Connect);
        let pool = Pool::new(settings, SystemTime::UNIX_EPOCH);
        for index in 0..weights.len() {
            set(&pool, index, CheckVerdict::Good);
        }
        pool
    }

    fn set(pool: &Pool, index: usize, verdict: CheckVerdict) {
        let finding = Finding { verdict, detail: "said".into(), took: Duration::ZERO };
        pool.servers[index].health.observe(finding, SystemTime::UNIX_EPOCH);
    }

    fn picks(balancer: &mut Balancer, pool: &Pool, count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| balancer.pick(pool, &Pick { tried: &[], ..Pick::default() }).expect("a usable server"))
            .collect()
    }

    fn shares(picks: &[usize], servers: usize) -> Vec<usize> {
        (0..servers).map(|index| picks.iter().filter(|pick| **pick == index).count()).collect()
    }

    #[test]
    fn shares_over_a_cycle_are_the_weights() {
        for weights in [&[1, 1, 1][..], &[5, 1, 1], &[3, 0, 2], &[1], &[7, 3, 2, 4, 1]] {
            let pool = farm(weights);
            let cycle = weights.iter().sum::<u32>() as usize;
            let mut balancer = Balancer::new(&pool, 0);
            for _ in 0..3 {
                let shares = shares(&picks(&mut balancer, &pool, cycle), weights.len());
                assert!(shares.iter().zip(weights).all(|(share, weight)| *share == *weight as usize));
            }
        }
    }

    #[test]
    fn turns_of_a_heavy_server_are_spread_over_the_cycle() {
        let pool = farm(&[5, 1, 1]);
        let order = picks(&mut Balancer::new(&pool, 0), &pool, 7);
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn threads_start_at_different_servers() {
        let pool = farm(&[1, 1, 1]);
        let first = |thread| Balancer::new(&pool, thread).pick(&pool, &Pick { tried: &[], ..Pick::default() });
        assert_eq!([0, 1, 2, 3].map(first), [Some(0), Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn the_turns_of_a_server_that_goes_down_fall_to_all_others() {
        let pool = farm(&[1, 1, 1, 1]);
        let mut balancer = Balancer::new(&pool, 0);
        picks(&mut balancer, &pool, 5);
        set(&pool, 1, CheckVerdict::Bad);
        let shares = shares(&picks(&mut balancer, &pool, 300), 4);
        assert_eq!(shares[1], 0);
        assert!([0, 2, 3].iter().all(|index| shares[*index].abs_diff(100) <= 1), "{shares:?}");
    }

    #[test]
    fn a_server_that_comes_back_takes_its_share_and_no_burst() {
        let pool = farm(&[1, 1, 1]);
        let mut balancer = Balancer::new(&pool, 0);
        for phase in 0..6 {
            set(&pool, 1, CheckVerdict::Bad);
            picks(&mut balancer, &pool, 100 + phase);
            set(&pool, 1, CheckVerdict::Good);
            let order = picks(&mut balancer, &pool, 30);
            assert!(order.windows(3).all(|three| three != [1, 1, 1]), "{order:?}");
            assert!(order.iter().filter(|pick| **pick == 1).count().abs_diff(10) <= 2, "{order:?}");
        }
    }

    #[test]
    fn retries_of_a_server_that_fails_spread_over_the_others() {
        let pool = farm(&[1, 1, 1, 1]);
        let mut balancer = Balancer::new(&pool, 0);
        let mut served = [0_usize; 4];
        for _ in 0..3000 {
            let mut picked = balancer.pick(&pool, &Pick { tried: &[], ..Pick::default() }).expect("a server");
            if picked == 0 {
                picked = balancer.pick(&pool, &Pick { tried: &[0], ..Pick::default() }).expect("another server");
            }
            served[picked] += 1;
        }
        assert_eq!(served[0], 0);
        assert!(served[1..].iter().all(|count| count.abs_diff(1000) <= 30), "{served:?}");
    }

    #[test]
    fn a_tried_server_comes_again_only_when_nothing_else_is_left() {
        let mut pool = farm(&[1, 1, 1]);
        pool.settings.redispatch = true;
        let mut balancer = Balancer::new(&pool, 0);
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[0, 2], ..Pick::default() }), Some(1));
        assert!(balancer.pick(&pool, &Pick { tried: &[0, 1, 2], ..Pick::default() }).is_some());
        set(&pool, 1, CheckVerdict::Bad);
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[0], ..Pick::default() }), Some(2));
        set(&pool, 2, CheckVerdict::Bad);
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[0], ..Pick::default() }), Some(0));
    }

    #[test]
    fn without_redispatch_a_retry_goes_to_the_same_server_while_it_is_up() {
        let mut pool = farm(&[1, 1, 1]);
        pool.settings.redispatch = false;
        let mut balancer = Balancer::new(&pool, 0);
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[2], ..Pick::default() }), Some(2));
        set(&pool, 2, CheckVerdict::Bad);
        assert!(balancer.pick(&pool, &Pick { tried: &[2], ..Pick::default() }).is_some_and(|other| other != 2));
    }

    fn eject(pool: &Pool, index: usize) {
        let ejection = (0..3).find_map(|_| pool.connection_failed(index, "refused", SystemTime::UNIX_EPOCH));
        assert!(ejection.is_some(), "{index}");
    }

    #[test]
    fn a_server_that_is_ejected_takes_requests_only_while_no_other_can() {
        let mut servers: Vec<_> = (0..3).map(|_| server("10.0.0.1:80", 1)).collect();
        servers[2].backup = true;
        let mut pool = Pool::new(settings(servers), SystemTime::UNIX_EPOCH);
        let mut balancer = Balancer::new(&pool, 0);
        eject(&pool, 0);
        assert_eq!(shares(&picks(&mut balancer, &pool, 10), 3), [0, 10, 0]);
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[1], ..Pick::default() }), Some(2), "a backup comes before it");
        assert_eq!(
            balancer.pick(&pool, &Pick { tried: &[1, 2], ..Pick::default() }),
            Some(0),
            "it may have come back, and the others just failed"
        );
        eject(&pool, 1);
        assert_eq!(shares(&picks(&mut balancer, &pool, 10), 3), [0, 0, 10]);
        pool.settings.redispatch = false;
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[0], ..Pick::default() }), Some(2), "no retry goes back to it");
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[2], ..Pick::default() }), Some(2));
    }

    #[test]
    fn when_all_are_ejected_all_are_tried() {
        let pool = farm(&[1, 1]);
        for index in [0, 1] {
            pool.servers[index].passive.failed("refused", || false, SystemTime::UNIX_EPOCH);
            pool.servers[index].passive.failed("refused", || false, SystemTime::UNIX_EPOCH);
            assert!(pool.servers[index].passive.failed("refused", || false, SystemTime::UNIX_EPOCH).is_some());
        }
        assert_eq!(shares(&picks(&mut Balancer::new(&pool, 0), &pool, 10), 2), [5, 5]);
    }

    #[test]
    fn backups_work_only_while_no_primary_does() {
        let mut servers: Vec<_> = (0..4).map(|_| server("10.0.0.1:80", 1)).collect();
        servers[2].backup = true;
        servers[3].backup = true;
        let mut settings = settings(servers);
        settings.check = Some(CheckKind::Connect);
        let pool = Pool::new(settings, SystemTime::UNIX_EPOCH);
        let mut balancer = Balancer::new(&pool, 1);
        let mut seen = |count| shares(&picks(&mut balancer, &pool, count), 4);
        assert_eq!(seen(10), [5, 5, 0, 0], "all unknown: the primaries");
        set(&pool, 2, CheckVerdict::Good);
        assert_eq!(seen(10), [0, 0, 10, 0], "one is known to be up: that one");
        set(&pool, 0, CheckVerdict::Good);
        assert_eq!(seen(10), [10, 0, 0, 0]);
        set(&pool, 3, CheckVerdict::Good);
        set(&pool, 0, CheckVerdict::Bad);
        set(&pool, 1, CheckVerdict::Bad);
        assert_eq!(seen(10), [0, 0, 5, 5]);
        set(&pool, 2, CheckVerdict::Bad);
        set(&pool, 3, CheckVerdict::Bad);
        assert_eq!(balancer.pick(&pool, &Pick { tried: &[], ..Pick::default() }), None, "every server is down");
    }

    #[test]
    fn least_connections_fills_the_emptiest_for_its_weight() {
        let mut pool = farm(&[1, 1, 2]);
        pool.settings.balance = Balance::LeastConnections;
        let mut balancer = Balancer::new(&pool, 0);
        let mut open: Vec<Open<&Pool>> = Vec::new();
        for _ in 0..40 {
            let picked = balancer.pick(&pool, &Pick { tried: &[], ..Pick::default() }).expect("a server");
            open.push(Open::new(&pool, picked));
        }
        let counts = || [0, 1, 2].map(|index: usize| pool.servers[index].open_attempts());
        assert_eq!(counts(), [10, 10, 20]);
        open.retain(|open| !std::ptr::eq(open.server(), &raw const pool.servers[1]));
        assert_eq!(picks(&mut balancer, &pool, 3), [1, 1, 1]);
    }

    #[test]
    fn least_connections_on_an_idle_pool_goes_round() {
        let mut pool = farm(&[1, 1, 1]);
        pool.settings.balance = Balance::LeastConnections;
        let order = picks(&mut Balancer::new(&pool, 0), &pool, 6);
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[derive(Clone, Debug)]
    struct Case {
        weight: u32,
        backup: bool,
        state: u8,
        open: u32,
        tried: bool,
    }

    fn case() -> impl Strategy<Value = Case> {
        (0..4_u32, any::<bool>(), 0..4_u8, 0..3_u32, any::<bool>())
            .prop_map(|(weight, backup, state, open, tried)| Case { weight, backup, state, open, tried })
    }

    fn pool_of(cases: &[Case], balance: Balance) -> Pool {
        let servers = cases.iter().map(|case| ServerSettings {
            backup: case.backup,
            ..server(if case.state == 3 { "app.test:80" } else { "10.0.0.1:80" }, case.weight)
        });
        let mut settings = settings(servers.collect());
        settings.check = Some(CheckKind::Connect);
        settings.balance = balance;
        let pool = Pool::new(settings, SystemTime::UNIX_EPOCH);
        for (index, case) in cases.iter().enumerate() {
            match case.state {
                0 => set(&pool, index, CheckVerdict::Good),
                1 => set(&pool, index, CheckVerdict::Bad),
                _ => {}
            }
        }
        pool
    }

    proptest! {
        #[test]
        fn a_pick_is_never_unusable_nor_tried_while_another_is_usable(
            cases in prop::collection::vec(case(), 1..8),
            least in any::<bool>(),
            thread in 0..5_usize,
        ) {
            let balance = if least { Balance::LeastConnections } else { Balance::RoundRobin };
            let pool = pool_of(&cases, balance);
            let mut open = Vec::new();
            for (index, case) in cases.iter().enumerate() {
                open.extend((0..case.open).map(|_| Open::new(&pool, index)));
            }
            let tried: Vec<Index> =
                (0..cases.len()).filter(|index| cases[*index].tried).map(|index| index as Index).collect();
            // state 0 is up, 1 down, 2 unknown, 3 waits for DNS
            let may = |case: &Case| case.weight > 0 && (case.state == 0 || case.state == 2);
            let fresh = |case: &Case| may(case) && !case.tried;
            let mut balancer = Balancer::new(&pool, thread);
            for _ in 0..10 {
                let Some(picked) = balancer.pick(&pool, &Pick { tried: &tried, ..Pick::default() }) else {
                    prop_assert!(!cases.iter().any(may), "none, though one is usable");
                    continue;
                };
                let picked = &cases[picked];
                prop_assert!(may(picked));
                prop_assert!(!picked.tried || !cases.iter().any(fresh), "tried, though another was left");
                let rivals = || cases.iter().filter(|case| may(case) && case.tried == picked.tried);
                prop_assert!(picked.state == 0 || !rivals().any(|case| case.state == 0), "unknown before up");
                let better = |case: &Case| case.state == picked.state && !case.backup;
                prop_assert!(!picked.backup || !rivals().any(better), "backup before primary");
            }
        }

        #[test]
        fn credit_stays_bounded_however_servers_come_and_go(
            steps in prop::collection::vec((0..4_usize, any::<bool>(), 1..20_usize), 1..60),
        ) {
            let pool = farm(&[1, 2, 3, 1]);
            let mut balancer = Balancer::new(&pool, 0);
            for (index, up, count) in steps {
                set(&pool, index, if up { CheckVerdict::Good } else { CheckVerdict::Bad });
                for _ in 0..count {
                    let _ = balancer.pick(&pool, &Pick { tried: &[], ..Pick::default() });
                }
                prop_assert_eq!(balancer.turns.iter().map(|turn| turn.credit).sum::<i64>(), 0);
                prop_assert!(balancer.turns.iter().all(|turn| turn.credit.abs() <= 3 * 7));
            }
        }
    }

    #[test]
    fn servers_that_the_next_generation_lacks_come_last_tried_or_not() {
        let pool = farm(&[1, 1, 1]);
        let mut balancer = Balancer::new(&pool, 0);
        let mut pick =
            |tried: &[Index], leaving: &[Index]| balancer.pick(&pool, &Pick { tried, leaving, ..Pick::default() });
        for _ in 0..3 {
            assert_eq!(pick(&[], &[0, 2]), Some(1));
            assert_eq!(pick(&[1], &[0, 2]), Some(1), "one that failed goes on in the next generation, others do not");
        }
        assert!(pick(&[], &[0, 1, 2]).is_some(), "one is better than none");
    }
}
