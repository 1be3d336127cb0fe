//! Who takes over the connections of those that drain.
//!
//! Decided anew after everything that happens, so that no way of dying or of going back can be forgotten here.

use super::input::Action;
use super::{Generations, Phase};
use crate::supervisor::generation::{Generation, State};

impl Generations {
    /// The heir of everything that drains: the one that can be gone back to, as long as there is one, because the
    /// newest may yet fail and what it holds would be lost with it; else the one that serves.
    fn heir(&self) -> Option<u64> {
        let newest = |which: fn(&Generation) -> bool| self.list.iter().rfind(|one| one.is_there() && which(one));
        let parked = newest(|one| matches!(one.state, State::Parking { .. } | State::Parked));
        let heir = parked.or_else(|| newest(|one| matches!(one.state, State::Serving { .. })));
        heir.map(|one| one.number)
    }

    /// Links what drains to its heir, unless it is linked already. At the end of the service there is none.
    pub(super) fn link_to_heir(&mut self) {
        let Some(to) = self.heir().filter(|_| self.phase == Phase::Running) else {
            return; // what drains keeps the heir that it had, and finishes by itself if that one is gone
        };
        for one in self.list.iter_mut().filter(|one| one.is_draining() && one.heir != Some(to)) {
            one.heir = Some(to);
            self.actions.push(Action::Link { from: one.number, to });
        }
    }
}
