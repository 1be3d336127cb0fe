use std::path::Path;

use serde_json::{Value, json};

use super::state::{Knowledge, VERSION};
use super::*;
use crate::supervisor::generations::{Generations, Settings};
use crate::supervisor::state_requests::StateRequests;
use crate::supervisor::totals::Totals;

/// A state as this version writes it, but for what `change` does to it.
fn state(change: impl FnOnce(&mut Value)) -> Payload {
    let paths = json!({ "binary": "/usr/bin/segue", "config": "/etc/segue/segue.toml", "run_dir": "/run/segue" });
    let mut workers = json!({ "list": [], "proven": null, "images": {} });
    workers.as_object_mut().expect("object").extend(paths.as_object().expect("object").clone());
    let settings = Settings {
        start_timeout: Duration::from_secs(30),
        probation: Duration::from_secs(3),
        hang_timeout: Duration::from_secs(10),
    };
    let mut state = json!({
        "version": VERSION,
        "program": "0.0.1",
        "pid": 7,
        "descriptors": [5, 6],
        "knowledge": Knowledge {
            generations: Generations::new(settings, Instant::now()),
            state_requests: StateRequests::default(),
            totals: Totals::default(),
        },
        "workers": workers,
        "listeners": { "list": [[{ "listener": "http", "bound": null }, 5]], "proven": null },
        "clients": { "path": "/run/segue/control.sock", "socket": 6, "directory": 8, "last": 0, "connected": [] },
        "talk": { "reloading": false, "unsent": [["READY=1", null]] },
    });
    change(&mut state);
    Payload::new(&serde_json::to_vec(&state).expect("json")).expect("memfd")
}

#[test]
fn a_state_of_this_version_is_read() {
    let state = SupervisorState::read(&state(|_| {}), 7).expect("a state");
    assert_eq!((state.program.as_str(), state.descriptors), ("0.0.1", vec![5, 6]));
}

#[test]
fn a_state_of_a_newer_version_is_refused_by_its_number_whatever_else_it_says() {
    let newer = state(|state| *state = json!({ "version": VERSION + 1, "all": "new" }));
    let fault = SupervisorState::read(&newer, 7).expect_err("newer");
    assert!(matches!(fault, StateError::Version { theirs } if theirs == VERSION + 1), "{fault}");
}

#[test]
fn a_state_of_another_shape_or_of_another_process_is_refused() {
    let without = state(|state| drop(state.as_object_mut().expect("object").remove("listeners")));
    assert!(matches!(SupervisorState::read(&without, 7), Err(StateError::NotUnderstood(_))));
    assert!(matches!(SupervisorState::read(&Payload::new(b"").expect("memfd"), 7), Err(StateError::NotUnderstood(_))));
    assert!(matches!(SupervisorState::read(&state(|_| {}), 8), Err(StateError::OtherProcess { theirs: 7 })));
}

#[test]
fn what_a_newer_program_added_and_can_do_without_is_no_reason_to_refuse() {
    SupervisorState::read(&state(|state| state["knowledge"]["generations"]["added"] = json!(1)), 7).expect("a state");
}

#[test]
fn the_next_program_has_the_arguments_of_this_one_and_one_state() {
    let own = ["segue", "run", "--config", "a", "--take-over=9"].map(OsString::from);
    let next = arguments(own.into_iter(), "--take-over=7");
    assert_eq!(next, ["run", "--config", "a", "--take-over=7"]);
}

fn image(path: &str) -> Image {
    Image::open(Path::new(path)).expect("open")
}

/// Rehearses whatever is wanted, to its end.
fn rehearsed(upgrade: &mut Upgrade, now: Instant) -> Option<UpgradeStep> {
    let Some(UpgradeStep::Rehearse(image)) = upgrade.next(true, now) else { panic!("nothing is wanted") };
    upgrade.rehearse(Rehearsal::start(image, state(|_| {}), now).expect("start"));
    end(upgrade, true, now)
}

