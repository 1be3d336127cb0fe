//! Passes the state of one generation on to the next one, without reading it: which generation asks, which was asked,
//! and the deadline for the answer.
//!
//! ```text
//! asks ──another one can tell──▶ waits ──Snapshot──────────▶ answered, with the memory
//!  │                               │
//!  │                               └──late, gone, or empty─▶ answered, with the last memory
//!  └──no other one serves──────────────────────────────────▶ answered, with the last memory
//! ```
//! The last memory is what a serving generation reported unasked ([`LastMemory`]); without any the answer is empty.
//! An asker that exited is forgotten; an answer to a generation that does not wait any more is dropped.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::generation::{Generation, Purpose, State};
use super::last_memory::LastMemory;
use super::moment;
use crate::control::payload::Payload;

/// The generations that wait for an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Recalls {
    waiting: Vec<Recall>,
    /// Its file is found again after an upgrade.
    #[serde(skip)]
    pub last: LastMemory,
}

#[derive(Debug, Serialize, Deserialize)]
struct Recall {
    asker: u64,
    asked: u64,
    #[serde(with = "moment")]
    until: Instant,
    /// A generation that served is being replaced: an empty answer is logged.
    matters: bool,
}

/// What the supervisor must do.
#[derive(Debug)]
pub enum Step {
    /// Ask this generation for what it knows.
    Ask(u64),
    /// Answer this generation.
    Answer {
        /// The asker.
        asker: u64,
        /// The state of the other one.
        memory: Option<Payload>,
        /// Why there is none, if one was expected.
        missing: Option<String>,
    },
}

impl From<LastMemory> for Recalls {
    fn from(last: LastMemory) -> Self {
        Self { waiting: Vec::new(), last }
    }
}

impl Recalls {
    /// Generation `asker` asks. `list` has every generation, oldest first.
    pub fn ask(&mut self, asker: u64, list: &[Generation], now: Instant) -> Step {
        self.waiting.retain(|one| one.asker != asker);
        let matters = list.iter().any(|one| one.number == asker && one.purpose == Purpose::Reload);
        // a replacement is made because none serves: parked and draining ones know less than the one that did
        let knows_less = |one: u64| !matters || !list.iter().any(|other| other.number == one && other.accepts());
        let asked = whom(asker, list);
        if asked.is_none_or(knows_less)
            && let Some(memory) = self.last.give()
        {
            return Step::Answer { asker, memory: Some(memory), missing: None };
        }
        let Some(asked) = asked else {
            let missing = matters.then(|| "no generation serves".to_owned());
            return Step::Answer { asker, memory: None, missing };
        };
        self.waiting.push(Recall { asker, asked, until: now + PATIENCE, matters });
        Step::Ask(asked)
    }

    /// The state of generation `from`.
    pub fn told(&mut self, from: u64, memory: Option<&Payload>) -> Vec<Step> {
        let answered = self.take(|one| one.asked == from);
        let step = |one: Recall| match memory.and_then(|memory| memory.try_clone().ok()) {
            // each asker has a descriptor of its own
            Some(memory) => Step::Answer { asker: one.asker, memory: Some(memory), missing: None },
            None => self.without(&one, "could not tell what it knows"),
        };
        answered.into_iter().map(step).collect()
    }

    /// Generation `number` exited, or will not answer any more.
    pub fn gone(&mut self, number: u64) -> Vec<Step> {
        self.waiting.retain(|one| one.asker != number);
        let left = self.take(|one| one.asked == number);
        left.into_iter().map(|one| self.without(&one, "ended before it told what it knows")).collect()
    }

    /// Gives up on late answers.
    pub fn expire(&mut self, now: Instant) -> Vec<Step> {
        let late = self.take(|one| one.until <= now);
        late.into_iter().map(|one| self.without(&one, "did not tell what it knows in time")).collect()
    }

    /// When [`Recalls::expire`] is due.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.waiting.iter().map(|one| one.until).min()
    }

    /// The answer to an asker that waited in vain, because of the generation that was asked.
    fn without(&mut self, one: &Recall, why: &str) -> Step {
        let memory = self.last.give();
        let missing = (one.matters && memory.is_none()).then(|| format!("generation {} {why}", one.asked));
        Step::Answer { asker: one.asker, memory, missing }
    }

    fn take(&mut self, which: impl Fn(&Recall) -> bool) -> Vec<Recall> {
        self.waiting.extract_if(.., |one| which(one)).collect()
    }
}

