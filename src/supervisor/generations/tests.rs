use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::control::message::{Bounds, Cause, Finished, Pong, Problem, Refused};
use crate::control::request::Conditions;
use crate::supervisor::process::Program;

mod bounds;
mod probation;
mod reload;

/// The generations with a clock of their own.
struct Machine {
    generations: Generations,
    now: Instant,
    /// What older generations may use, as every worker says.
    memory: u64,
}

impl Machine {
    fn new() -> Self {
        let settings = Settings { start_timeout: secs(30), probation: secs(3), hang_timeout: secs(10) };
        let now = Instant::now();
        Self { generations: Generations::new(settings, now), now, memory: u64::MAX }
    }

    /// One generation serves.
    fn serving() -> Self {
        let mut machine = Self::new();
        machine.handle(Input::Begin);
        machine.build(1);
        machine.say(1, ToSupervisor::Serving);
        machine.answer_pings();
        machine
    }

    /// Generation 2 serves on probation, 1 is parked.
    fn on_probation() -> Self {
        let mut machine = Self::serving();
        machine.handle(asked(Caller::Client(7)));
        machine.build(2);
        machine.say(2, ToSupervisor::Serving);
        machine.say(1, ToSupervisor::Parked);
        machine
    }

    fn handle(&mut self, input: Input) -> Vec<Action> {
        self.generations.handle(input, self.now)
    }

    fn say(&mut self, number: u64, word: ToSupervisor) -> Vec<Action> {
        self.handle(Input::Said(number, word))
    }

    /// The worker of `number` starts and becomes ready.
    fn build(&mut self, number: u64) -> Vec<Action> {
        self.handle(Input::Spawned(number, 100 + number as u32, Program::default()));
        let bounds = Bounds { memory: self.memory, ..Bounds::default() };
        self.say(number, ToSupervisor::Ready(Ready { bounds, ..ready() }))
    }

    /// A reload makes `number`, which takes over from the one before; it is on probation now.
    fn hand_over(&mut self, number: u64) -> Vec<Action> {
        self.handle(asked(Caller::Signal));
        self.build(number);
        let mut actions = self.say(number, ToSupervisor::Serving);
        actions.extend(self.say(number - 1, ToSupervisor::Parked));
        actions
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.handle(Input::Tick)
    }

    /// Time passes and every worker answers its pings.
    fn pass_alive(&mut self, time: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let until = self.now + time;
        while self.now < until {
            actions.extend(self.pass(Duration::from_millis(500)));
            actions.extend(self.answer_pings());
        }
        actions
    }

    fn answer_pings(&mut self) -> Vec<Action> {
        let asked: Vec<_> = self.generations.list().iter().filter(|one| one.pulse.asked().is_some()).collect();
        let asked: Vec<_> = asked.into_iter().map(|one| one.number).collect();
        asked.into_iter().flat_map(|number| self.answer_ping(number)).collect()
    }

    fn answer_ping(&mut self, number: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        // the number of a ping counts up from 1; only the last is an answer
        for ping in 1..200 {
            actions.extend(self.say(number, ToSupervisor::Pong(pong(ping))));
        }
        actions
    }

    /// All of it is written down and read again, as over an upgrade of the supervisor.
    fn upgrade(&mut self) {
        let before = format!("{:?}", self.generations);
        let written = serde_json::to_string(&self.generations).expect("json");
        self.generations = serde_json::from_str(&written).expect("json");
        assert_eq!(format!("{:?}", self.generations), before);
    }

