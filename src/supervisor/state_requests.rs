//! Passes the state of one generation on to the next one, without reading it: which generation asks, which was asked,
//! and the deadline for the answer.
//!
//! ```text
//! asks ──another one can tell──▶ waits ──State─────────────▶ answered, with the saved state
//!  │                               │
//!  │                               └──late, gone, or empty─▶ answered, with the last state
//!  └──no other one serves──────────────────────────────────▶ answered, with the last state
//! ```
//! The last state is what a serving generation reported unasked ([`LastState`]); without any the answer is empty.
//! An asker that exited is forgotten; an answer to a generation that does not wait any more is dropped.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::generation::{Generation, GenerationState, Purpose};
use super::last_state::LastState;
use crate::control::payload::Payload;
use crate::moment;

/// The generations that wait for an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StateRequests {
    waiting: Vec<StateRequest>,
    /// Its file is found again after an upgrade.
    #[serde(skip)]
    pub last: LastState,
}

#[derive(Debug, Serialize, Deserialize)]
struct StateRequest {
    asker: u64,
    asked: u64,
    #[serde(with = "moment")]
    until: Instant,
    /// A generation that served is being replaced: an empty answer is logged.
    matters: bool,
}

/// What the supervisor must do.
#[derive(Debug)]
pub enum StateStep {
    /// Ask this generation for what it knows.
    Ask(u64),
    /// Answer this generation.
    Answer {
        /// The asker.
        asker: u64,
        /// The state of the other one.
        state: Option<Payload>,
        /// Why there is none, if one was expected.
        missing: Option<String>,
    },
}

impl From<LastState> for StateRequests {
    fn from(last: LastState) -> Self {
        Self { waiting: Vec::new(), last }
    }
}

impl StateRequests {
    /// Generation `asker` asks. `list` has every generation, oldest first.
    pub fn ask(&mut self, asker: u64, list: &[Generation], now: Instant) -> StateStep {
        self.waiting.retain(|one| one.asker != asker);
        let matters = list.iter().any(|one| one.number == asker && one.purpose == Purpose::Reload);
        // a replacement is made because none serves: parked and draining ones know less than the one that did
        let knows_less = |one: u64| !matters || !list.iter().any(|other| other.number == one && other.accepts());
        let asked = best_informed(asker, list);
        if asked.is_none_or(knows_less)
            && let Some(state) = self.last.give()
        {
            return StateStep::Answer { asker, state: Some(state), missing: None };
        }
        let Some(asked) = asked else {
            let missing = matters.then(|| "no generation serves".to_owned());
            return StateStep::Answer { asker, state: None, missing };
        };
        self.waiting.push(StateRequest { asker, asked, until: now + PATIENCE, matters });
        StateStep::Ask(asked)
    }

    /// The state of generation `from`.
    pub fn on_state(&mut self, from: u64, state: Option<&Payload>) -> Vec<StateStep> {
        let answered = self.take(|one| one.asked == from);
        let step = |one: StateRequest| match state.and_then(|state| state.try_clone().ok()) {
            // each asker has a descriptor of its own
            Some(state) => StateStep::Answer { asker: one.asker, state: Some(state), missing: None },
            None => self.without(&one, "could not tell what it knows"),
        };
        answered.into_iter().map(step).collect()
    }

    /// Generation `number` exited, or will not answer any more.
    pub fn on_exit(&mut self, number: u64) -> Vec<StateStep> {
        self.waiting.retain(|one| one.asker != number);
        let left = self.take(|one| one.asked == number);
        left.into_iter().map(|one| self.without(&one, "ended before it told what it knows")).collect()
    }

    /// Gives up on late answers.
    pub fn expire(&mut self, now: Instant) -> Vec<StateStep> {
        let late = self.take(|one| one.until <= now);
        late.into_iter().map(|one| self.without(&one, "did not tell what it knows in time")).collect()
    }

    /// When [`StateRequests::expire`] is due.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.waiting.iter().map(|one| one.until).min()
    }

    /// The answer to an asker that waited in vain, because of the generation that was asked.
    fn without(&mut self, one: &StateRequest, why: &str) -> StateStep {
        let state = self.last.give();
        let missing = (one.matters && state.is_none()).then(|| format!("generation {} {why}", one.asked));
        StateStep::Answer { asker: one.asker, state, missing }
    }

    fn take(&mut self, which: impl Fn(&StateRequest) -> bool) -> Vec<StateRequest> {
        self.waiting.extract_if(.., |one| which(one)).collect()
    }
}

/// The generation that knows most: the one that serves; else the one that did last, which still checks its servers.
fn best_informed(asker: u64, list: &[Generation]) -> Option<u64> {
    let rank = |one: &Generation| match one.state {
        _ if one.number == asker || one.closed.is_some() => None,
        GenerationState::Entering { .. }
        | GenerationState::Serving { .. }
        | GenerationState::Yielding
        | GenerationState::Resuming { .. } => Some(2),
        GenerationState::Withdrawing { .. } | GenerationState::Parking { .. } | GenerationState::Parked => Some(1),
        GenerationState::Draining { .. } => Some(0),
        GenerationState::Starting { .. } | GenerationState::Dying { .. } => None,
    };
    let knows = list.iter().filter_map(|one| Some((rank(one)?, one.number)));
    knows.max().map(|(_, number)| number)
}

