//! Which generation takes over the connections of those that drain.
//!
//! Decided anew after every input, so that no kind of death or roll-back is forgotten here.

use super::input::Action;
use super::{Generations, ServicePhase};
use crate::supervisor::generation::{Generation, GenerationState};

impl Generations {
    /// The heir of everything that drains: the generation that a roll-back would return to, if there is one, because
    /// the newest may still fail and would take the connections with it; else the one that serves.
    fn heir(&self) -> Option<u64> {
        let newest = |which: fn(&Generation) -> bool| self.list.iter().rfind(|one| one.is_there() && which(one));
        let parked = newest(|one| matches!(one.state, GenerationState::Parking { .. } | GenerationState::Parked));
        let heir = parked.or_else(|| newest(|one| matches!(one.state, GenerationState::Serving { .. })));
        heir.map(|one| one.number)
    }

    /// Links each draining generation to its heir, unless it is linked already. At the end of the service there is no
    /// heir.
    pub(super) fn link_to_heir(&mut self) {
        let Some(to) = self.heir().filter(|_| self.phase == ServicePhase::Running) else {
            return; // what drains keeps its heir, and finishes by itself if that one exits
        };
        for one in self.list.iter_mut().filter(|one| one.is_draining() && one.heir != Some(to)) {
            one.heir = Some(to);
            self.actions.push(Action::Link { from: one.number, to });
        }
    }
}