    fn states(&self) -> Vec<(u64, &'static str)> {
        self.generations.list().iter().map(|one| (one.number, one.word())).collect()
    }
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn asked(caller: Caller) -> Input {
    Input::Asked(caller, Conditions::default())
}

fn ready() -> Ready {
    Ready {
        version: "1".to_owned(),
        summary: "1 listener".to_owned(),
        config_hash: "good".to_owned(),
        warnings: Vec::new(),
        listeners: Vec::new(),
        drain_timeout: secs(30),
        stop_timeout: secs(5),
        bounds: Bounds::default(),
    }
}

fn pong(number: u64) -> Pong {
    Pong { number, vitals: Default::default(), status: serde_json::Value::Null }
}

fn refused(cause: Cause) -> ToSupervisor {
    let problems = vec![Problem::plain("one"), Problem::plain("two")];
    ToSupervisor::Refused(Refused { cause, problems })
}

fn told(actions: &[Action]) -> Vec<(u64, &ToWorker)> {
    let words = actions.iter().filter_map(|action| match action {
        Action::Tell(number, word) if !matches!(word, ToWorker::Ping { .. }) => Some((*number, word)),
        _ => None,
    });
    words.collect()
}

fn links(actions: &[Action]) -> Vec<(u64, u64)> {
    let links = actions.iter().filter_map(|action| match action {
        Action::Link { from, to } => Some((*from, *to)),
        _ => None,
    });
    links.collect()
}

fn verdicts(actions: &[Action]) -> Vec<(u64, &Verdict)> {
    let verdicts = actions.iter().filter_map(|action| match action {
        Action::Answer(client, verdict) => Some((*client, verdict)),
        _ => None,
    });
    verdicts.collect()
}

fn spawned(actions: &[Action]) -> Vec<(u64, Recipe)> {
    let spawns = actions.iter().filter_map(|action| match action {
        Action::Spawn(number, recipe) => Some((*number, *recipe)),
        _ => None,
    });
    spawns.collect()
}

#[test]
fn the_service_is_ready_once_its_first_worker_serves() {
    let mut machine = Machine::new();
    assert_eq!(spawned(&machine.handle(Input::Begin)), [(1, Recipe::Installed)]);
    let actions = machine.build(1);
    assert_eq!(told(&actions), [(1, &ToWorker::Serve)]);
    assert!(!actions.contains(&Action::Notify(Notice::Ready)));
    let actions = machine.say(1, ToSupervisor::Serving);
    assert!(actions.contains(&Action::Notify(Notice::Ready)) && actions.contains(&Action::Prove(1)));
}

#[test]
fn a_hand_over_goes_by_acknowledgement_and_the_verdict_comes_last() {
    let mut machine = Machine::serving();
    let actions = machine.handle(asked(Caller::Client(7)));
    assert_eq!(spawned(&actions), [(2, Recipe::Installed)]);
    assert!(actions.contains(&Action::Notify(Notice::Reloading)));
    assert_eq!(told(&machine.build(2)), [(2, &ToWorker::Serve)]);
    let actions = machine.say(2, ToSupervisor::Serving);
    assert_eq!(told(&actions), [(1, &ToWorker::Park)]);
    assert!(verdicts(&actions).is_empty());
    let actions = machine.say(1, ToSupervisor::Parked);
    assert!(matches!(verdicts(&actions)[..], [(7, Verdict::Serving { generation: 2, .. })]));
    assert!(actions.contains(&Action::Notify(Notice::Ready)) && !actions.contains(&Action::Prove(2)));
    assert_eq!(machine.states(), [(1, "parked"), (2, "serving")]);
}

#[test]
fn a_refused_reload_leaves_the_old_generation_alone_and_tells_every_problem() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.say(2, refused(Cause::Config));
    assert!(matches!(verdicts(&actions)[..], [(7, Verdict::Refused { problems })] if problems.len() == 2));
    assert!(actions.contains(&Action::Notify(Notice::Ready)) && told(&actions).is_empty());
    assert!(machine.generations.note().expect("note").contains("one"));
    machine.handle(Input::Exited(2, "exited with status 78".to_owned()));
    assert_eq!(machine.states(), [(1, "serving")]);
    // and the next one works
    machine.handle(asked(Caller::Client(8)));
    machine.build(3);
    machine.say(3, ToSupervisor::Serving);
    let actions = machine.say(1, ToSupervisor::Parked);
    assert!(matches!(verdicts(&actions)[..], [(8, Verdict::Serving { .. })]));
    assert_eq!(machine.generations.note(), None);
}

