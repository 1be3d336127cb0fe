//! Reloads that go well.

use std::time::{Duration, Instant};

use super::Scene;
use crate::strict::{Change, Habits, Steps};

/// How many reloads the promise is shown with.
const RELOADS: usize = 30;

#[test]
fn thirty_reloads_of_changed_and_unchanged_configurations_are_seen_by_no_client() {
    are_unseen(&Scene::new(), Habits::EVERYBODY);
}

#[test]
fn thirty_reloads_are_seen_by_no_client_that_speaks_http_2() {
    are_unseen(&Scene::new(), Habits { http2: [6, 3], ..Habits::ONE_OF_EACH });
}

#[test]
fn thirty_reloads_are_seen_by_no_client_that_speaks_tls() {
    are_unseen(&Scene::with_tls(), Habits::EVERYBODY);
}

#[test]
fn thirty_reloads_are_seen_by_no_client_that_speaks_http_2_over_tls() {
    are_unseen(&Scene::with_tls(), Habits { http2: [6, 3], ..Habits::ONE_OF_EACH });
}

fn are_unseen(scene: &Scene, habits: Habits) {
    let run = scene.run();
    let service = run.start();
    let crowd = scene.crowd(habits);
    let mut steps = Steps::of(Duration::from_millis(500));
    for round in 0..RELOADS {
        if round % 2 == 0 {
            let change = Change::ALL[round / 2 % Change::ALL.len()];
            run.configure(&scene.config(change));
            crowd.mark(&format!("reload {}: {change:?}", round + 1));
            service.reload_well();
        } else {
            crowd.mark(&format!("reload {}: forced", round + 1));
            service.reload_anyway();
        }
        run.notifications().so_far(); // systemd reads them too
        steps.wait();
    }
    let began = Instant::now();
    assert_eq!(service.settled().0, 1 + RELOADS as u64);
    eprintln!("one worker was left {:?} after the last step", began.elapsed());
    // what moved last must work too
    crowd.wait_requests(100);
    crowd.assert_tunnels_run();
    let tally = crowd.end();
    eprintln!("{tally}");
    std::fs::write(format!("/tmp/h2log.{}.{}", std::process::id(), scene.tls.is_some()), run.log()).expect("LOG");
    tally.assert_unseen();
    scene.assert_served_once();
}
