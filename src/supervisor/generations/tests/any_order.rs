//! Whatever happens, in any order: what must always hold.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Something that may happen at any time.
#[derive(Clone, Debug)]
enum Happening {
    Ask,
    AskToConfirm,
    Confirm,
    Load(usize),
    BeUnfit(usize),
    Weigh(u64),
    /// The link to its successor broke.
    WantSuccessor(usize),
    Pass(u64),
    /// A worker does what it was last told to, or becomes ready.
    Obey(usize),
    Refuse(usize),
    Die(usize),
    Close(usize),
    AnswerPings,
    /// The supervisor continues as another program.
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
        1 => (0..6_usize).prop_map(Happening::WantSuccessor),
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
    /// The draining generations with their successors, as the workers were told.
    successors: HashMap<u64, u64>,
}

impl Play {
    fn new() -> Self {
        Self {
            machine: Machine::serving(),
            asked: 0,
            answered: Vec::new(),
            reloading: false,
            over: false,
            successors: HashMap::new(),
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
                Some(Input::ReloadRequested(Caller::Client(self.asked), conditions))
            }
            Happening::Confirm => {
                self.asked += 1;
                Some(Input::Confirmed(self.asked))
            }
            Happening::Load(index) => {
                let message = ToSupervisor::Loaded { config_hash: "good".to_owned(), may_bind: None };
                pick(*index).map(|(number, _)| Input::Message(number, message))
            }
            Happening::BeUnfit(index) => {
                pick(*index).map(|(number, _)| Input::Message(number, ToSupervisor::Unfit { why: "broken".to_owned() }))
            }
            Happening::Weigh(each) => Some(Input::MemoryUsed(list.iter().map(|one| (one.number, *each)).collect())),
            Happening::WantSuccessor(index) => pick(*index).map(|(number, _)| {
                self.successors.remove(&number);
                Input::Message(number, ToSupervisor::Pong(Pong { wants_successor: true, ..pong(0) }))
            }),
            Happening::Pass(millis) => {
                self.machine.now += Duration::from_millis(*millis);
                Some(Input::Tick)
            }
            Happening::Obey(index) => pick(*index).map(|(number, state)| obey(number, state)),
            Happening::Refuse(index) => pick(*index).map(|(number, _)| Input::Message(number, refused(Cause::Config))),
            Happening::Die(index) => pick(*index).map(|(number, _)| Input::Exited(number, "died".to_owned())),
            Happening::Close(index) => pick(*index).map(|(number, _)| Input::ChannelClosed(number)),
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
                Action::Send(number, ToWorker::Drain { timeout: None }) => {
                    let list = self.machine.generations.list();
                    // it may have been killed in the same breath
                    let heard = list.iter().any(|one| one.number == *number && one.is_draining());
                    let successor = heard && list.iter().any(|one| can_inherit(one, *number));
                    assert!(
                        !successor || self.successors.contains_key(number),
                        "{number} drains and was told of no successor"
                    );
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
        let could = list.iter().any(|successor| can_inherit(successor, from));
        if find(from).successor != Some(to) || !could {
            // more than one thing happened at once: only the last link counts, or no generation is left that could inherit
            self.successors.insert(from, to);
            return;
        }
        assert!(can_inherit(find(to), from), "{to} cannot inherit from {from}: {list:?}");
        let parked = list.iter().any(|one| one.is_there() && one.state == GenerationState::Parked);
        assert!(!parked || find(to).state_name() == "parked", "{to} may yet fail, and inherits: {list:?}");
        assert_ne!(self.successors.insert(from, to), Some(to), "linked twice");
    }

    /// Each draining generation has a successor while there is a generation that can be one.
    fn check_successors(&self, list: &[Generation]) {
        for one in list.iter().filter(|one| one.is_draining()) {
            let told = self.successors.get(&one.number);
            let living =
                list.iter().any(|successor| Some(&successor.number) == told && can_inherit(successor, one.number));
            let could = list.iter().any(|successor| can_inherit(successor, one.number));
            assert!(living || !could, "{} is left with what it holds: {list:?}", one.number);
        }
    }

    fn check(&self) {
        let generations = &self.machine.generations;
        let list = generations.list();
        if generations.phase() == ServicePhase::Running {
            let coming = |one: &Generation| matches!(one.state, GenerationState::Starting { .. });
            let served = list.iter().any(|one| one.is_serving() || coming(one)) || generations.respawn_at().is_some();
            assert!(served, "no generation serves and none will: {list:?}");
            assert_eq!(
                self.reloading,
                generations.is_busy(),
                "systemd waits for a reload that is over, or the reverse"
            );
        }
        if generations.phase() == ServicePhase::Running {
            self.check_successors(list);
        }
        let accepting = list.iter().filter(|one| matches!(one.state, GenerationState::Serving { .. })).count();
        assert!(accepting <= 1, "two serve: {list:?}");
        let owed = list.iter().any(|one| one.proven && one.confirm_by.is_some());
        assert!(!owed, "proven, and not confirmed: {list:?}");
        let living = list.iter().filter(|one| !matches!(one.state, GenerationState::Dying { .. })).count();
        // beside what a reload makes, one in the place of a worker that died
        assert!(living <= GenerationBounds::default().generations + 1, "{living} live: {list:?}");
        let next = generations.next_tick(self.machine.now);
        assert!(next.is_none_or(|next| next > self.machine.now), "the supervisor would spin: {list:?}");
    }

    /// The service ends: every generation was told, none is left.
    fn end(mut self) {
        let actions = self.machine.handle(Input::Stop);
        self.note(&actions);
        while let Some(number) = self.machine.generations.list().first().map(|one| one.number) {
            let actions = self.machine.handle(Input::Exited(number, "exited with status 0".to_owned()));
            self.note(&actions);
        }
        assert!(self.over || self.machine.generations.phase() == ServicePhase::Over);
        self.answered.sort_unstable();
        assert_eq!(self.answered, (1..=self.asked).collect::<Vec<_>>(), "every caller hears one verdict");
        assert!(!self.reloading);
    }
}

fn can_inherit(successor: &Generation, from: u64) -> bool {
    let stands = matches!(
        successor.state,
        GenerationState::Serving { .. } | GenerationState::Parking { .. } | GenerationState::Parked
    );
    successor.number != from && successor.is_there() && stands
}

fn obey(number: u64, state: GenerationState) -> Input {
    let message = match state {
        GenerationState::Starting { .. } => ToSupervisor::Ready(ready()),
        GenerationState::Entering { .. } => ToSupervisor::Serving,
        GenerationState::Parking { .. } | GenerationState::Withdrawing { .. } => ToSupervisor::Parked,
        GenerationState::Resuming { .. } => ToSupervisor::Resumed,
        GenerationState::Draining { .. } | GenerationState::Dying { .. } => {
            return Input::Exited(number, "exited with status 0".to_owned());
        }
        GenerationState::Serving { .. } | GenerationState::Yielding | GenerationState::Parked => return Input::Tick,
    };
    Input::Message(number, message)
}

proptest! {
    #[test]
    fn whatever_happens_a_generation_serves_and_every_caller_gets_one_verdict(events in prop::collection::vec(anything(), 1..60)) {
        let mut play = Play::new();
        for event in &events {
            play.happen(event);
        }
        play.end();
    }
}