/// How long a generation may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn generation(number: u64, purpose: Purpose, state: GenerationState) -> Generation {
        let now = Instant::now();
        Generation { state, ..Generation::new(number, purpose, now, now) }
    }

    /// 1 drains, 2 serves, 3 starts for a reload.
    fn list() -> [Generation; 3] {
        let until = Instant::now();
        [
            generation(1, Purpose::First, GenerationState::Draining { until }),
            generation(2, Purpose::Reload, GenerationState::Serving { probation: None }),
            generation(3, Purpose::Reload, GenerationState::Starting { until }),
        ]
    }

    fn state() -> Payload {
        Payload::new(b"state").expect("memfd")
    }

    /// The askers that were answered, whether with a state, and what is missing.
    fn answers(steps: Vec<StateStep>) -> Vec<(u64, bool, Option<String>)> {
        let answer = |step| match step {
            StateStep::Answer { asker, state, missing } => (asker, state.is_some(), missing),
            StateStep::Ask(number) => panic!("asks {number}"),
        };
        steps.into_iter().map(answer).collect()
    }

    #[test]
    fn the_one_that_serves_is_asked_and_its_answer_passed_on() {
        let mut requests = StateRequests::default();
        assert!(matches!(requests.ask(3, &list(), Instant::now()), StateStep::Ask(2)));
        assert_eq!(answers(requests.on_state(1, Some(&state()))), [], "it was not asked");
        assert_eq!(answers(requests.on_state(2, Some(&state()))), [(3, true, None)]);
        assert_eq!(answers(requests.on_state(2, Some(&state()))), [], "no asker waits any more");
        assert_eq!(requests.next_expiry(), None);
    }

    #[test]
    fn without_an_answer_the_asker_goes_on_and_hears_why() {
        let now = Instant::now();
        let expect = |steps, why: &str| assert_eq!(answers(steps), [(3, false, Some(format!("generation 2 {why}")))]);
        let mut requests = StateRequests::default();
        requests.ask(3, &list(), now);
        assert_eq!(answers(requests.expire(now)), []);
        expect(requests.expire(now + PATIENCE), "did not tell what it knows in time");
        requests.ask(3, &list(), now);
        expect(requests.on_exit(2), "ended before it told what it knows");
        requests.ask(3, &list(), now);
        expect(requests.on_state(2, None), "could not tell what it knows");
    }

    #[test]
    fn where_no_generation_serves_the_draining_one_is_asked() {
        let until = Instant::now();
        let crashed = [
            generation(1, Purpose::First, GenerationState::Draining { until }),
            generation(2, Purpose::Reload, GenerationState::Dying { until: None }),
            generation(3, Purpose::Respawn, GenerationState::Starting { until }),
        ];
        assert!(matches!(StateRequests::default().ask(3, &crashed, until), StateStep::Ask(1)));
        let answer = StateRequests::default().ask(3, &crashed[1..], until);
        assert_eq!(answers(vec![answer]), [(3, false, None)], "of a worker that died no state is expected");
        let first = [generation(1, Purpose::First, GenerationState::Starting { until })];
        assert_eq!(answers(vec![StateRequests::default().ask(1, &first, until)]), [(1, false, None)]);
    }

    #[test]
    fn the_last_memory_is_given_at_once_where_none_serves_and_in_the_end_where_the_one_that_does_says_nothing() {
        let until = Instant::now();
        let mut requests = StateRequests::default();
        requests.last.keep(&state()).expect("kept");
        let with_memory = |steps| assert_eq!(answers(steps), [(3, true, None)]);
        let crashed = [
            generation(1, Purpose::First, GenerationState::Draining { until }),
            generation(2, Purpose::Reload, GenerationState::Resuming { until }),
            generation(3, Purpose::Respawn, GenerationState::Starting { until }),
        ];
        with_memory(vec![requests.ask(3, &crashed, until)]);
        let first = [generation(3, Purpose::First, GenerationState::Starting { until })];
        with_memory(vec![requests.ask(3, &first, until)]);
        requests.last.keep(&state()).expect("kept");
        assert!(matches!(requests.ask(3, &list(), until), StateStep::Ask(2)), "a reload asks the one that serves");
        with_memory(requests.expire(until + PATIENCE));
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Asks(u64),
        Tells(u64, bool),
        Goes(u64),
        Passes(u64),
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            (1..4_u64).prop_map(Happening::Asks),
            (1..4_u64, any::<bool>()).prop_map(|(number, whole)| Happening::Tells(number, whole)),
            (1..4_u64).prop_map(Happening::Goes),
            (0..1200_u64).prop_map(Happening::Passes),
        ]
    }

    proptest! {
        #[test]
        fn every_asker_is_answered_once_or_gone(happenings in prop::collection::vec(happening(), 0..40)) {
            let (mut requests, mut now) = (StateRequests::default(), Instant::now());
            let mut waiting: Vec<u64> = Vec::new();
            for happening in happenings {
                let steps = match happening {
                    Happening::Asks(number) => {
                        waiting.retain(|one| *one != number);
                        waiting.push(number);
                        vec![requests.ask(number, &list(), now)]
                    }
                    Happening::Tells(number, whole) => requests.on_state(number, whole.then(state).as_ref()),
                    Happening::Goes(number) => {
                        waiting.retain(|one| *one != number);
                        requests.on_exit(number)
                    }
                    Happening::Passes(millis) => {
                        now += Duration::from_millis(millis);
                        requests.expire(now)
                    }
                };
                for step in steps {
                    if let StateStep::Answer { asker, .. } = step {
                        prop_assert!(waiting.contains(&asker), "{asker} was answered unasked");
                        waiting.retain(|one| *one != asker);
                    }
                }
                prop_assert_eq!(waiting.is_empty(), requests.next_expiry().is_none());
            }
            requests.expire(now + PATIENCE);
            prop_assert_eq!(requests.next_expiry(), None, "no request waits for ever");
        }
    }
}
