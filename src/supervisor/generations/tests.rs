use std::time::{Duration, Instant};

use super::*;
use crate::control::message::{
    BindAddress, Cause, Finished, GenerationBounds, Held, Pong, Refused, RenderedProblem, Serves,
};
use crate::control::request::Conditions;
use crate::control::statistics::Inside;
use crate::supervisor::process::Program;

mod any_order;
mod bounds;
mod faults;
mod probation;
mod reload;
mod successors;

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
        machine.receive(1, ToSupervisor::Serving);
        machine.answer_pings();
        machine
    }

    /// Generation 2 serves on probation, 1 is parked.
    fn on_probation() -> Self {
        let mut machine = Self::serving();
        machine.handle(asked(Caller::Client(7)));
        machine.build(2);
        machine.receive(2, ToSupervisor::Serving);
        machine.receive(1, ToSupervisor::Parked);
        machine
    }

    fn handle(&mut self, input: Input) -> Vec<Action> {
        self.generations.handle(input, self.now)
    }

    fn receive(&mut self, number: u64, message: ToSupervisor) -> Vec<Action> {
        self.handle(Input::Message(number, message))
    }

    /// The worker of `number` starts and becomes ready.
    fn build(&mut self, number: u64) -> Vec<Action> {
        self.handle(Input::Spawned(number, 100 + number as u32, Program::default()));
        let bounds = GenerationBounds { memory: self.memory, ..GenerationBounds::default() };
        self.receive(number, ToSupervisor::Ready(Ready { bounds, ..ready() }))
    }

    /// A reload makes `number`, which takes over from the one before; it is on probation now.
    fn hand_over(&mut self, number: u64) -> Vec<Action> {
        self.handle(asked(Caller::Signal));
        self.build(number);
        let mut actions = self.receive(number, ToSupervisor::Serving);
        actions.extend(self.receive(number - 1, ToSupervisor::Parked));
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
            actions.extend(self.receive(number, ToSupervisor::Pong(pong(ping))));
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
        self.generations.list().iter().map(|one| (one.number, one.state_name())).collect()
    }
}

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn asked(caller: Caller) -> Input {
    Input::ReloadRequested(caller, Conditions::default())
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
        bounds: GenerationBounds::default(),
        serves: Serves { sites: true, tcp: false },
        takes_debug: true,
        takes_admin: true,
        lists_connections: true,
        changes: Vec::new(),
        undoes: Vec::new(),
    }
}

fn pong(number: u64) -> Pong {
    Pong { number, vitals: Default::default(), status: Default::default(), wants_successor: false }
}

fn refused(cause: Cause) -> ToSupervisor {
    let problems = vec![RenderedProblem::plain("one"), RenderedProblem::plain("two")];
    ToSupervisor::Refused(Refused { cause, problems })
}

fn told(actions: &[Action]) -> Vec<(u64, &ToWorker)> {
    let words = actions.iter().filter_map(|action| match action {
        Action::Send(number, word) if !matches!(word, ToWorker::Ping { .. }) => Some((*number, word)),
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

fn verdicts(actions: &[Action]) -> Vec<(u64, &ReloadVerdict)> {
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

fn died(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Log(Event::WorkerDied { .. })))
}

#[test]
fn the_service_is_ready_once_its_first_worker_serves() {
    let mut machine = Machine::new();
    assert_eq!(spawned(&machine.handle(Input::Begin)), [(1, Recipe::Installed)]);
    let actions = machine.build(1);
    assert_eq!(told(&actions), [(1, &ToWorker::Serve)]);
    assert!(!actions.contains(&Action::Notify(Notice::Ready)));
    let actions = machine.receive(1, ToSupervisor::Serving);
    assert!(actions.contains(&Action::Notify(Notice::Ready)) && actions.contains(&Action::Prove(1)));
}

#[test]
fn a_hand_over_goes_by_acknowledgement_and_the_verdict_comes_last() {
    let mut machine = Machine::serving();
    let actions = machine.handle(asked(Caller::Client(7)));
    assert_eq!(spawned(&actions), [(2, Recipe::Installed)]);
    assert!(actions.contains(&Action::Notify(Notice::Reloading)));
    assert_eq!(told(&machine.build(2)), [(2, &ToWorker::Serve)]);
    let actions = machine.receive(2, ToSupervisor::Serving);
    assert_eq!(told(&actions), [(1, &ToWorker::Park)]);
    assert!(verdicts(&actions).is_empty());
    let actions = machine.receive(1, ToSupervisor::Parked);
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Serving { generation: 2, .. })]));
    assert!(actions.contains(&Action::Notify(Notice::Ready)) && !actions.contains(&Action::Prove(2)));
    assert_eq!(machine.states(), [(1, "parked"), (2, "serving")]);
}