#[test]
fn a_worker_that_crashes_at_start_is_a_verdict_that_says_how() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::Exited(2, "was killed by SIGSEGV".to_owned()));
    let [(7, Verdict::Failed { why })] = &verdicts(&actions)[..] else { panic!("{actions:?}") };
    assert!(why.contains("SIGSEGV"), "{why}");
    assert_eq!(machine.states(), [(1, "serving")]);
}

#[test]
fn a_worker_that_cannot_be_started_is_a_verdict_too() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::SpawnFailed(2, "could not be started: no such file".to_owned()));
    assert!(matches!(verdicts(&actions)[..], [(7, Verdict::Failed { .. })]));
    assert_eq!(machine.states(), [(1, "serving")]);
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed_and_the_caller_told() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.pass_alive(secs(30));
    assert!(actions.contains(&Action::Kill(2)));
    assert!(matches!(verdicts(&actions)[..], [(7, Verdict::Failed { why })] if why.contains("30 s")));
}

#[test]
fn the_parked_generation_drains_when_the_probation_is_over() {
    let mut machine = Machine::on_probation();
    let actions = machine.pass_alive(secs(3));
    assert!(actions.contains(&Action::Prove(2)));
    assert_eq!(told(&actions), [(1, &ToWorker::Drain { timeout: None })]);
    let finished = Finished { finished: 4, moved: 2, cut: 1, status: serde_json::Value::Null };
    machine.say(1, ToSupervisor::Finished(finished));
    let actions = machine.handle(Input::Exited(1, "exited with status 0".to_owned()));
    let drained = |action: &Action| matches!(action, Action::Log(Event::Drained { finished: 4, cut: 1, .. }));
    assert!(actions.iter().any(drained), "{actions:?}");
}

#[test]
fn who_drains_is_linked_to_its_heir_before_it_is_told_to_drain() {
    let mut machine = Machine::on_probation();
    let actions = machine.pass_alive(secs(3));
    let at = |wanted: &Action| actions.iter().position(|action| action == wanted);
    let (link, drain) = (Action::Link { from: 1, to: 2 }, Action::Tell(1, ToWorker::Drain { timeout: None }));
    assert!(at(&link).is_some_and(|link| Some(link) < at(&drain)), "{actions:?}");
    assert_eq!(links(&machine.pass_alive(secs(3))), [], "once is enough");
}

#[test]
fn each_proven_generation_becomes_the_heir_of_all_that_drain() {
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
fn when_an_heir_dies_the_one_made_in_its_place_inherits() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(secs(3));
    let actions = machine.handle(Input::Exited(2, "died".to_owned()));
    assert_eq!((spawned(&actions), links(&actions)), (vec![(3, Recipe::Proven)], vec![]));
    assert_eq!(links(&machine.build(3)), [], "it accepts nothing yet");
    assert_eq!(links(&machine.say(3, ToSupervisor::Serving)), [(1, 3)]);
}

#[test]
fn after_a_roll_back_the_one_that_serves_again_inherits() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(secs(3));
    machine.hand_over(3);
    machine.hand_over(4);
    // 2 was the one before, and went when the third came
    let heirs = |machine: &Machine| machine.generations.list().iter().map(|one| one.heir).collect::<Vec<_>>();
    assert_eq!(heirs(&machine), [Some(3), Some(3), None, None]);
    machine.handle(Input::Exited(4, "died".to_owned()));
    let actions = machine.say(3, ToSupervisor::Resumed);
    assert_eq!((links(&actions), heirs(&machine)), (vec![], vec![Some(3), Some(3), None]), "as before");
}

#[test]
fn when_the_parked_one_dies_the_one_that_serves_inherits_although_unproven() {
    let mut machine = Machine::on_probation();
    machine.hand_over(3);
    let actions = machine.handle(Input::Exited(2, "died".to_owned()));
    assert_eq!(links(&actions), [(1, 3)], "there is nothing to go back to any more");
}

