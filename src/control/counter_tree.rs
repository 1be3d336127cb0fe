//! Counters by name. Their names come from workers of any version, so nothing is known of them here.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Names as a tree, with a count at each end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CounterTree {
    /// One counter.
    Count(u64),
    /// Several, by name.
    Names(BTreeMap<String, CounterTree>),
}

impl CounterTree {
    /// Whether there is no counter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Names(names) if names.is_empty())
    }

    /// The count, if this is one counter.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Count(count) => Some(*count),
            Self::Names(_) => None,
        }
    }

    /// What is below this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Count(_) => None,
            Self::Names(names) => names.get(name),
        }
    }

    /// What is below each name; nothing below a count.
    pub fn branches(&self) -> impl Iterator<Item = (&str, &Self)> {
        let names = match self {
            Self::Names(names) => Some(names),
            Self::Count(_) => None,
        };
        names.into_iter().flatten().map(|(name, tree)| (name.as_str(), tree))
    }

    /// How many names and counts there are in all.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Count(_) => 1,
            Self::Names(names) => 1 + names.values().map(Self::size).sum::<usize>(),
        }
    }

    /// Replaces each count by what `count` makes of it; `None` when that is `None` for any of them.
    #[must_use]
    pub fn map(self, count: &impl Fn(u64) -> Option<u64>) -> Option<Self> {
        match self {
            Self::Count(one) => count(one).map(Self::Count),
            Self::Names(names) => {
                let names = names.into_iter().map(|(name, tree)| Some((name, tree.map(count)?)));
                names.collect::<Option<_>>().map(Self::Names)
            }
        }
    }
}

impl Default for CounterTree {
    fn default() -> Self {
        Self::Names(BTreeMap::new())
    }
}

impl From<u64> for CounterTree {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl<N: Into<String>, T: Into<CounterTree>> FromIterator<(N, T)> for CounterTree {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(names: I) -> Self {
        Self::Names(names.into_iter().map(|(name, tree)| (name.into(), tree.into())).collect())
    }
}

impl<'de> Deserialize<'de> for CounterTree {
    /// Takes any value: one that is neither a count nor an object is an empty tree. A message is not refused because
    /// another version counts something that is no number.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = CounterTree;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("counters by name")
    }

    fn visit_u64<E>(self, count: u64) -> Result<CounterTree, E> {
        Ok(CounterTree::Count(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CounterTree, A::Error> {
        let mut names = BTreeMap::new();
        while let Some((name, tree)) = map.next_entry()? {
            names.insert(name, tree);
        }
        Ok(CounterTree::Names(names))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CounterTree, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(CounterTree::default())
    }

    fn visit_unit<E>(self) -> Result<CounterTree, E> {
        Ok(CounterTree::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<CounterTree, E> {
        Ok(CounterTree::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<CounterTree, E> {
        Ok(CounterTree::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<CounterTree, E> {
        Ok(CounterTree::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<CounterTree, E> {
        Ok(CounterTree::default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_of_any_shape_are_read() {
        let odd = json!({"a": {"b": 3, "c": "text", "d": [1, {"e": 2}], "e": null, "f": -1, "g": 1.5, "h": true}});
        let tree: CounterTree = serde_json::from_value(odd).expect("a tree");
        let read = json!({"a": {"b": 3, "c": {}, "d": {}, "e": {}, "f": {}, "g": {}, "h": {}}});
        assert_eq!(serde_json::to_value(&tree).expect("json"), read);
        assert_eq!(serde_json::from_value::<CounterTree>(json!(null)).expect("a tree"), CounterTree::default());
    }
}
