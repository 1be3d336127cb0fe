//! Counters that only ever grow, whatever happens to the workers that count: what the living report now, and the last
//! report of all that exited.
//!
//! The counters of a worker are a tree of names with numbers at the ends, and nothing more is known of them here. The
//! whole is plain data: it can be carried to another image of this process, and left for the next one.

mod left;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::generation::Generation;
use crate::control::counter_tree::CounterTree;
use crate::control::status::OpenConnections;
use crate::observe::journal::Unwritten;

pub use self::left::NAME;

/// The counters of all generations that there ever were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Of the generations that exited.
    past: CounterTree,
    /// The last report of each that lives, by its number.
    living: BTreeMap<u64, CounterTree>,
}

impl Totals {
    /// Generation `number` reports its counters. A report without any is of a version that is not understood.
    pub fn report(&mut self, number: u64, counters: &CounterTree) {
        if !counters.is_empty() {
            self.living.insert(number, counters.clone());
        }
    }

    /// Generation `number` ended without a last report, and this is what it had counted.
    pub fn found(&mut self, number: u64, counters: CounterTree) {
        raise(self.living.entry(number).or_default(), counters);
    }

    /// Generation `number` exited; its last report, or what was found, is final.
    pub fn on_exit(&mut self, number: u64) {
        if let Some(counters) = self.living.remove(&number) {
            add(&mut self.past, &counters, MOST_NAMES);
        }
    }

    /// Something of this name happened in the life of the service.
    pub fn happened(&mut self, event: &str) {
        let once = CounterTree::from_iter([(event, 1)]);
        add(&mut self.past, &CounterTree::from_iter([("events", once)]), MOST_NAMES);
    }

    /// The journal of the supervisor itself has not written this much.
    pub fn own(&mut self, unwritten: &Unwritten) {
        self.report(OWN, &CounterTree::from_iter([("records_dropped", unwritten.dropped)]));
    }

    /// The journal of the supervisor ends; its last report is final.
    pub fn own_ends(&mut self) {
        self.on_exit(OWN);
    }

    /// The sum over all generations.
    #[must_use]
    pub fn counters(&self) -> CounterTree {
        let mut all = self.past.clone();
        self.living.values().for_each(|counters| add(&mut all, counters, usize::MAX));
        all
    }
}

/// The connections of all generations that have a process, by kind; none before any of them has answered a ping.
#[must_use]
pub fn connections(list: &[Generation]) -> Option<OpenConnections> {
    let mut all: Option<OpenConnections> = None;
    let pongs = list.iter().filter_map(|one| one.pulse.last.as_ref());
    for connections in pongs.filter_map(|pong| pong.status.as_ref()?.connections.as_ref()) {
        all.get_or_insert_default().add(connections);
    }
    all
}

/// Puts the counts of `found` in the place of smaller ones of the same names in `told`.
fn raise(told: &mut CounterTree, found: CounterTree) {
    match (told, found) {
        (CounterTree::Names(told), CounterTree::Names(found)) => {
            found.into_iter().for_each(|(name, found)| raise(told.entry(name).or_default(), found));
        }
        (told, found) if told.is_empty() || told.count() < found.count() => *told = found,
        _ => {} // no counter that was shown goes back
    }
}

/// Adds the counts of `more` to those of the same names in `sum`.
///
/// Names that are not in use any more stay, so that no counter goes back; but where `sum` has grown to `most` names,
/// those that are new to it are added up under one name. Those are names with others below them, such as servers: the counts
/// of one whose name is there are few, and the last of them may come late.
fn add(sum: &mut CounterTree, more: &CounterTree, most: usize) {
    let mut room = most.saturating_sub(sum.size());
    join(sum, more, &mut room);
}

fn join(sum: &mut CounterTree, more: &CounterTree, room: &mut usize) {
    match (&mut *sum, more) {
        (CounterTree::Names(sum), CounterTree::Names(more)) => join_names(sum, more, room),
        (CounterTree::Count(sum), CounterTree::Count(more)) => *sum = sum.saturating_add(*more),
        (CounterTree::Names(names), CounterTree::Count(_)) if names.is_empty() => *sum = more.clone(),
        // a name that has another shape now cannot be added
        _ => {}
    }
}

fn join_names(sum: &mut BTreeMap<String, CounterTree>, more: &BTreeMap<String, CounterTree>, room: &mut usize) {
    for (name, more) in more {
        let names = more.size();
        if let Some(known) = sum.get_mut(name) {
            join(known, more, room);
        } else if names <= *room || more.count().is_some() {
            *room = room.saturating_sub(names);
            join(sum.entry(name.clone()).or_default(), more, &mut names.clone());
        } else {
            let others = sum.entry(OTHERS.to_owned()).or_default();
            // as large as the largest of them, no larger
            join(others, more, &mut names.clone());
        }
    }
}