#[test]
fn at_the_end_of_the_service_nobody_inherits() {
    let mut machine = Machine::on_probation();
    let mut actions = machine.handle(Input::Stop);
    actions.extend(machine.handle(Input::Exited(2, "exited with status 0".to_owned())));
    assert_eq!(links(&actions), []);
}

#[test]
fn the_probation_is_not_over_before_every_thread_answered() {
    let mut machine = Machine::on_probation();
    machine.pass_alive(Duration::from_millis(2500));
    machine.now += Duration::from_millis(500);
    assert!(!machine.handle(Input::Tick).contains(&Action::Prove(2)));
    let actions = machine.answer_ping(2);
    assert!(actions.contains(&Action::Prove(2)), "{actions:?}");
}

#[test]
fn when_the_new_generation_dies_in_probation_the_parked_one_resumes() {
    let mut machine = Machine::on_probation();
    let actions = machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
    assert!(actions.iter().any(|action| matches!(action, Action::Log(Event::RolledBack { .. }))));
    assert!(spawned(&actions).is_empty());
    machine.say(1, ToSupervisor::Resumed);
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
    machine.say(2, ToSupervisor::Serving);
    let actions = machine.handle(Input::Exited(2, "was killed by SIGKILL".to_owned()));
    assert_eq!(told(&actions), [(1, &ToWorker::Resume)]);
    assert!(matches!(verdicts(&actions)[..], [(7, Verdict::Failed { .. })]));
    // the answer to the order before that one comes late, and means nothing
    machine.say(1, ToSupervisor::Parked);
    machine.say(1, ToSupervisor::Resumed);
    assert_eq!(machine.states(), [(1, "serving")]);
}

#[test]
fn a_generation_that_does_not_park_is_ended_and_the_reload_succeeds() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    machine.build(2);
    machine.say(2, ToSupervisor::Serving);
    let actions = machine.pass_alive(secs(5));
    assert!(actions.contains(&Action::Abort(1)));
    assert!(matches!(verdicts(&actions)[..], [(7, Verdict::Serving { .. })]));
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
    machine.say(3, ToSupervisor::Serving);
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
fn the_service_is_sound_while_workers_answer_or_are_on_their_way() {
    let mut machine = Machine::serving();
    machine.pass_alive(secs(60));
    assert!(machine.generations.is_sound(machine.now));
    machine.pass(secs(1));
    assert!(!machine.generations.is_sound(machine.now + secs(10)));
    machine.pass(secs(10));
    assert!(machine.generations.is_sound(machine.now));
}

#[test]
fn callers_that_come_during_a_reload_share_the_next_one() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(1)));
    for client in [2, 3, 4] {
        assert!(spawned(&machine.handle(asked(Caller::Client(client)))).is_empty());
    }
    machine.build(2);
    machine.say(2, ToSupervisor::Serving);
    let actions = machine.say(1, ToSupervisor::Parked);
    assert!(matches!(verdicts(&actions)[..], [(1, Verdict::Serving { generation: 2, .. })]));
    assert_eq!(spawned(&actions), [(3, Recipe::Installed)]);
    machine.build(3);
    let actions = machine.say(3, ToSupervisor::Serving);
    // the one that was parked already goes, the one before becomes what can be gone back to
    assert_eq!(told(&actions), [(2, &ToWorker::Park), (1, &ToWorker::Drain { timeout: None })]);
    let actions = machine.say(2, ToSupervisor::Parked);
    assert_eq!(verdicts(&actions).iter().map(|(client, _)| *client).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(spawned(&actions).is_empty());
}

#[test]
fn a_generation_taken_back_in_its_own_probation_goes_on_with_it() {
    let mut machine = Machine::on_probation();
    machine.handle(asked(Caller::Client(8)));
    machine.build(3);
    machine.say(3, ToSupervisor::Serving);
    machine.say(2, ToSupervisor::Parked);
    machine.handle(Input::Exited(3, "died".to_owned()));
    machine.say(2, ToSupervisor::Resumed);
    assert!(!machine.generations.list().iter().any(|one| one.number == 2 && one.proven));
    assert!(machine.pass_alive(secs(3)).contains(&Action::Prove(2)));
}