#[test]
fn a_refused_reload_leaves_the_old_generation_alone_and_tells_every_problem() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.receive(2, refused(Cause::Config));
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Refused { problems })] if problems.len() == 2));
    assert!(actions.contains(&Action::Notify(Notice::Ready)) && told(&actions).is_empty());
    assert!(machine.generations.note().expect("note").contains("one"));
    machine.handle(Input::Exited(2, "exited with status 78".to_owned()));
    assert_eq!(machine.states(), [(1, "serving")]);
    // and the next one works
    machine.handle(asked(Caller::Client(8)));
    machine.build(3);
    machine.receive(3, ToSupervisor::Serving);
    let actions = machine.receive(1, ToSupervisor::Parked);
    assert!(matches!(verdicts(&actions)[..], [(8, ReloadVerdict::Serving { .. })]));
    assert_eq!(machine.generations.note(), None);
}

#[test]
fn a_worker_that_crashes_at_start_is_a_verdict_that_says_how() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::Exited(2, "was killed by SIGSEGV".to_owned()));
    let [(7, ReloadVerdict::Failed { why })] = &verdicts(&actions)[..] else { panic!("{actions:?}") };
    assert!(why.contains("SIGSEGV"), "{why}");
    assert_eq!(machine.states(), [(1, "serving")]);
}

#[test]
fn a_worker_that_cannot_be_started_is_a_verdict_too() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.handle(Input::SpawnFailed(2, "could not be started: no such file".to_owned()));
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Failed { .. })]));
    assert_eq!(machine.states(), [(1, "serving")]);
}

#[test]
fn a_worker_that_is_not_ready_in_time_is_killed_and_the_caller_told() {
    let mut machine = Machine::serving();
    machine.handle(asked(Caller::Client(7)));
    let actions = machine.pass_alive(secs(30));
    assert!(actions.contains(&Action::Kill(2)));
    assert!(matches!(verdicts(&actions)[..], [(7, ReloadVerdict::Failed { why })] if why.contains("30 s")));
}