/// The generation that knows most: the one that serves; else the one that did last, which still checks its servers.
fn whom(asker: u64, list: &[Generation]) -> Option<u64> {
    let rank = |one: &Generation| match one.state {
        _ if one.number == asker || one.closed.is_some() => None,
        State::Entering { .. } | State::Serving { .. } | State::Yielding | State::Resuming { .. } => Some(2),
        State::Withdrawing { .. } | State::Parking { .. } | State::Parked => Some(1),
        State::Draining { .. } => Some(0),
        State::Starting { .. } | State::Dying { .. } => None,
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

    fn generation(number: u64, purpose: Purpose, state: State) -> Generation {
        let now = Instant::now();
        Generation { state, ..Generation::new(number, purpose, now, now) }
    }

    /// 1 drains, 2 serves, 3 starts for a reload.
    fn list() -> [Generation; 3] {
        let until = Instant::now();
        [
            generation(1, Purpose::First, State::Draining { until }),
            generation(2, Purpose::Reload, State::Serving { probation: None }),
            generation(3, Purpose::Reload, State::Starting { until }),
        ]
    }

    fn memory() -> Payload {
        Payload::new(b"memory").expect("memfd")
    }

    /// The askers that were answered, whether with a memory, and what is missing.
    fn answers(steps: Vec<Step>) -> Vec<(u64, bool, Option<String>)> {
        let answer = |step| match step {
            Step::Answer { asker, memory, missing } => (asker, memory.is_some(), missing),
            Step::Ask(number) => panic!("asks {number}"),
        };
        steps.into_iter().map(answer).collect()
    }

    #[test]
    fn the_one_that_serves_is_asked_and_its_answer_passed_on() {
        let mut recalls = Recalls::default();
        assert!(matches!(recalls.ask(3, &list(), Instant::now()), Step::Ask(2)));
        assert_eq!(answers(recalls.told(1, Some(&memory()))), [], "it was not asked");
        assert_eq!(answers(recalls.told(2, Some(&memory()))), [(3, true, None)]);
        assert_eq!(answers(recalls.told(2, Some(&memory()))), [], "nobody waits any more");
        assert_eq!(recalls.next_expiry(), None);
    }

    #[test]
    fn without_an_answer_the_asker_goes_on_and_hears_why() {
        let now = Instant::now();
        let expect = |steps, why: &str| assert_eq!(answers(steps), [(3, false, Some(format!("generation 2 {why}")))]);
        let mut recalls = Recalls::default();
        recalls.ask(3, &list(), now);
        assert_eq!(answers(recalls.expire(now)), []);
        expect(recalls.expire(now + PATIENCE), "did not tell what it knows in time");
        recalls.ask(3, &list(), now);
        expect(recalls.gone(2), "ended before it told what it knows");
        recalls.ask(3, &list(), now);
        expect(recalls.told(2, None), "could not tell what it knows");
    }

    #[test]
    fn where_nobody_serves_the_one_that_drains_knows_best() {
        let until = Instant::now();
        let crashed = [
            generation(1, Purpose::First, State::Draining { until }),
            generation(2, Purpose::Reload, State::Dying { until: None }),
            generation(3, Purpose::Respawn, State::Starting { until }),
        ];
        assert!(matches!(Recalls::default().ask(3, &crashed, until), Step::Ask(1)));
        let answer = Recalls::default().ask(3, &crashed[1..], until);
        assert_eq!(answers(vec![answer]), [(3, false, None)], "of a worker that died nobody expects a memory");
        let first = [generation(1, Purpose::First, State::Starting { until })];
        assert_eq!(answers(vec![Recalls::default().ask(1, &first, until)]), [(1, false, None)]);
    }

    #[test]
    fn the_last_memory_is_given_at_once_where_none_serves_and_in_the_end_where_the_one_that_does_says_nothing() {
        let until = Instant::now();
        let mut recalls = Recalls::default();
        recalls.last.keep(&memory()).expect("kept");
        let with_memory = |steps| assert_eq!(answers(steps), [(3, true, None)]);
        let crashed = [
            generation(1, Purpose::First, State::Draining { until }),
            generation(2, Purpose::Reload, State::Resuming { until }),
            generation(3, Purpose::Respawn, State::Starting { until }),
        ];
        with_memory(vec![recalls.ask(3, &crashed, until)]);
        let first = [generation(3, Purpose::First, State::Starting { until })];
        with_memory(vec![recalls.ask(3, &first, until)]);
        recalls.last.keep(&memory()).expect("kept");
        assert!(matches!(recalls.ask(3, &list(), until), Step::Ask(2)), "a reload asks the one that serves");
        with_memory(recalls.expire(until + PATIENCE));
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
            let (mut recalls, mut now) = (Recalls::default(), Instant::now());
            let mut waiting: Vec<u64> = Vec::new();
            for happening in happenings {
                let steps = match happening {
                    Happening::Asks(number) => {
                        waiting.retain(|one| *one != number);
                        waiting.push(number);
                        vec![recalls.ask(number, &list(), now)]
                    }
                    Happening::Tells(number, whole) => recalls.told(number, whole.then(memory).as_ref()),
                    Happening::Goes(number) => {
                        waiting.retain(|one| *one != number);
                        recalls.gone(number)
                    }
                    Happening::Passes(millis) => {
                        now += Duration::from_millis(millis);
                        recalls.expire(now)
                    }
                };
                for step in steps {
                    if let Step::Answer { asker, .. } = step {
                        prop_assert!(waiting.contains(&asker), "{asker} was answered unasked");
                        waiting.retain(|one| *one != asker);
                    }
                }
                prop_assert_eq!(waiting.is_empty(), recalls.next_expiry().is_none());
            }
            recalls.expire(now + PATIENCE);
            prop_assert_eq!(recalls.next_expiry(), None, "nobody waits for ever");
        }
    }
}