#[test]
fn a_worker_that_dies_during_a_reload_is_replaced_beside_it_and_the_reload_wins() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::Exited(1, "died".to_owned()));
    assert_eq!(spawned(&actions), [(3, Recipe::Proven)]);
    machine.build(2);
    let actions = machine.say(2, ToSupervisor::Serving);
    assert!(matches!(verdicts(&actions)[..], [(7, Verdict::Serving { generation: 2, .. })]));
    let timeout = Some(Duration::ZERO);
    assert_eq!(told(&machine.build(3)), [(3, &ToWorker::Drain { timeout })]);
}

#[test]
fn a_first_configuration_that_is_refused_ends_the_service_with_78() {
    let mut machine = Machine::new();
    machine.handle(Input::Begin);
    let actions = machine.say(1, refused(Cause::Config));
    assert!(actions.contains(&Action::Exit(78)));
    assert!(actions.iter().any(|action| matches!(action, Action::Log(Event::StartRefused { .. }))));
}

#[test]
fn a_first_worker_that_fails_for_another_reason_ends_the_service_with_1() {
    let mut machine = Machine::new();
    machine.handle(Input::Begin);
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::Exited(1, "exited with status 1".to_owned()));
    assert!(actions.contains(&Action::Exit(1)));
    assert_eq!(verdicts(&actions).len(), 1);
}

#[test]
fn at_stop_every_generation_finishes_and_then_the_service_ends() {
    let mut machine = Machine::on_probation();
    let actions = machine.handle(Input::Stop);
    let stop = ToWorker::Stop { timeout: None };
    assert_eq!(told(&actions), [(1, &stop), (2, &stop)]);
    assert!(actions.contains(&Action::Notify(Notice::Stopping)));
    machine.handle(Input::Exited(1, "exited with status 0".to_owned()));
    let actions = machine.handle(Input::Exited(2, "exited with status 0".to_owned()));
    assert!(actions.contains(&Action::Exit(0)) && spawned(&actions).is_empty());
}

#[test]
fn a_second_stop_kills() {
    let mut machine = Machine::serving();
    machine.handle(Input::Stop);
    assert_eq!(machine.handle(Input::Stop), [Action::Kill(1)]);
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
    machine.handle(Input::Closed(1));
    let actions = machine.pass(secs(1));
    assert!(actions.contains(&Action::Kill(1)));
    assert_eq!(spawned(&actions), [(2, Recipe::Proven)]);
}

/// Something that may happen at any time.
#[derive(Clone, Debug)]
enum Happening {
    Ask,
    AskToConfirm,
    Confirm,
    Load(usize),
    BeUnfit(usize),
    Weigh(u64),
    Pass(u64),
    /// A worker does what it was last told to, or becomes ready.
    Obey(usize),
    Refuse(usize),
    Die(usize),
    Close(usize),
    AnswerPings,
    /// The supervisor goes on as another program.
    Upgrade,
}

fn anything() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::Ask),
        1 => Just(Happening::AskToConfirm),
        1 => Just(Happening::Confirm),
        1 => (0..6_usize).prop_map(Happening::Load),
        1 => (0..6_usize).prop_map(Happening::BeUnfit),
        1 => (0..200_u64).prop_map(Happening::Weigh),
        3 => (1..4000_u64).prop_map(Happening::Pass),
        12 => (0..6_usize).prop_map(Happening::Obey),
        1 => (0..6_usize).prop_map(Happening::Refuse),
        2 => (0..6_usize).prop_map(Happening::Die),
        1 => (0..6_usize).prop_map(Happening::Close),
        4 => Just(Happening::AnswerPings),
        1 => Just(Happening::Upgrade),
    ]
}

