//! The crowd itself: it sees what there is to see, else that it saw nothing would mean nothing.

use rustix::process::Signal;

use super::Scene;
use crate::strict::{Change, Habits};
use crate::support::signal;

#[test]
fn when_nothing_happens_the_crowd_sees_nothing() {
    let scene = Scene::new();
    let run = scene.run();
    let _service = run.start();
    let crowd = scene.crowd(Habits::EVERYBODY);
    crowd.wait_requests(500);
    crowd.assert_tunnels_run();
    crowd.end().assert_unseen();
    scene.assert_served_once();
}

#[test]
fn when_a_worker_is_killed_the_crowd_notices_everything_that_it_held() {
    let scene = Scene::new();
    let run = scene.run();
    let service = run.start();
    let crowd = scene.crowd(Habits::EVERYBODY);
    signal(service.serving().1, Signal::KILL);
    crowd.wait_requests(100);
    let tally = crowd.end();
    let tunnels = (Habits::EVERYBODY.websockets + Habits::EVERYBODY.sessions) as u64;
    assert!(tally.lost > 0 && tally.closed > 0 && tally.tunnels_closed >= tunnels, "{tally}");
}

#[test]
fn an_idle_connection_that_the_proxy_closes_is_noticed() {
    let scene = Scene::new();
    let run = scene.run();
    run.configure(&scene.config(Change::Nothing).replace("[tcp.relay]", "idle_timeout = \"500ms\"\n[tcp.relay]"));
    let _service = run.start();
    let crowd = scene.crowd(Habits { idle: 20, ..Habits::default() });
    crowd.wait_requests(100);
    let tally = crowd.end();
    assert!(tally.closed > 0 && tally.told == 0, "{tally}");
}
