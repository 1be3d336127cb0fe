use super::*;

#[test]
fn a_draining_generation_is_linked_to_its_successor_before_it_is_told_to_drain() {
    let mut machine = Machine::on_probation();
    let actions = machine.pass_alive(secs(3));
    let at = |wanted: &Action| actions.iter().position(|action| action == wanted);
    let (link, drain) = (Action::Link { from: 1, to: 2 }, Action::Send(1, ToWorker::Drain { timeout: None }));
    assert!(at(&link).is_some_and(|link| Some(link) < at(&drain)), "{actions:?}");
    assert_eq!(links(&machine.pass_alive(secs(3))), [], "once is enough");
}

#[test]
fn each_proven_generation_becomes_the_successor_of_all_that_drain() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(secs(3));
    machine.hand_over(3);
    let actions = machine.pass_alive(secs(3));
    assert_eq!(links(&actions), [(1, 3), (2, 3)]);
}

#[test]
fn one_superseded_in_its_probation_inherits_until_the_newest_is_proven() {
    let mut machine = Machine::on_probation();
    let actions = machine.hand_over(3);
    assert_eq!(links(&actions), [(1, 2)], "the one that can be gone back to, not the newest");
    assert_eq!(links(&machine.pass_alive(secs(3))), [(1, 3), (2, 3)]);
}

#[test]
fn a_generation_whose_link_broke_is_linked_again_when_it_asks() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(secs(3));
    let wants = |number| ToSupervisor::Pong(Pong { wants_successor: true, ..pong(number) });
    assert_eq!(links(&machine.receive(1, wants(1))), [(1, 2)]);
    assert_eq!(links(&machine.receive(2, wants(1))), [], "it serves");
}

#[test]
fn when_a_successor_dies_the_one_made_in_its_place_inherits() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(secs(3));
    let actions = machine.handle(Input::Exited(2, "died".to_owned()));
    assert_eq!((spawned(&actions), links(&actions)), (vec![(3, Recipe::Proven)], vec![]));
    assert_eq!(links(&machine.build(3)), [], "it accepts nothing yet");
    assert_eq!(links(&machine.receive(3, ToSupervisor::Serving)), [(1, 3)]);
}

#[test]
fn after_a_roll_back_the_one_that_serves_again_inherits() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(secs(3));
    machine.hand_over(3);
    machine.hand_over(4);
    // 2 was the one before, and went when the third came
    let successors = |machine: &Machine| machine.generations.list().iter().map(|one| one.successor).collect::<Vec<_>>();
    assert_eq!(successors(&machine), [Some(3), Some(3), None, None]);
    machine.handle(Input::Exited(4, "died".to_owned()));
    let actions = machine.receive(3, ToSupervisor::Resumed);
    assert_eq!((links(&actions), successors(&machine)), (vec![], vec![Some(3), Some(3), None]), "as before");
}

#[test]
fn when_the_parked_one_dies_the_one_that_serves_inherits_although_unproven() {
    let mut machine = Machine::on_probation();
    machine.hand_over(3);
    let actions = machine.handle(Input::Exited(2, "died".to_owned()));
    assert_eq!(links(&actions), [(1, 3)], "there is nothing to go back to any more");
}

#[test]
fn at_the_end_of_the_service_no_generation_inherits() {
    let mut machine = Machine::on_probation();
    let mut actions = machine.handle(Input::Stop);
    actions.extend(machine.handle(Input::Exited(2, "exited with status 0".to_owned())));
    assert_eq!(links(&actions), []);
}
