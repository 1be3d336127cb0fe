//! Workers that are killed in the middle of a move: what the dead one held is lost, and nothing else.
//!
//! The one that gives and the one that takes die in turn, each at a moment that a seed decides. `MOVE_DEATHS` says how many
//! of them have to be hit in the middle of a move.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::rollback::is_stopped;
use super::{Scene, inside};
use crate::strict::{Chance, Change, Crowd, Ends, Gone, Habits, Place};
use crate::support::sealed::Sealed;
use crate::support::{DEADLINE, Run, Service, is_alive, may_signal, signal, wait_for};

/// How many are hit in the middle of a move, without `MOVE_DEATHS`.
const DEATHS: u64 = 5;
/// For each of those so many moves may be over before the signal comes, and so many more: on a busy machine most are.
const MISSES: u64 = 4;
const MORE_MISSES: u64 = 60;
/// A worker dies when a share of the connections has come to the other one, and up to so much later.
const LATER_US: u64 = 3000;
/// How often is looked whether the share has come.
const LOOK: Duration = Duration::from_micros(500);

const NONE: Habits = Habits { fresh: 0, busy: 0, slow_heads: 0, ..Habits::waiting(0, 0, 0) };
// most of them wait: clients that need the processors themselves would be what a move waits for
const HTTP1: Habits = Habits { busy: 2, idle: 100, uploads: 4, downloads: 4, pipelines: 1, slow_heads: 2, ..NONE };
const HTTP2: Habits = Habits { http2: [2, 0], calm_http2: [60, 4], ..NONE };
const TUNNELS: Habits = Habits { websockets: 48, sessions: 16, half_closed: 1, ..NONE };

#[test]
fn when_a_worker_is_killed_in_a_move_clients_of_http_1_lose_only_what_it_held() {
    assert_only_what_it_held_is_lost("HTTP/1", &Scene::new(), HTTP1);
}

#[test]
fn when_a_worker_is_killed_in_a_move_clients_of_tls_lose_only_what_it_held_and_no_number_is_used_twice() {
    assert_only_what_it_held_is_lost("HTTP/1 over TLS", &Scene::with_tls(), HTTP1);
}

#[test]
fn when_a_worker_is_killed_in_a_move_clients_of_http_2_lose_only_what_it_held_and_no_number_is_used_twice() {
    assert_only_what_it_held_is_lost("HTTP/2 over TLS", &Scene::with_tls(), HTTP2);
}

#[test]
fn when_a_worker_is_killed_in_a_move_tunnels_lose_only_what_it_held_and_no_number_is_used_twice() {
    assert_only_what_it_held_is_lost("tunnels over TLS", &Scene::with_tls(), TUNNELS);
}

/// What came of many deaths.
#[derive(Debug, Default)]
struct Deaths {
    kind: &'static str,
    moves: u64,
    kills: u64,
    in_the_middle: u64,
    /// What dead workers held, and another one did not.
    held: usize,
    lost: usize,
    /// Lost ones that no dead worker held.
    not_held: usize,
    /// What those saw, and what the others saw other than an end.
    faults: BTreeMap<String, usize>,
    served_twice: usize,
    sealed: Option<Sealed>,
}

/// A worker that is stopped, and what it had then.
struct Held {
    /// What may be lost with it.
    alone: HashSet<Ends>,
    is_in_the_middle: bool,
}

#[track_caller]
fn assert_only_what_it_held_is_lost(kind: &'static str, scene: &Scene, habits: Habits) {
    let wanted = std::env::var("MOVE_DEATHS").map_or(DEATHS, |deaths| deaths.parse().expect("a number"));
    // a worker whose successor died has to wait for the next one
    let config = scene.config(Change::Nothing) + "[drain]\ntimeout = \"60s\"\n";
    let run = Run::new(&config.replace("[log]", "[log]\nslow = \"5s\"")).argument("--probation=100ms");
    let numbers = run.path("numbers");
    let run = run.variable("SEGUE_SEALED_NUMBERS", numbers.to_str().expect("text"));
    let service = run.start();
    let mut crowd = Crowd::start(Place::Here, scene.door().by_tls(), habits);
    let (mut deaths, mut chance) = (Deaths { kind, ..Deaths::default() }, Chance::new(wanted));
    // clients may hear of an end as late as in the next move
    let (mut before, mut now) = (HashSet::new(), HashSet::new());
    while deaths.in_the_middle < wanted && deaths.moves < MISSES * wanted + MORE_MISSES {
        let held = deaths.of_one_move(scene, &run, &service, &crowd, &mut chance);
        (before, now) = (now, held);
        deaths.note(crowd.take_gone(), [&before, &now]);
    }
    service.settled();
    crowd.wait_good(300);
    crowd.assert_tunnels_run();
    crowd.go_home();
    deaths.note(crowd.take_gone(), [&before, &now]);
    deaths.served_twice = scene.servers.served_twice();
    deaths.sealed = numbers.exists().then(|| Sealed::read(numbers.parent().expect("a folder")));
    eprintln!("{deaths}");
    deaths.assert_nothing_else_is_lost();
}