#[test]
fn the_parked_generation_drains_when_the_probation_is_over() {
    let mut machine = Machine::on_probation();
    let actions = machine.pass_alive(secs(3));
    assert!(actions.contains(&Action::Prove(2)));
    assert_eq!(told(&actions), [(1, &ToWorker::Drain { timeout: None })]);
    let finished = Finished { finished: 4, moved: 2, cut: 1, status: Default::default() };
    machine.receive(1, ToSupervisor::Finished(finished));
    let actions = machine.handle(Input::Exited(1, "exited with status 0".to_owned()));
    let drained = |action: &Action| matches!(action, Action::Log(Event::Drained { finished: 4, cut: 1, .. }));
    assert!(actions.iter().any(drained), "{actions:?}");
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
    machine.receive(2, ToSupervisor::Serving);
    let actions = machine.receive(1, ToSupervisor::Parked);
    assert!(matches!(verdicts(&actions)[..], [(1, ReloadVerdict::Serving { generation: 2, .. })]));
    assert_eq!(spawned(&actions), [(3, Recipe::Installed)]);
    machine.build(3);
    let actions = machine.receive(3, ToSupervisor::Serving);
    // the one that was parked already goes, the one before becomes what can be gone back to
    assert_eq!(told(&actions), [(2, &ToWorker::Park), (1, &ToWorker::Drain { timeout: None })]);
    let actions = machine.receive(2, ToSupervisor::Parked);
    assert_eq!(verdicts(&actions).iter().map(|(client, _)| *client).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(spawned(&actions).is_empty());
}

#[test]
fn a_generation_taken_back_in_its_own_probation_goes_on_with_it() {
    let mut machine = Machine::on_probation();
    machine.handle(asked(Caller::Client(8)));
    machine.build(3);
    machine.receive(3, ToSupervisor::Serving);
    machine.receive(2, ToSupervisor::Parked);
    machine.handle(Input::Exited(3, "died".to_owned()));
    machine.receive(2, ToSupervisor::Resumed);
    assert!(!machine.generations.list().iter().any(|one| one.number == 2 && one.proven));
    assert!(machine.pass_alive(secs(3)).contains(&Action::Prove(2)));
}

#[test]
fn a_first_configuration_that_is_refused_ends_the_service_with_78() {
    let mut machine = Machine::new();
    machine.handle(Input::Begin);
    let actions = machine.receive(1, refused(Cause::Config));
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
fn a_second_stop_kills_and_no_worker_died_by_that() {
    let mut machine = Machine::serving();
    machine.handle(Input::Stop);
    let actions = machine.handle(Input::Stop);
    assert!(matches!(actions[..], [Action::Log(Event::SupervisorWarning { .. }), Action::Kill(1)]), "{actions:?}");
    let actions = machine.handle(Input::Exited(1, "was killed by SIGKILL".to_owned()));
    assert!(actions.contains(&Action::Exit(0)) && !died(&actions), "{actions:?}");
}

#[test]
fn a_start_that_is_refused_is_tried_once_more_where_a_socket_waits_and_the_mended_one_serves() {
    for mended in [false, true] {
        let mut machine = Machine::new();
        machine.generations.look_again();
        machine.handle(Input::Begin);
        let actions = machine.receive(1, refused(Cause::Config));
        assert!(actions.iter().any(|action| matches!(action, Action::Log(Event::StartRefused { .. }))));
        assert!(!actions.contains(&Action::Exit(78)), "{actions:?}");
        machine.handle(Input::Exited(1, "exited with status 78".to_owned()));
        assert_eq!(machine.generations.next_tick(machine.now), Some(machine.now + secs(1)));
        assert_eq!(spawned(&machine.pass(secs(1))), [(2, Recipe::Installed)]);
        if mended {
            machine.build(2);
            assert!(machine.receive(2, ToSupervisor::Serving).contains(&Action::Notify(Notice::Ready)));
        } else {
            let actions = machine.receive(2, refused(Cause::Config));
            assert!(actions.contains(&Action::Exit(78)));
            assert!(!actions.iter().any(|action| matches!(action, Action::Log(_))), "said already: {actions:?}");
        }
    }
}

#[test]
fn a_socket_is_bound_for_a_worker_that_is_built_and_only_if_its_configuration_names_it() {
    let address = |text: &str| BindAddress::Ip(text.parse().expect("an address"));
    let named = Held { listener: "http".to_owned(), bound: Some(address("[::]:80")) };
    let mut machine = Machine::new();
    machine.handle(Input::Begin);
    machine.receive(1, ToSupervisor::Loaded { config_hash: "good".to_owned(), may_bind: Some(vec![named]) });
    assert!(machine.generations.may_bind(1, "http", &address("[::]:80")));
    assert!(!machine.generations.may_bind(1, "http", &address("[::]:81")));
    assert!(!machine.generations.may_bind(1, "other", &address("[::]:80")));
    machine.build(1);
    assert!(!machine.generations.may_bind(1, "http", &address("[::]:80")), "it has all that it needs");
}

#[test]
fn a_proven_worker_may_note_its_answers_and_is_ended_as_late_as_any_other_when_it_stops_to() {
    let mut machine = Machine::serving();
    let note = |machine: &mut Machine, answered| {
        machine.generations.noted(1, Noted { answered, ..Noted::default() }, machine.now);
    };
    note(&mut machine, 0);
    let asked = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Send(1, ToWorker::Ping { number, may_note: true, .. }) => Some(*number),
            _ => None,
        })
    };
    let mut open = asked(&machine.pass(secs(1))).expect("a ping whose answer may be noted");
    for _ in 0..20 {
        machine.now += secs(1);
        note(&mut machine, open);
        open = asked(&machine.handle(Input::Tick)).expect("the next one a second later");
    }
    let hung = |actions: &[Action]| actions.contains(&Action::Abort(1));
    for _ in 0..9 {
        assert!(machine.generations.next_tick(machine.now).is_some_and(|next| next > machine.now), "no busy loop");
        machine.now += secs(1);
        note(&mut machine, open - 1);
        assert!(!hung(&machine.handle(Input::Tick)));
    }
    machine.now += secs(1);
    note(&mut machine, open - 1);
    assert!(hung(&machine.handle(Input::Tick)), "10 s after the ping");
}

#[test]
fn before_another_program_goes_on_what_may_be_noted_is_asked_for_by_a_message() {
    let mut machine = Machine::serving();
    machine.generations.noted(1, Noted::default(), machine.now);
    machine.pass(secs(1));
    let actions = machine.generations.ask_for_messages(machine.now);
    assert!(matches!(actions[..], [Action::Send(1, ToWorker::Ping { may_note: false, .. })]), "{actions:?}");
    assert!(machine.generations.ask_for_messages(machine.now).is_empty());
}