/// What is next once the rehearsal is over.
fn end(upgrade: &mut Upgrade, quiet: bool, now: Instant) -> Option<UpgradeStep> {
    let rehearsal = upgrade.rehearsal().expect("a rehearsal");
    let mut watched = [rustix::event::PollFd::new(rehearsal, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut watched, None).expect("poll");
    upgrade.next(quiet, now)
}

#[test]
fn a_program_that_can_go_on_does_so_in_a_quiet_moment_and_in_the_end_in_any() {
    let now = Instant::now();
    let mut upgrade = Upgrade::default();
    upgrade.consider(&image("/bin/true"));
    let Some(UpgradeStep::Rehearse(image)) = upgrade.next(false, now) else { panic!("not wanted") };
    upgrade.rehearse(Rehearsal::start(image, state(|_| {}), now).expect("start"));
    assert!(end(&mut upgrade, false, now).is_none());
    assert_eq!(upgrade.due(), Some(now + PATIENCE));
    assert!(matches!(upgrade.next(true, now), Some(UpgradeStep::Replace(_))));
    assert!(matches!(upgrade.next(false, now + PATIENCE), Some(UpgradeStep::Replace(_))));
}

#[test]
fn the_program_that_runs_is_wanted_no_other() {
    let mut upgrade = Upgrade::default();
    let own = image(std::env::current_exe().expect("a path").to_str().expect("UTF-8"));
    upgrade.consider(&own);
    assert!(upgrade.next(true, Instant::now()).is_none());
    upgrade.consider(&image("/bin/true"));
    upgrade.consider(&own); // gone back to
    assert!(upgrade.next(true, Instant::now()).is_none());
}

#[test]
fn a_program_that_refuses_is_not_tried_again_but_another_is() {
    let now = Instant::now();
    let mut upgrade = Upgrade::default();
    upgrade.consider(&image("/bin/false"));
    let Some(UpgradeStep::Refuse(refused, unable)) = rehearsed(&mut upgrade, now) else { panic!("not refused") };
    assert_eq!(unable, Unable::Refuses("exited with status 1".to_owned()));
    upgrade.refuse(refused, &unable);
    upgrade.consider(&image("/bin/false"));
    assert!(upgrade.next(true, now).is_none());
    upgrade.consider(&image("/bin/true"));
    assert!(matches!(rehearsed(&mut upgrade, now), Some(UpgradeStep::Replace(_))));
}

#[test]
fn a_program_that_something_kept_from_going_on_is_tried_again_once_it_proves_good_again() {
    let now = Instant::now();
    let mut upgrade = Upgrade::default();
    upgrade.consider(&image("/bin/true"));
    upgrade.refuse(image("/bin/true"), &Unable::Fails("was killed by SIGKILL".to_owned()));
    assert!(upgrade.next(true, now).is_none(), "not at once");
    upgrade.consider(&image("/bin/true"));
    assert!(matches!(rehearsed(&mut upgrade, now), Some(UpgradeStep::Replace(_))));
}

#[test]
fn an_upgrade_that_was_given_up_waits_for_nothing() {
    let now = Instant::now();
    let mut upgrade = Upgrade::default();
    upgrade.consider(&image("/bin/true"));
    let Some(UpgradeStep::Rehearse(wanted)) = upgrade.next(true, now) else { panic!("not wanted") };
    upgrade.rehearse(Rehearsal::start(wanted, state(|_| {}), now).expect("start"));
    upgrade.give_up();
    assert!(upgrade.due().is_none() && upgrade.rehearsal().is_none() && upgrade.next(true, now).is_none());
}

#[test]
fn when_another_program_proves_good_meanwhile_that_one_is_rehearsed() {
    let now = Instant::now();
    let mut upgrade = Upgrade::default();
    upgrade.consider(&image("/bin/false"));
    let Some(UpgradeStep::Rehearse(first)) = upgrade.next(true, now) else { panic!("not wanted") };
    upgrade.rehearse(Rehearsal::start(first, state(|_| {}), now).expect("start"));
    let other = image("/bin/true");
    upgrade.consider(&other);
    let next = end(&mut upgrade, true, now);
    assert!(matches!(&next, Some(UpgradeStep::Rehearse(image)) if image.program() == other.program()), "{next:?}");
}