/// Counts of the supervisor stand under a number that no generation has.
const OWN: u64 = 0;
/// A configuration of a thousand servers has fifty thousand; so much is ten megabytes.
const MOST_NAMES: usize = 200_000;
/// Stands for the names that there was no room for.
const OTHERS: &str = "(others)";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn counters(json: serde_json::Value) -> CounterTree {
        serde_json::from_value(json).expect("counters")
    }

    fn status(accepted: u64) -> CounterTree {
        counters(json!({"listeners": {"http": {"accepted": accepted}}}))
    }

    fn shown(totals: &Totals) -> serde_json::Value {
        serde_json::to_value(totals.counters()).expect("json")
    }

    fn accepted(totals: &Totals) -> u64 {
        shown(totals)["listeners"]["http"]["accepted"].as_u64().expect("a number")
    }

    #[test]
    fn the_last_word_of_a_generation_stands_for_ever() {
        let mut totals = Totals::default();
        totals.report(1, &status(5));
        totals.report(1, &status(7));
        totals.report(2, &status(2));
        assert_eq!(accepted(&totals), 9);
        totals.on_exit(1);
        totals.on_exit(1);
        assert_eq!(accepted(&totals), 9);
        totals.report(2, &status(4));
        assert_eq!(accepted(&totals), 11);
    }

    #[test]
    fn what_a_generation_had_counted_since_its_last_word_is_found() {
        let mut totals = Totals::default();
        totals.report(1, &counters(json!({"accepted": 5, "closed": 4, "dropped": 1})));
        totals.found(1, counters(json!({"accepted": 8, "closed": 3})));
        totals.found(2, counters(json!({"accepted": 1})));
        assert_eq!(shown(&totals), json!({"accepted": 9, "closed": 4, "dropped": 1}));
        totals.on_exit(1);
        totals.on_exit(2);
        assert_eq!(shown(&totals), json!({"accepted": 9, "closed": 4, "dropped": 1}));
    }

    #[test]
    fn names_that_no_generation_has_any_more_stay_in_the_totals() {
        let mut totals = Totals::default();
        totals.report(1, &counters(json!({"pools": {"old": {"retries": 2}}})));
        totals.on_exit(1);
        totals.report(2, &counters(json!({"pools": {"new": {"retries": 1}}, "said": "text"})));
        assert_eq!(shown(&totals), json!({"pools": {"old": {"retries": 2}, "new": {"retries": 1}}, "said": {}}));
    }

    #[test]
    fn where_there_is_no_room_for_more_names_they_are_added_up() {
        let mut sum = counters(json!({"pools": {"a": {"retries": 1}}}));
        for name in ["b", "c", "d"] {
            add(&mut sum, &counters(json!({"pools": {name: {"retries": 2}}})), 5);
        }
        assert_eq!(sum, counters(json!({"pools": {"a": {"retries": 1}, "(others)": {"retries": 6}}})));
    }

    #[test]
    fn the_totals_survive_the_way_through_json() {
        let mut totals = Totals::default();
        totals.report(1, &status(5));
        totals.on_exit(1);
        totals.report(2, &status(1));
        let text = serde_json::to_string(&totals).expect("JSON");
        assert_eq!(serde_json::from_str::<Totals>(&text).expect("totals"), totals);
    }

    /// A tree with few names, so that trees have some in common; a name stands for the same kind of thing in all.
    fn tree() -> impl Strategy<Value = CounterTree> {
        let end = ("[w-z]", any::<u32>()).prop_map(|(name, count)| counters(json!({name: count, "text": "some"})));
        end.prop_recursive(4, 40, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|names| names.into_iter().collect::<CounterTree>())
        })
    }

    fn total(tree: &CounterTree) -> u64 {
        match tree {
            CounterTree::Names(names) => names.values().map(total).sum(),
            CounterTree::Count(count) => *count,
        }
    }

    /// Whether every count of `before` is there in `after`, and no smaller.
    fn only_grew(before: &CounterTree, after: &CounterTree) -> bool {
        match (before, after) {
            (CounterTree::Names(before), CounterTree::Names(after)) => {
                before.iter().all(|(name, before)| after.get(name).is_some_and(|after| only_grew(before, after)))
            }
            (CounterTree::Names(before), CounterTree::Count(_)) => before.is_empty(),
            (CounterTree::Count(before), after) => after.count().is_some_and(|after| after >= *before),
        }
    }

    proptest! {
        #[test]
        fn nothing_ever_goes_back(words in prop::collection::vec((1..4_u64, tree(), any::<bool>()), 0..12)) {
            let mut totals = Totals::default();
            let mut shown = totals.counters();
            for (number, word, ends) in words {
                // a generation only ever counts up
                let mut counted = totals.living.get(&number).cloned().unwrap_or_default();
                add(&mut counted, &word, usize::MAX);
                totals.report(number, &counted);
                if ends {
                    totals.on_exit(number);
                }
                let now = totals.counters();
                prop_assert!(only_grew(&shown, &now), "{shown:?} became {now:?}");
                shown = now;
            }
        }

        #[test]
        fn the_bound_holds_whatever_comes(trees in prop::collection::vec(tree(), 0..12), most in 1..40_usize) {
            let mut sum = CounterTree::default();
            for tree in &trees {
                let before = sum.clone();
                add(&mut sum, tree, most);
                prop_assert!(only_grew(&before, &sum), "{before:?} became {sum:?}");
            }
            prop_assert!(sum.size() <= most + trees.iter().map(CounterTree::size).max().unwrap_or_default() * 64);
            prop_assert!(total(&sum) <= trees.iter().map(total).sum());
        }
    }
}
