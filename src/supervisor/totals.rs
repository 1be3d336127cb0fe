//! Counters that only ever grow, whatever happens to the workers that count: what the living report now, and the last
//! report of all that exited.
//!
//! The counters of a worker are a tree of names with numbers at the ends, and nothing more is known of them here. The
//! whole is plain data: it can be carried to another image of this process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::generation::Generation;
use crate::observe::journal::Unwritten;

/// The counters of all generations that there ever were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Of the generations that exited.
    past: Value,
    /// The last report of each that lives, by its number.
    living: BTreeMap<u64, Value>,
}

impl Totals {
    /// Generation `number` reports its counters, in its status.
    pub fn told(&mut self, number: u64, status: &Value) {
        if let Some(counters) = status.get("counters") {
            self.living.insert(number, counters.clone());
        }
    }

    /// Generation `number` ended without a last report, and this is what it had counted.
    pub fn found(&mut self, number: u64, counters: Value) {
        raise(self.living.entry(number).or_default(), counters);
    }

    /// Generation `number` exited; its last report, or what was found, is final.
    pub fn gone(&mut self, number: u64) {
        if let Some(counters) = self.living.remove(&number) {
            add(&mut self.past, &counters, MOST_NAMES);
        }
    }

    /// The journal of the supervisor itself has not written this much.
    pub fn own(&mut self, unwritten: &Unwritten) {
        self.told(OWN, &json!({ "counters": { "records_dropped": unwritten.dropped } }));
    }

    /// The journal of the supervisor ends; its last report is final.
    pub fn own_ends(&mut self) {
        self.gone(OWN);
    }

    /// The sum over all generations.
    #[must_use]
    pub fn counters(&self) -> Value {
        let mut all = self.past.clone();
        self.living.values().for_each(|counters| add(&mut all, counters, usize::MAX));
        all
    }
}

/// The connections of all generations that have a process, by kind.
#[must_use]
pub fn connections(list: &[Generation]) -> Value {
    let mut all = Value::Null;
    for pong in list.iter().filter_map(|one| one.pulse.last.as_ref()) {
        if let Some(connections) = pong.status.get("connections") {
            add(&mut all, connections, usize::MAX);
        }
    }
    all
}

/// Puts the numbers of `found` in the place of smaller ones of the same names in `told`.
fn raise(told: &mut Value, found: Value) {
    match (told, found) {
        (Value::Object(told), Value::Object(found)) => {
            found.into_iter().for_each(|(name, found)| raise(told.entry(name).or_insert(Value::Null), found));
        }
        (told, found) if told.is_null() || told.as_u64() < found.as_u64() => *told = found,
        _ => {} // nothing that was shown goes back
    }
}

/// Adds the numbers of `more` to those of the same names in `sum`.
///
/// Names that are not in use any more stay, so that no counter goes back; but where `sum` has grown to `most` names,
/// those that are new to it are added up under one name.
fn add(sum: &mut Value, more: &Value, most: usize) {
    let mut room = most.saturating_sub(size(sum));
    join(sum, more, &mut room);
}

fn join(sum: &mut Value, more: &Value, room: &mut usize) {
    match (&mut *sum, more) {
        (Value::Object(sum), Value::Object(more)) => join_names(sum, more, room),
        (Value::Number(known), Value::Number(more)) => {
            let whole = known.as_u64().zip(more.as_u64()).map(|(known, more)| Value::from(known.saturating_add(more)));
            let real = || known.as_f64().zip(more.as_f64()).map(|(known, more)| Value::from(known + more));
            if let Some(added) = whole.or_else(real) {
                *sum = added;
            }
        }
        (Value::Null, Value::Object(_)) => {
            *sum = Value::Object(Map::new());
            join(sum, more, room);
        }
        (Value::Null, Value::Number(_)) => *sum = more.clone(),
        // a value that is no count is skipped, and a name that has another shape now cannot be added
        _ => {}
    }
}

fn join_names(sum: &mut Map<String, Value>, more: &Map<String, Value>, room: &mut usize) {
    for (name, more) in more {
        let names = size(more);
        if let Some(known) = sum.get_mut(name) {
            join(known, more, room);
        } else if names <= *room {
            *room -= names;
            join(sum.entry(name.clone()).or_insert(Value::Null), more, &mut names.clone());
        } else {
            let others = sum.entry(OTHERS).or_insert(Value::Null);
            // as large as the largest of them, no larger
            join(others, more, &mut names.clone());
        }
    }
}