impl Deaths {
    /// One reload, and the death of one of its workers. Gives what may be lost with it.
    fn of_one_move(
        &mut self,
        scene: &Scene,
        run: &Run,
        service: &Service<'_>,
        crowd: &Crowd,
        chance: &mut Chance,
    ) -> HashSet<Ends> {
        self.moves += 1;
        let doors = doors(scene);
        let (giver, giving) = service.settled();
        let before = clients(giving, &doors);
        service.reload_anyway();
        let (number, receiving) = service.serving();
        run.notifications().so_far(); // systemd reads them too
        let (mut had, drains) = (0, format!("Generation {giver} drains"));
        wait_until(|| {
            had = inside::descriptors(receiving);
            run.log().contains(&drains)
        });
        let share = before.len() * chance.within(0..100) as usize / 100;
        wait_until(|| inside::descriptors(receiving) >= had + share || !is_alive(giving));
        let until = Instant::now() + Duration::from_micros(chance.within(0..LATER_US));
        while Instant::now() < until {
            std::thread::yield_now();
        }
        let (dies, lives) = if self.kills.is_multiple_of(2) { (receiving, giving) } else { (giving, receiving) };
        // while it is stopped it takes nothing more: what it holds is what it will have held
        if !may_signal(dies, Signal::STOP) {
            return HashSet::new(); // the move was over before
        }
        wait_until(|| is_stopped(dies) || !is_alive(dies));
        if !is_alive(dies) {
            return HashSet::new(); // it ended as the signal came
        }
        let held = Held::of(dies, lives, dies == giving, &before, &doors);
        signal(dies, Signal::KILL);
        self.kills += 1;
        self.in_the_middle += u64::from(held.is_in_the_middle);
        self.held += held.alone.len();
        let role = if dies == giving { "gives" } else { "takes" };
        crowd.mark(&format!("the worker that {role} dies with {} connections", held.alone.len()));
        wait_for("its end", || (!is_alive(dies)).then_some(()));
        if dies == receiving {
            wait_for("the next worker", || (service.serving().0 > number).then_some(()));
        }
        held.alone
    }

    /// Sorts what clients lost: `held` is what dead workers held.
    fn note(&mut self, gone: Vec<Gone>, held: [&HashSet<Ends>; 2]) {
        let (mut lost, mut not_held) = (HashSet::new(), HashSet::new());
        for Gone { ends, why } in gone {
            let was_held = held.iter().any(|held| held.contains(&ends));
            lost.insert(ends);
            if !was_held {
                not_held.insert(ends);
            }
            if !was_held || !is_an_end(&why) {
                let held = if was_held { "held" } else { "not held" };
                *self.faults.entry(format!("{held}, {why}")).or_default() += 1;
            }
        }
        self.lost += lost.len();
        self.not_held += not_held.len();
    }

    #[track_caller]
    fn assert_nothing_else_is_lost(&self) {
        assert!(self.in_the_middle > 0, "no worker was hit in the middle of a move: {self}");
        assert!(self.not_held == 0 && self.faults.is_empty() && self.served_twice == 0, "{self}");
        assert!(self.sealed.is_none_or(|sealed| sealed.twice == 0), "{self}");
        assert!(!self.kind.ends_with("TLS") || self.sealed.is_some_and(|sealed| sealed.numbers > 0), "{self}");
    }
}

impl fmt::Display for Deaths {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, moves, kills, in_the_middle, held, lost, not_held, served_twice, .. } = self;
        let Sealed { numbers, twice } = self.sealed.unwrap_or(Sealed { numbers: 0, twice: 0 });
        write!(out, "{kind}: {kills} killed in {moves} moves, {in_the_middle} of them in the middle; ")?;
        write!(out, "{lost} connections lost of {held} that they held, {not_held} that they did not hold; ")?;
        write!(out, "{served_twice} requests served twice; {numbers} numbers sealed, {twice} of them twice")?;
        self.faults.iter().try_for_each(|(why, count)| write!(out, "\n{count:>6} × {why}"))
    }
}

impl Held {
    /// What a stopped worker has: `lives` is the other one, `before` what the one that gives had before the reload.
    fn of(dies: u32, lives: u32, gives: bool, before: &HashSet<Ends>, doors: &[SocketAddr]) -> Self {
        let (all, others) = (clients(dies, doors), clients(lives, doors));
        let (giving, receiving) = if gives { (&all, &others) } else { (&others, &all) };
        let is_in_the_middle = !before.is_disjoint(giving) && !before.is_disjoint(receiving);
        // what the other one has received by now is its own when the one that gives dies
        let alone = if gives { all.difference(&others).copied().collect() } else { all };
        Self { alone, is_in_the_middle }
    }
}

/// Whether a client saw no more than the end of its connection.
fn is_an_end(why: &str) -> bool {
    let why = why.to_lowercase();
    // h2 says "inactive stream" of one whose connection has just ended
    let ends = ["closed", "reset", "broken pipe", "eof", "end of file", "not connected", "inactive stream"];
    ends.iter().any(|end| why.contains(end))
}

/// Where the clients come in.
fn doors(scene: &Scene) -> Vec<SocketAddr> {
    let tls = scene.tls.iter().map(|(address, _)| *address);
    [scene.http, scene.tcp].into_iter().chain(tls).collect()
}

/// The connections of a process. A table that changes while it is read may miss a line, so it is read twice.
fn clients(pid: u32, doors: &[SocketAddr]) -> HashSet<Ends> {
    &inside::clients(pid, doors) | &inside::clients(pid, doors)
}

/// As [`wait_for`], for what is over in a few milliseconds.
#[track_caller]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain for a moment of a move");
        std::thread::park_timeout(LOOK);
    }
}
