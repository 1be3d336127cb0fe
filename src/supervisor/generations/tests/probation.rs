use super::*;

fn confirm(client: u64, seconds: u64) -> Input {
    Input::ReloadRequested(Caller::Client(client), Conditions { force: false, confirm: Some(secs(seconds)) })
}

/// Generation 2 serves and is to be confirmed within 60 s, 1 is parked.
fn unconfirmed() -> Machine {
    let mut machine = Machine::serving();
    machine.handle(confirm(7, 60));
    machine.build(2);
    machine.receive(2, ToSupervisor::Serving);
    let actions = machine.receive(1, ToSupervisor::Parked);
    let within = Some(secs(60));
    assert!(
        matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Serving { confirm_within, .. })] if *confirm_within == within)
    );
    machine
}

#[test]
fn a_hang_in_the_last_moment_of_the_probation_is_seen() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(secs(2));
    machine.pass(Duration::from_millis(900));
    machine.answer_pings(); // its last sign of life
    let mut actions = Vec::new();
    for _ in 0..8 {
        actions.extend(machine.pass(Duration::from_millis(500)));
    }
    assert!(!actions.contains(&Action::Prove(2)) && actions.contains(&Action::Abort(2)), "{actions:?}");
    assert!(told(&actions).contains(&(1, &ToWorker::Resume)));
}

#[test]
fn what_is_not_confirmed_in_time_is_gone_back_from_by_acknowledgement() {
    let mut machine = unconfirmed();
    let actions = machine.pass_alive(secs(59));
    assert!(told(&actions).is_empty() && !actions.contains(&Action::Prove(2)), "{actions:?}");
    let actions = machine.pass_alive(secs(1));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
    assert!(actions.iter().any(|action| matches!(action, Action::Log(Event::RolledBack { generation: 1, .. }))));
    assert_eq!(machine.states(), [(1, "resuming"), (2, "yielding")], "it accepts until the other one does");
    assert_eq!(told(&machine.receive(1, ToSupervisor::Resumed)), [(2, &ToWorker::Park)]);
    let actions = machine.receive(2, ToSupervisor::Parked);
    assert_eq!(links(&actions), [(2, 1)]);
    assert_eq!(told(&actions), [(2, &ToWorker::Drain { timeout: None })]);
    assert_eq!(machine.states(), [(1, "serving"), (2, "draining")]);
    assert!(machine.generations.note().expect("note").contains("not confirmed in time"));
}

#[test]
fn what_is_confirmed_stays() {
    let mut machine = unconfirmed();
    machine.pass_alive(secs(10));
    let actions = machine.handle(Input::Confirmed(8));
    assert!(matches!(verdicts(&actions)[..], [(8, ReloadVerdict::Confirmed { generation: 2 })]), "{actions:?}");
    let mut actions = machine.pass_alive(secs(1));
    assert!(actions.contains(&Action::Prove(2)), "its probation was over long ago: {actions:?}");
    actions.extend(machine.pass_alive(secs(60)));
    assert_eq!(told(&actions), [(1, &ToWorker::Drain { timeout: None })]);
}

#[test]
fn what_is_confirmed_within_its_probation_still_has_to_live_through_it() {
    let mut machine = unconfirmed();
    machine.handle(Input::Confirmed(8));
    assert!(!machine.pass_alive(secs(2)).contains(&Action::Prove(2)));
    assert!(machine.pass_alive(secs(1)).contains(&Action::Prove(2)));
}

#[test]
fn where_nothing_waits_to_be_confirmed_that_is_said() {
    let mut machine = Machine::serving();
    let actions = machine.handle(Input::Confirmed(8));
    let [(8, ReloadVerdict::NothingToConfirm { why })] = &verdicts(&actions)[..] else { panic!("{actions:?}") };
    assert!(why.contains("generation 1 serves"), "{why}");
    let mut machine = unconfirmed();
    machine.pass_alive(secs(60));
    let actions = machine.handle(Input::Confirmed(8));
    let [(8, ReloadVerdict::NothingToConfirm { why })] = &verdicts(&actions)[..] else { panic!("{actions:?}") };
    assert!(why.contains("rolled back to generation 1"), "{why}");
}

