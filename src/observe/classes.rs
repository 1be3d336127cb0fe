//! Exchanges counted by the class of their status.

use std::array;

use crate::control::counter_tree::CounterTree;
use crate::control::statistics::{Count, add_each};

/// The classes; the first is for exchanges without a status.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A count of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StatusClasses<T>([T; CLASSES.len()]);

impl<T> StatusClasses<T> {
    pub(super) fn of(next: &mut impl FnMut() -> T) -> Self {
        Self(array::from_fn(|_| next()))
    }
}

impl StatusClasses<Count> {
    /// Counts an exchange with this status; 0 is none.
    pub(super) fn count(&self, status: u16) {
        self.0[usize::from(status / 100).min(CLASSES.len() - 1)].add(1);
    }
}

impl StatusClasses<u64> {
    pub(super) fn add(&mut self, more: &StatusClasses<Count>) {
        add_each(&mut self.0, &more.0);
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn tree(&self) -> CounterTree {
        CLASSES.into_iter().zip(self.0).collect()
    }
}
