//! Roll-backs: what was inside the worker that died is lost, and nothing else.

use std::time::Duration;

use rustix::process::Signal;

use super::{Scene, inside};
use crate::strict::{Change, Crowd, Habits, Steps};
use crate::support::{Run, Service, signal, wait_for};

/// Everybody whose connection carries one exchange at a time.
const ONE_AT_A_TIME: Habits = Habits { pipelines: 0, ..Habits::EVERYBODY };
/// Most connections are kept and used again at once, as those of `ab -k`.
const UNDER_LOAD: Habits = Habits { fresh: 4, busy: 12, idle: 10, websockets: 4, sessions: 4, ..NOBODY };
const NOBODY: Habits = Habits { fresh: 0, busy: 0, pipelines: 0, slow_heads: 0, ..Habits::waiting(0, 0, 0) };

#[test]
fn a_roll_back_between_reloads_loses_only_what_was_inside_the_dead_worker() {
    let scene = Scene::new();
    let run = scene.run().argument("--probation=6s");
    let service = run.start();
    let crowd = scene.crowd(ONE_AT_A_TIME);
    let mut steps = Steps::of(Duration::from_secs(2));
    let mut was_inside = 0;
    for round in 0..6 {
        crowd.mark(&format!("reload {}", round + 1));
        run.configure(&scene.config(Change::ALL[round % Change::ALL.len()]));
        service.reload_well();
        if round == 2 {
            let old = parked(&service);
            was_inside = kill_after(Duration::from_secs(1), &scene, &service, &crowd);
            assert_eq!(resumed(&run, &service, 1), old, "another worker came");
        }
        run.notifications().so_far(); // systemd reads them too
        steps.wait();
    }
    assert_eq!(service.settled().0, 7);
    crowd.wait_requests(100);
    crowd.assert_tunnels_run();
    assert_lost_at_most(was_inside, &crowd);
    crowd.end();
    scene.assert_served_once();
}

#[test]
fn twenty_roll_backs_under_load_lose_only_what_was_inside_the_dead_workers() {
    roll_backs(20);
}

#[test]
fn the_journal_says_how_much_a_dead_worker_took_with_it() {
    let (lost, log) = roll_backs(3);
    let said = said_to_be_lost(&log);
    assert_eq!(said.len(), 3, "a roll-back that says no number");
    assert!(said.iter().sum::<u64>() >= lost, "{said:?} were said to be lost of {lost}");
}

/// Many roll-backs, one after the other: how many requests were lost, and the log.
fn roll_backs(times: usize) -> (u64, String) {
    let scene = Scene::new();
    let run = scene.run().argument("--probation=1h");
    let service = run.start();
    let old = service.serving();
    let crowd = scene.crowd(UNDER_LOAD);
    let mut was_inside = 0;
    for round in 1..=times {
        crowd.mark(&format!("reload {round}"));
        service.reload_anyway();
        was_inside += kill_after(Duration::from_millis(200), &scene, &service, &crowd);
        assert_eq!(resumed(&run, &service, round), old);
        run.notifications().so_far(); // systemd reads them too
    }
    crowd.wait_requests(100);
    crowd.assert_tunnels_run();
    assert_lost_at_most(was_inside, &crowd);
    scene.assert_served_once();
    (crowd.end().lost, run.log())
}

/// Kills the worker on probation after it served for a while. Gives how many connections it had accepted then.
fn kill_after(time: Duration, scene: &Scene, service: &Service<'_>, crowd: &Crowd) -> usize {
    Steps::of(time).wait();
    let (number, pid) = service.serving();
    // while it is stopped it accepts nothing: what it holds is what it will have held
    signal(pid, Signal::STOP);
    wait_for("the worker to be stopped", || is_stopped(pid).then_some(()));
    let held = inside::connections(pid, &[scene.http, scene.tcp]);
    crowd.mark(&format!("generation {number} is killed with {held} connections"));
    signal(pid, Signal::KILL);
    held
}

/// Whether no thread of the process runs.
pub fn is_stopped(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let stat = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("stat")).ok();
    let mut states = tasks.filter_map(stat).peekable(); // a process that ends may have none
    states.peek().is_some()
        && states.all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
}

/// The generation that could take over again.
fn parked(service: &Service<'_>) -> (u64, u32) {
    wait_for("a parked generation", || {
        let all = service.generations().into_iter();
        all.rev().find(|(_, state, _)| state == "parked").map(|(number, _, pid)| (number, pid))
    })
}

/// The generation that serves after this many roll-backs.
fn resumed(run: &Run, service: &Service<'_>, times: usize) -> (u64, u32) {
    wait_for("a roll-back", || (run.log().matches("Rolled back").count() == times).then_some(()));
    service.serving()
}

/// Each connection that was inside may have lost what it was at; nobody was refused, and nobody told to go.
#[track_caller]
fn assert_lost_at_most(was_inside: usize, crowd: &Crowd) {
    let tally = crowd.tally();
    let seen = tally.lost + tally.closed + tally.tunnels_closed;
    assert!(seen <= was_inside as u64, "{seen} were lost of {was_inside} inside dead workers: {tally}");
    assert!(!tally.why.keys().any(|why| why.contains("connect:")), "{tally}");
    assert_eq!(tally.told, 0, "{tally}");
}

/// How many connections each roll-back says to have cost: "… with 12 connections …".
fn said_to_be_lost(log: &str) -> Vec<u64> {
    let lines = log.lines().filter(|line| line.contains("Rolled back"));
    let number = |line: &str| {
        let before = line.split(" connection").next().filter(|before| before.len() < line.len())?;
        before.rsplit(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
    };
    lines.filter_map(number).collect()
}
