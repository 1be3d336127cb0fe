use super::*;

fn loaded(hash: &str) -> ToSupervisor {
    ToSupervisor::Loaded { config_hash: hash.to_owned(), may_bind: None }
}

fn forced(client: u64) -> Input {
    Input::ReloadRequested(Caller::Client(client), Conditions { force: true, confirm: None })
}

#[test]
fn a_reload_that_changes_nothing_makes_no_generation_and_says_so() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.handle(Input::Spawned(2, 102, Program::default()));
    let actions = machine.receive(2, loaded("good"));
    assert_eq!(told(&actions), [(2, &ToWorker::Stop { timeout: Some(Duration::ZERO) })]);
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Unchanged { generation: 1, .. })]), "{actions:?}");
    assert!(actions.contains(&Action::Notify(Notice::Ready)));
    let actions = machine.handle(Input::Exited(2, "exited with status 0".to_owned()));
    assert_eq!((actions, machine.states()), (vec![], vec![(1, "serving")]));
}

#[test]
fn another_configuration_or_another_program_is_built() {
    for (hash, program) in [("other", Program::default()), ("good", Program::other())] {
        let mut machine = Machine::serving();
        machine.handle(asked(Caller::Client(7)));
        machine.handle(Input::Spawned(2, 102, program));
        assert_eq!(told(&machine.receive(2, loaded(hash))), [(2, &ToWorker::Build)]);
    }
}

#[test]
fn a_forced_reload_is_built_whatever_it_is_made_of() {
    let mut machine = Machine::serving();
    machine.handle(forced(7));
    machine.handle(Input::Spawned(2, 102, Program::default()));
    assert_eq!(told(&machine.receive(2, loaded("good"))), [(2, &ToWorker::Build)]);
}

#[test]
fn a_reload_keeps_what_serves_unless_it_is_forced() {
    let (sites, nothing) = (Serves { sites: true, tcp: false }, Serves::default());
    let mut machine = Machine::serving();
    assert_eq!(machine.generations.keeps(1), nothing, "a start may begin with nothing");
    machine.handle(asked(Caller::Signal));
    machine.upgrade();
    assert_eq!(machine.generations.keeps(2), sites);
    let mut machine = Machine::serving();
    machine.handle(forced(7));
    assert_eq!(machine.generations.keeps(2), nothing);
}

#[test]
fn callers_that_share_a_reload_get_a_generation_if_one_of_them_forces_it() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(1)));
    machine.handle(asked(Caller::Client(2)));
    machine.handle(forced(3));
    machine.handle(asked(Caller::Client(4)));
    machine.handle(Input::Spawned(2, 102, Program::default()));
    machine.receive(2, loaded("good"));
    machine.handle(Input::Spawned(3, 103, Program::default()));
    assert_eq!(told(&machine.receive(3, loaded("good"))), [(3, &ToWorker::Build)]);
}

#[test]
fn a_good_configuration_after_a_refused_one_is_unchanged_and_clears_the_note() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.receive(2, refused(Cause::Config));
    assert!(machine.generations.note().is_some());
    machine.handle(Input::Exited(2, "exited with status 78".to_owned()));
    machine.handle(asked(Caller::Client(8)));
    machine.handle(Input::Spawned(3, 103, Program::default()));
    machine.receive(3, loaded("good"));
    assert_eq!(machine.generations.note(), None);
}

#[test]
fn the_first_worker_and_one_made_anew_are_built_at_once() {
    let mut machine = Machine::new();
    machine.handle(Input::Begin);
    assert_eq!(told(&machine.receive(1, loaded("good"))), [(1, &ToWorker::Build)]);
    machine.build(1);
    machine.receive(1, ToSupervisor::Serving);
    machine.handle(Input::Exited(1, "died".to_owned()));
    machine.handle(Input::Spawned(2, 102, Program::default()));
    assert_eq!(told(&machine.receive(2, loaded("good"))), [(2, &ToWorker::Build)]);
}

#[test]
fn what_is_the_same_as_a_worker_that_just_died_is_built() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.handle(Input::Spawned(2, 102, Program::default()));
    machine.handle(Input::ChannelClosed(1));
    assert_eq!(told(&machine.receive(2, loaded("good"))), [(2, &ToWorker::Build)]);
}
