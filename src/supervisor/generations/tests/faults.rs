use super::*;

#[test]
fn when_the_new_generation_dies_in_probation_the_parked_one_resumes() {
    let mut machine = Machine::on_probation();
    let actions = machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
    assert!(actions.iter().any(|action| matches!(action, Action::Log(Event::RolledBack { .. }))));
    assert!(spawned(&actions).is_empty());
    machine.receive(1, ToSupervisor::Resumed);
    assert_eq!(machine.states(), [(1, "serving")]);
    assert!(machine.generations.note().expect("note").contains("rolled back"));
}

#[test]
fn when_the_new_generation_hangs_in_probation_the_parked_one_resumes() {
    let mut machine = Machine::on_probation();
    let actions = machine.pass(secs(3));
    assert!(actions.contains(&Action::Abort(2)));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
}

#[test]
fn when_the_new_generation_dies_before_the_old_one_parked_the_caller_hears_of_it() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.build(2);
    machine.receive(2, ToSupervisor::Serving);
    let actions = machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Failed { .. })]));
    // the answer to the order before that one comes late, and means nothing
    machine.receive(1, ToSupervisor::Parked);
    machine.receive(1, ToSupervisor::Resumed);
    assert_eq!(machine.states(), [(1, "serving")]);
}

#[test]
fn a_generation_that_does_not_park_is_ended_and_the_reload_succeeds() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.build(2);
    machine.receive(2, ToSupervisor::Serving);
    let actions = machine.pass_alive(secs(5));
    assert!(actions.contains(&Action::Abort(1)));
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Serving { .. })]));
    assert_eq!(machine.states(), [(1, "dying"), (2, "serving")]);
}

#[test]
fn a_worker_that_dies_is_replaced_at_once_from_what_proved_good() {
    let mut machine = Machine::serving();
    let actions = machine.handle(Input::Exited(1, "was killed by SIGKILL".to_owned()));
    assert_eq!(spawned(&actions), [(2, Recipe::Proven)]);
    let died =
        |action: &Action| matches!(action, Action::Log(Event::WorkerDied { respawn_in: Some(Duration::ZERO), .. }));
    assert!(actions.iter().any(died), "{actions:?}");
}

#[test]
fn workers_that_die_again_and_again_are_replaced_with_back_off() {
    let mut machine = Machine::serving();
    machine.handle(Input::Exited(1, "died".to_owned()));
    let actions = machine.handle(Input::Exited(2, "died".to_owned()));
    assert!(spawned(&actions).is_empty());
    assert!(spawned(&machine.pass(Duration::from_millis(99))).is_empty());
    assert_eq!(spawned(&machine.pass(Duration::from_millis(1))), [(3, Recipe::Proven)]);
    // one that served for long enough is replaced at once again
    machine.build(3);
    machine.receive(3, ToSupervisor::Serving);
    machine.pass_alive(secs(10));
    assert_eq!(spawned(&machine.handle(Input::Exited(3, "died".to_owned()))).len(), 1);
}

#[test]
fn a_worker_that_hangs_is_replaced_before_it_is_gone() {
    let mut machine = Machine::serving();
    machine.pass(secs(1));
    let actions = machine.pass(secs(10));
    assert!(actions.contains(&Action::Abort(1)));
    assert_eq!(spawned(&actions), [(2, Recipe::Proven)]);
    assert!(machine.pass(secs(2)).contains(&Action::Kill(1)));
}

#[test]
fn a_worker_that_dies_during_a_reload_is_replaced_beside_it_and_the_reload_wins() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::Exited(1, "died".to_owned()));
    assert_eq!(spawned(&actions), [(3, Recipe::Proven)]);
    machine.build(2);
    let actions = machine.receive(2, ToSupervisor::Serving);
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Serving { generation: 2, .. })]));
    let timeout = Some(Duration::ZERO);
    assert_eq!(told(&machine.build(3)), [(3, &ToWorker::Drain { timeout })]);
}

#[test]
fn one_that_dies_as_it_begins_to_serve_is_said_with_the_connections_that_it_had_accepted() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.build(2);
    let inside = Inside { connections: 81, busy: 3 };
    machine.generations.noted(2, Noted { inside, answered: 0 }, machine.now);
    let actions = machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    let [(7, ReloadVerdict::Failed { why })] = verdicts(&actions)[..] else { panic!("{actions:?}") };
    assert!(why.contains("81 connections"), "{why}");
    machine.handle(Input::Exited(1, "was killed by SIGKILL".to_owned()));
    machine.build(3);
    let actions = machine.handle(Input::Exited(3, "was killed by SIGKILL".to_owned()));
    let how = actions.iter().find_map(|action| match action {
        Action::Log(Event::WorkerDied { how, .. }) => Some(how.as_str()),
        _ => None,
    });
    assert!(how.is_some_and(|how| how.starts_with("as it began to serve")), "{how:?}");
}