/// How many names there are in all.
fn size(value: &Value) -> usize {
    match value {
        Value::Object(names) => 1 + names.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// Counts of the supervisor stand under a number that no generation has.
const OWN: u64 = 0;
/// A configuration of a thousand servers has forty thousand; so much is ten megabytes.
const MOST_NAMES: usize = 200_000;
/// Stands for the names that there was no room for.
const OTHERS: &str = "(others)";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn status(accepted: u64) -> Value {
        json!({"counters": {"listeners": {"http": {"accepted": accepted}}}, "connections": {"open": 3}})
    }

    fn accepted(totals: &Totals) -> u64 {
        totals.counters()["listeners"]["http"]["accepted"].as_u64().expect("a number")
    }

    #[test]
    fn the_last_word_of_a_generation_stands_for_ever() {
        let mut totals = Totals::default();
        totals.told(1, &status(5));
        totals.told(1, &status(7));
        totals.told(2, &status(2));
        assert_eq!(accepted(&totals), 9);
        totals.gone(1);
        totals.gone(1);
        assert_eq!(accepted(&totals), 9);
        totals.told(2, &status(4));
        assert_eq!(accepted(&totals), 11);
    }

    #[test]
    fn what_a_generation_had_counted_since_its_last_word_is_found() {
        let mut totals = Totals::default();
        totals.told(1, &json!({"counters": {"accepted": 5, "closed": 4, "dropped": 1}}));
        totals.found(1, json!({"accepted": 8, "closed": 3}));
        totals.found(2, json!({"accepted": 1}));
        assert_eq!(totals.counters(), json!({"accepted": 9, "closed": 4, "dropped": 1}));
        totals.gone(1);
        totals.gone(2);
        assert_eq!(totals.counters(), json!({"accepted": 9, "closed": 4, "dropped": 1}));
    }

    #[test]
    fn names_that_no_generation_has_any_more_stay_in_the_totals() {
        let mut totals = Totals::default();
        totals.told(1, &json!({"counters": {"pools": {"old": {"retries": 2}}}}));
        totals.gone(1);
        totals.told(2, &json!({"counters": {"pools": {"new": {"retries": 1}}, "said": "text"}}));
        assert_eq!(totals.counters(), json!({"pools": {"old": {"retries": 2}, "new": {"retries": 1}}, "said": null}));
    }

    #[test]
    fn where_there_is_no_room_for_more_names_they_are_added_up() {
        let mut sum = json!({"pools": {"a": {"retries": 1}}});
        for name in ["b", "c", "d"] {
            add(&mut sum, &json!({"pools": {name: {"retries": 2}}}), 5);
        }
        assert_eq!(sum, json!({"pools": {"a": {"retries": 1}, "(others)": {"retries": 6}}}));
    }

    #[test]
    fn the_totals_survive_the_way_through_json() {
        let mut totals = Totals::default();
        totals.told(1, &status(5));
        totals.gone(1);
        totals.told(2, &status(1));
        let text = serde_json::to_string(&totals).expect("JSON");
        assert_eq!(serde_json::from_str::<Totals>(&text).expect("totals"), totals);
    }

    /// A tree with few names, so that trees have some in common; a name stands for the same kind of thing in all.
    fn tree() -> impl Strategy<Value = Value> {
        let end = ("[w-z]", any::<u32>()).prop_map(|(name, count)| json!({name: count, "text": "some"}));
        end.prop_recursive(4, 40, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|names| names.into_iter().collect())
        })
    }

    fn total(value: &Value) -> u64 {
        match value {
            Value::Object(names) => names.values().map(total).sum(),
            other => other.as_u64().unwrap_or_default(),
        }
    }

    /// Whether every number of `before` is there in `after`, and no smaller.
    fn only_grew(before: &Value, after: &Value) -> bool {
        match before {
            Value::Object(names) => names.iter().all(|(name, before)| only_grew(before, &after[name.as_str()])),
            other => other.as_u64().is_none_or(|before| after.as_u64().is_some_and(|after| after >= before)),
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
                totals.told(number, &json!({"counters": counted}));
                if ends {
                    totals.gone(number);
                }
                let now = totals.counters();
                prop_assert!(only_grew(&shown, &now), "{shown} became {now}");
                shown = now;
            }
        }

        #[test]
        fn the_bound_holds_whatever_comes(trees in prop::collection::vec(tree(), 0..12), most in 1..40_usize) {
            let mut sum = json!({});
            for tree in &trees {
                let before = sum.clone();
                add(&mut sum, tree, most);
                prop_assert!(only_grew(&before, &sum), "{before} became {sum}");
            }
            prop_assert!(size(&sum) <= most + trees.iter().map(size).max().unwrap_or_default() * 64);
            prop_assert!(total(&sum) <= trees.iter().map(total).sum());
        }
    }
}
