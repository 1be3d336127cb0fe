use super::*;

/// Five reloads in a row that all took over; the last generation is on probation.
fn four_living() -> Machine {
    let mut machine = Machine::on_probation();
    machine.hand_over(3);
    machine.hand_over(4);
    assert_eq!(machine.states(), [(1, "draining"), (2, "draining"), (3, "parked"), (4, "serving")]);
    machine
}

#[test]
fn a_reload_that_would_be_one_too_many_waits_until_the_oldest_has_finished() {
    let mut machine = four_living();
    let actions = machine.handle(asked(Caller::Client(7)));
    let stop = ToWorker::Stop { timeout: Some(secs(30)) };
    assert_eq!((told(&actions), spawned(&actions)), (vec![(1, &stop)], vec![]));
    assert!(actions.contains(&Action::Notify(Notice::Reloading)) && machine.generations.is_busy());
    let hurried = |action: &Action| matches!(action, Action::Log(Event::Hurried { generation: 1, .. }));
    assert!(actions.iter().any(hurried), "{actions:?}");
    assert_eq!(told(&machine.handle(Input::Tick)), [], "once is enough");
    let actions = machine.receive(1, ToSupervisor::Finished(Finished::default()));
    assert_eq!(told(&actions), [], "it is as good as gone, and no other one has to hurry");
    let actions = machine.handle(Input::Exited(1, "exited with status 0".to_owned()));
    assert_eq!(spawned(&actions), [(5, Recipe::Installed)]);
}

#[test]
fn the_oldest_is_killed_when_it_does_not_finish_early() {
    let mut machine = four_living();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.pass_alive(secs(35));
    assert!(actions.contains(&Action::Kill(1)), "{actions:?}");
    assert_eq!(spawned(&actions), [(5, Recipe::Installed)]);
}

#[test]
fn a_reload_that_waits_when_the_service_stops_hears_of_it() {
    let mut machine = four_living();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::Stop);
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Failed { .. })]), "{actions:?}");
}

#[test]
fn a_worker_that_died_is_replaced_however_many_there_are() {
    let mut machine = four_living();
    machine.handle(Input::Exited(3, "died".to_owned()));
    let actions = machine.handle(Input::Exited(4, "died".to_owned()));
    assert_eq!(spawned(&actions), [(5, Recipe::Proven)]);
}

#[test]
fn older_generations_that_use_too_much_memory_finish_early_oldest_first() {
    let mut machine = Machine::serving();
    machine.memory = 100;
    machine.hand_over(2);
    machine.hand_over(3);
    machine.hand_over(4);
    assert_eq!(told(&machine.handle(Input::MemoryUsed(vec![(1, 30), (2, 30), (3, 30), (4, 900)]))), []);
    let actions = machine.handle(Input::MemoryUsed(vec![(1, 60), (2, 30), (3, 30), (4, 900)]));
    assert!(matches!(told(&actions)[..], [(1, ToWorker::Stop { .. })]), "{actions:?}");
    assert_eq!(told(&machine.handle(Input::MemoryUsed(vec![(1, 60), (2, 60), (3, 30), (4, 900)]))), []);
    let actions = machine.handle(Input::MemoryUsed(vec![(1, 60), (2, 60), (3, 60), (4, 900)]));
    assert!(matches!(told(&actions)[..], [(2, ToWorker::Stop { .. })]), "{actions:?}");
}

#[test]
fn the_one_that_can_be_gone_back_to_is_not_given_up_for_memory() {
    let mut machine = Machine::serving();
    machine.memory = 100;
    machine.hand_over(2);
    assert_eq!(told(&machine.handle(Input::MemoryUsed(vec![(1, 500), (2, 500)]))), []);
    assert_eq!(machine.states(), [(1, "parked"), (2, "serving")]);
}
