//! The bounds on the number of generations and on the memory of old ones: the oldest has to drain early.

use super::input::Action;
use super::{DRAIN_GRACE, Generations};
use crate::control::message::{GenerationBounds, ToWorker};
use crate::observe::event::Event;
use crate::supervisor::generation::{Generation, GenerationState};

impl Generations {
    /// The bounds of the newest configuration that serves.
    fn bounds(&self) -> GenerationBounds {
        let newest = self.list.iter().rfind(|one| one.accepts()).and_then(|one| one.ready.as_ref());
        newest.map_or_else(GenerationBounds::default, |ready| ready.bounds)
    }

    /// Whether a reload may make another generation. If not, the oldest that drains has to finish early, and the
    /// reload waits for it.
    pub(super) fn has_room(&mut self) -> bool {
        let most = self.bounds().generations;
        let living = self.list.iter().filter(|one| !matches!(one.state, GenerationState::Dying { .. })).count();
        // one that has sent `Finished` is about to exit
        let draining = |one: &&Generation| matches!(one.state, GenerationState::Draining { .. });
        let leaving = self.list.iter().filter(draining).filter(|one| one.hurried || !one.is_there()).count();
        if living >= most {
            if living - leaving >= most {
                self.hurry(format!("{most} generations are the most that may live at once (drain.generations)"));
            }
            return false;
        }
        self.check_memory();
        // wait for the one that was told to finish, since the new one needs memory too
        !self.list.iter().filter(draining).any(|one| one.hurried)
    }

    /// Notes how much memory the workers use.
    pub(super) fn on_memory_used(&mut self, weights: &[(u64, u64)]) {
        for (number, bytes) in weights {
            if let Some(one) = self.get(*number) {
                one.memory = *bytes;
            }
        }
        self.check_memory();
    }

    fn check_memory(&mut self) {
        let most = self.bounds().memory;
        let counted = |one: &&Generation| one.goes() && !one.hurried;
        let used: u64 = self.list.iter().filter(counted).map(|one| one.memory).sum();
        if used > most {
            let (used, most) = (used >> 20, most >> 20);
            self.hurry(format!("older generations use {used} MiB, more than the {most} MiB of drain.memory"));
        }
    }

    /// Tells the oldest that drains to finish soon. When none drains, the parked ones will drain first.
    fn hurry(&mut self, why: String) {
        let (now, hurry_timeout) = (self.now, self.bounds().hurry_timeout);
        let Some(oldest) = self.list.iter_mut().find(|one| one.is_draining() && !one.hurried) else {
            return;
        };
        let GenerationState::Draining { until } = oldest.state else { return };
        let left = until.saturating_duration_since(now).saturating_sub(DRAIN_GRACE);
        let timeout = left.min(hurry_timeout);
        oldest.hurried = true;
        oldest.state = GenerationState::Draining { until: now + timeout + DRAIN_GRACE };
        let (generation, connections) = (oldest.number, oldest.connections());
        self.actions.push(Action::Send(generation, ToWorker::Stop { timeout: Some(timeout) }));
        self.log(Event::Hurried { generation, connections, timeout, why });
    }
}
