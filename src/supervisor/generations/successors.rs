//! Which generation takes over the connections of those that drain.
//!
//! Decided anew after every input, so that no kind of death or roll-back is forgotten here.

use super::input::Action;
use super::{Generations, ServicePhase};
use crate::supervisor::generation::{Generation, GenerationState};

impl Generations {
    /// The successor of everything that drains: the generation that a roll-back would return to, if there is one, because
    /// the newest may still fail and would take the connections with it; else the one that serves.
    fn successor(&self) -> Option<u64> {
        let newest = |which: fn(&Generation) -> bool| self.list.iter().rfind(|one| one.is_there() && which(one));
        let parked = newest(|one| matches!(one.state, GenerationState::Parking { .. } | GenerationState::Parked));
        let successor = parked.or_else(|| newest(|one| matches!(one.state, GenerationState::Serving { .. })));
        successor.map(|one| one.number)
    }

    /// Links each draining generation to its successor, unless it is linked already. At the end of the service there is no
    /// successor.
    pub(super) fn link_to_successor(&mut self) {
        let Some(to) = self.successor().filter(|_| self.phase == ServicePhase::Running) else {
            return; // what drains keeps its successor, and finishes by itself if that one exits
        };
        for one in self.list.iter_mut().filter(|one| one.is_draining() && one.successor != Some(to)) {
            one.successor = Some(to);
            self.actions.push(Action::Link { from: one.number, to });
        }
    }
}
