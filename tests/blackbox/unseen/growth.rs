//! Many reloads leave nothing behind.

use super::{Scene, inside};
use crate::strict::{Change, Habits};
use crate::support::{Service, wait_for};

const RELOADS: u64 = 50;
/// After so many everything that is made once is there.
const WARM: u64 = 5;
/// As many as a worker has of them, or more: each of 45 reloads would leave one that is not closed.
const THREADS: usize = 4;

#[test]
fn fifty_reloads_with_idle_connections_and_tunnels_leave_nothing_behind() {
    let scene = Scene::new();
    let run = scene.run().argument("--probation=50ms");
    // an idle connection to a server is there by chance
    let config = scene.config(Change::Nothing);
    run.configure(&config.replace("[pool.farm]", "[pool.farm]\nkeep_alive_connections = 0"));
    let service = run.start();
    let crowd = scene.crowd(Habits::waiting(200, 10, 10));
    let mut before = None;
    for reload in 1..=RELOADS {
        service.reload_anyway();
        assert_eq!(service.settled().0, reload + 1);
        run.notifications().so_far(); // systemd reads them too
        if reload == WARM {
            before = Some(descriptors(&service));
            eprintln!("after {WARM} reloads: {}", sizes(&service));
        }
    }
    eprintln!("after {RELOADS} reloads: {}", sizes(&service));
    // those of exchanges that are open at the moment come and go; and a thread has one more, for its dormant connections,
    // once there are some
    wait_for("as many descriptors as before", || {
        let (now, before) = (descriptors(&service), before?);
        (now.0 == before.0 && now.1 <= before.1 + THREADS).then_some(())
    });
    crowd.assert_tunnels_run();
    let tally = crowd.end();
    eprintln!("{tally}");
    tally.assert_unseen();
}

/// Of supervisor and worker, at a moment when the supervisor is asked nothing.
fn descriptors(service: &Service<'_>) -> (usize, usize) {
    let (_, worker) = service.settled();
    (inside::descriptors(service.pid()), inside::descriptors(worker))
}

fn sizes(service: &Service<'_>) -> String {
    let (_, worker) = service.settled();
    let of = |pid| format!("{} descriptors, {} KiB", inside::descriptors(pid), inside::memory(pid));
    format!("supervisor {}; worker {}", of(service.pid()), of(worker))
}