/// Plays the workers and the callers, and checks what must always hold.
struct Play {
    machine: Machine,
    asked: u64,
    answered: Vec<u64>,
    reloading: bool,
    over: bool,
    /// Who drains, with its heir, as the workers were told.
    heirs: HashMap<u64, u64>,
}

impl Play {
    fn new() -> Self {
        Self {
            machine: Machine::serving(),
            asked: 0,
            answered: Vec::new(),
            reloading: false,
            over: false,
            heirs: HashMap::new(),
        }
    }

    fn happen(&mut self, event: &Happening) {
        let list = self.machine.generations.list();
        let pick = |index: usize| list.get(index % list.len().max(1)).map(|one| (one.number, one.state));
        let input = match event {
            Happening::Ask => {
                self.asked += 1;
                Some(asked(Caller::Client(self.asked)))
            }
            Happening::AskToConfirm => {
                self.asked += 1;
                let conditions = Conditions { force: true, confirm: Some(secs(5)) };
                Some(Input::Asked(Caller::Client(self.asked), conditions))
            }
            Happening::Confirm => {
                self.asked += 1;
                Some(Input::Confirmed(self.asked))
            }
            Happening::Load(index) => {
                let word = ToSupervisor::Loaded { config_hash: "good".to_owned() };
                pick(*index).map(|(number, _)| Input::Said(number, word))
            }
            Happening::BeUnfit(index) => {
                pick(*index).map(|(number, _)| Input::Said(number, ToSupervisor::Unfit { why: "broken".to_owned() }))
            }
            Happening::Weigh(each) => Some(Input::Weighed(list.iter().map(|one| (one.number, *each)).collect())),
            Happening::Pass(millis) => {
                self.machine.now += Duration::from_millis(*millis);
                Some(Input::Tick)
            }
            Happening::Obey(index) => pick(*index).map(|(number, state)| obey(number, state)),
            Happening::Refuse(index) => pick(*index).map(|(number, _)| Input::Said(number, refused(Cause::Config))),
            Happening::Die(index) => pick(*index).map(|(number, _)| Input::Exited(number, "died".to_owned())),
            Happening::Close(index) => pick(*index).map(|(number, _)| Input::Closed(number)),
            Happening::AnswerPings => {
                let actions = self.machine.answer_pings();
                self.note(&actions);
                None
            }
            Happening::Upgrade => {
                self.machine.upgrade();
                None
            }
        };
        if let Some(input) = input {
            let actions = self.machine.handle(input);
            self.note(&actions);
        }
        let actions = self.machine.handle(Input::Tick);
        self.note(&actions);
        self.check();
    }