#[test]
fn one_that_said_its_last_word_and_does_not_exit_is_killed_and_has_drained() {
    let mut machine = Machine::serving();
    machine.handle(Input::Stop);
    machine.receive(1, ToSupervisor::Finished(Finished::default()));
    let actions = machine.pass(secs(10));
    assert!(actions.contains(&Action::Kill(1)) && !died(&actions), "{actions:?}");
    let actions = machine.handle(Input::Exited(1, "was killed by SIGKILL".to_owned()));
    assert!(actions.iter().any(|action| matches!(action, Action::Log(Event::Drained { .. }))), "{actions:?}");
}

#[test]
fn one_that_is_parked_or_drains_and_does_not_answer_is_ended() {
    for (probation, word) in [(secs(60), "parked"), (secs(3), "draining")] {
        let mut machine = Machine::serving();
        machine.generations.settings.probation = probation;
        machine.hand_over(2);
        machine.pass_alive(secs(5));
        assert_eq!(machine.states(), [(1, word), (2, "serving")]);
        let mut actions = Vec::new();
        for _ in 0..12 {
            actions.extend(machine.pass(secs(1)));
            machine.answer_ping(2);
        }
        assert!(actions.contains(&Action::Abort(1)) && died(&actions), "{word}: {actions:?}");
        assert!(machine.pass(secs(2)).contains(&Action::Kill(1)), "it may be stopped");
    }
}

#[test]
fn a_parked_one_that_says_nothing_when_it_is_needed_is_not_waited_for() {
    let mut machine = Machine::on_probation();
    let actions = machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
    assert!(machine.generations.next_tick(machine.now).is_some_and(|at| at <= machine.now + secs(1)));
    let actions = machine.pass(Duration::from_millis(500));
    assert_eq!(spawned(&actions), [(3, Recipe::Proven)]);
    assert_eq!(told(&machine.build(3)), [(3, &ToWorker::Serve)]);
    let actions = machine.receive(3, ToSupervisor::Serving);
    assert_eq!(told(&actions), [(1, &ToWorker::Park)]);
    assert!(machine.pass(secs(5)).contains(&Action::Abort(1)));
    assert_eq!(machine.states(), [(1, "dying"), (3, "serving")]);
}

#[test]
fn a_parked_one_that_resumes_late_serves_and_the_other_one_is_not_needed() {
    let mut machine = Machine::on_probation();
    machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    machine.pass(Duration::from_millis(500));
    machine.receive(1, ToSupervisor::Resumed);
    let timeout = Some(Duration::ZERO);
    assert_eq!(told(&machine.build(3)), [(3, &ToWorker::Drain { timeout })]);
    assert_eq!(machine.states(), [(1, "serving"), (3, "draining")]);
}

#[test]
fn a_replacement_that_hangs_before_it_is_ready_is_replaced_sooner_than_a_reload_is_given_up() {
    let mut machine = Machine::serving();
    machine.handle(Input::Exited(1, "was killed by SIGKILL".to_owned()));
    let actions = machine.pass(secs(10));
    assert!(actions.contains(&Action::Kill(2)), "{actions:?}");
    assert_eq!(spawned(&machine.pass(secs(1))), [(3, Recipe::Proven)]);
}

#[test]
fn one_that_yields_and_hangs_is_ended() {
    let mut machine = Machine::serving();
    machine.receive(1, ToSupervisor::Unfit { why: "a thread ended".to_owned() });
    assert_eq!(machine.generations.list()[0].state, GenerationState::Yielding);
    machine.pass(secs(1));
    assert!(machine.pass(secs(10)).contains(&Action::Abort(1)));
}

#[test]
fn a_worker_that_overruns_its_drain_is_killed() {
    let mut machine = Machine::serving();
    machine.handle(Input::Stop);
    assert!(!machine.pass(Duration::from_millis(9900)).contains(&Action::Kill(1)));
    assert!(machine.pass(Duration::from_millis(100)).contains(&Action::Kill(1)));
}

#[test]
fn a_worker_that_closed_its_channel_and_stays_is_killed() {
    let mut machine = Machine::serving();
    machine.handle(Input::ChannelClosed(1));
    let actions = machine.pass(secs(1));
    assert!(actions.contains(&Action::Kill(1)));
    assert_eq!(spawned(&actions), [(2, Recipe::Proven)]);
}
