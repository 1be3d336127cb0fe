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

/// The place of one of them: it is looked for once and counts for a listener, a site, a pool and a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatusClass(usize);

impl StatusClass {
    /// That of this status; 0 is none.
    pub(super) fn of(status: u16) -> Self {
        Self(usize::from(status / 100).min(CLASSES.len() - 1))
    }
}

impl StatusClasses<Count> {
    /// Counts an exchange.
    pub(super) fn count(&self, class: StatusClass) {
        self.0[class.0].add(1);
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