#[test]
fn a_reload_is_no_confirmation_and_the_confirmed_generation_is_what_is_gone_back_to() {
    let mut machine = unconfirmed();
    machine.pass_alive(secs(10));
    machine.handle(asked(Caller::Client(8)));
    machine.build(3);
    assert_eq!(told(&machine.receive(3, ToSupervisor::Serving)), [(2, &ToWorker::Park)]);
    let actions = machine.receive(2, ToSupervisor::Parked);
    assert_eq!((told(&actions), links(&actions)), (vec![(2, &ToWorker::Drain { timeout: None })], vec![(2, 1)]));
    let within = Some(secs(50));
    assert!(
        matches!(verdicts(&actions)[..], [(8, ReloadVerdict::Serving { confirm_within, .. })] if *confirm_within == within)
    );
    let actions = machine.pass_alive(secs(50));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
}

#[test]
fn an_unconfirmed_generation_that_dies_is_gone_back_from_like_any_other() {
    let mut machine = unconfirmed();
    machine.pass_alive(secs(30));
    let actions = machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
}

#[test]
fn a_worker_that_is_unfit_in_its_probation_is_gone_back_from() {
    let mut machine = Machine::on_probation();
    let actions = machine.receive(2, ToSupervisor::Unfit { why: "a serving thread ended".to_owned() });
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
    assert!(machine.generations.note().expect("note").contains("cannot serve: a serving thread ended"));
    assert_eq!(told(&machine.receive(1, ToSupervisor::Resumed)), [(2, &ToWorker::Park)]);
}

#[test]
fn a_worker_that_is_unfit_before_it_serves_is_a_failed_reload() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.build(2);
    let actions = machine.receive(2, ToSupervisor::Unfit { why: "a thread cannot accept".to_owned() });
    assert!(actions.contains(&Action::Kill(2)));
    assert!(
        matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Failed { why })] if why.contains("cannot accept")),
        "{actions:?}"
    );
    assert_eq!(machine.states(), [(1, "serving"), (2, "dying")]);
}

#[test]
fn a_proven_worker_that_is_unfit_serves_until_another_one_does() {
    let mut machine = Machine::serving();
    machine.pass_alive(secs(60));
    let actions = machine.receive(1, ToSupervisor::Unfit { why: "a serving thread ended".to_owned() });
    assert_eq!((spawned(&actions), told(&actions)), (vec![(2, Recipe::Proven)], vec![]));
    machine.build(2);
    assert_eq!(told(&machine.receive(2, ToSupervisor::Serving)), [(1, &ToWorker::Park)]);
    let actions = machine.receive(1, ToSupervisor::Parked);
    assert!(actions.contains(&Action::Prove(2)) && actions.contains(&Action::Link { from: 1, to: 2 }), "{actions:?}");
    assert_eq!(machine.states(), [(1, "draining"), (2, "serving")]);
}

#[test]
fn when_the_one_gone_back_to_dies_too_the_last_good_one_is_made_again() {
    let mut machine = unconfirmed();
    machine.pass_alive(secs(60));
    let actions = machine.handle(Input::Exited(1, "was killed by SIGKILL".to_owned()));
    assert_eq!(spawned(&actions), [(3, Recipe::Proven)]);
    machine.build(3);
    assert_eq!(told(&machine.receive(3, ToSupervisor::Serving)), [(2, &ToWorker::Park)]);
}

#[test]
fn where_the_confirmed_generation_is_gone_it_is_made_again() {
    let mut machine = unconfirmed();
    machine.handle(Input::Exited(1, "was killed by SIGKILL".to_owned()));
    let actions = machine.pass_alive(secs(60));
    assert_eq!(spawned(&actions), [(3, Recipe::Proven)]);
    assert_eq!(machine.states()[0], (2, "yielding"));
}