    fn note(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Answer(client, _) => self.answered.push(*client),
                Action::Notify(Notice::Reloading) => self.reloading = true,
                Action::Notify(Notice::Ready) => self.reloading = false,
                Action::Exit(code) => {
                    assert_eq!(*code, 0, "a service that ran never gives up");
                    self.over = true;
                }
                Action::Link { from, to } => self.link(*from, *to),
                Action::Tell(number, ToWorker::Drain { timeout: None }) => {
                    let list = self.machine.generations.list();
                    let heard = list.iter().any(|one| one.number == *number && one.is_there());
                    let heir = heard && list.iter().any(|one| can_inherit(one, *number));
                    assert!(!heir || self.heirs.contains_key(number), "{number} drains and was told of no heir");
                }
                _ => {}
            }
        }
    }

    /// A link leads from one that drains to one that does not; never to itself, nor to one that accepts nothing yet.
    fn link(&mut self, from: u64, to: u64) {
        let list = self.machine.generations.list();
        let find = |number: u64| list.iter().find(|one| one.number == number).expect("linked and not there");
        assert!(find(from).is_draining(), "{from} is linked to {to} and does not drain: {list:?}");
        let could = list.iter().any(|heir| can_inherit(heir, from));
        if find(from).heir != Some(to) || !could {
            // more than one thing happened at once: only the last link counts, or nobody is left who could inherit
            self.heirs.insert(from, to);
            return;
        }
        assert!(can_inherit(find(to), from), "{to} cannot inherit from {from}: {list:?}");
        let parked = list.iter().any(|one| one.is_there() && one.state == State::Parked);
        assert!(!parked || find(to).word() == "parked", "{to} may yet fail, and inherits: {list:?}");
        assert_ne!(self.heirs.insert(from, to), Some(to), "linked twice");
    }

    /// Whoever drains has an heir while there is anybody who could be one.
    fn check_heirs(&self, list: &[Generation]) {
        for one in list.iter().filter(|one| one.is_draining()) {
            let told = self.heirs.get(&one.number);
            let living = list.iter().any(|heir| Some(&heir.number) == told && can_inherit(heir, one.number));
            let could = list.iter().any(|heir| can_inherit(heir, one.number));
            assert!(living || !could, "{} is left with what it holds: {list:?}", one.number);
        }
    }

    fn check(&self) {
        let generations = &self.machine.generations;
        let list = generations.list();
        if generations.phase() == Phase::Running {
            let coming = |one: &Generation| matches!(one.state, State::Starting { .. });
            let served = list.iter().any(|one| one.is_serving() || coming(one)) || generations.respawn_at().is_some();
            assert!(served, "nobody serves and nobody will: {list:?}");
            assert_eq!(
                self.reloading,
                generations.is_busy(),
                "systemd waits for a reload that is over, or the reverse"
            );
        }
        if generations.phase() == Phase::Running {
            self.check_heirs(list);
        }
        let accepting = list.iter().filter(|one| matches!(one.state, State::Serving { .. })).count();
        assert!(accepting <= 1, "two serve: {list:?}");
        let owed = list.iter().any(|one| one.proven && one.confirm_by.is_some());
        assert!(!owed, "proven, and not confirmed: {list:?}");
        let living = list.iter().filter(|one| !matches!(one.state, State::Dying { .. })).count();
        // beside what a reload makes, one in the place of a worker that died
        assert!(living <= Bounds::default().generations + 1, "{living} live: {list:?}");
        let next = generations.next_tick(self.machine.now);
        assert!(next.is_none_or(|next| next > self.machine.now), "the supervisor would spin: {list:?}");
    }

    /// The service ends: everybody was told, nothing is left.
    fn end(mut self) {
        let actions = self.machine.handle(Input::Stop);
        self.note(&actions);
        while let Some(number) = self.machine.generations.list().first().map(|one| one.number) {
            let actions = self.machine.handle(Input::Exited(number, "exited with status 0".to_owned()));
            self.note(&actions);
        }
        assert!(self.over || self.machine.generations.phase() == Phase::Over);
        self.answered.sort_unstable();
        assert_eq!(self.answered, (1..=self.asked).collect::<Vec<_>>(), "every caller hears one verdict");
        assert!(!self.reloading);
    }
}

fn can_inherit(heir: &Generation, from: u64) -> bool {
    let stands = matches!(heir.state, State::Serving { .. } | State::Parking { .. } | State::Parked);
    heir.number != from && heir.is_there() && stands
}

fn obey(number: u64, state: State) -> Input {
    let word = match state {
        State::Starting { .. } => ToSupervisor::Ready(ready()),
        State::Entering { .. } => ToSupervisor::Serving,
        State::Parking { .. } | State::Withdrawing { .. } => ToSupervisor::Parked,
        State::Resuming { .. } => ToSupervisor::Resumed,
        State::Draining { .. } | State::Dying { .. } => {
            return Input::Exited(number, "exited with status 0".to_owned());
        }
        State::Serving { .. } | State::Yielding | State::Parked => return Input::Tick,
    };
    Input::Said(number, word)
}

proptest! {
    #[test]
    fn whatever_happens_somebody_serves_and_every_caller_hears_one_verdict(events in prop::collection::vec(anything(), 1..60)) {
        let mut play = Play::new();
        for event in &events {
            play.happen(event);
        }
        play.end();
    }
}
