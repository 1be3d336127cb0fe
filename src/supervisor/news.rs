//! What the messages of workers, and their ends, tell the supervisor itself: it keeps what outlives them.

use std::os::fd::AsFd;
use std::time::Instant;

use super::Supervisor;
use super::generations::Input;
use crate::control::message::{Pong, ToSupervisor};
use crate::control::payload::Payload;
use crate::control::statistics::StatisticsReader;

impl Supervisor {
    /// Keeps the state of a generation that serves: its replacement continues from there.
    pub(super) fn keep(&mut self, number: u64, state: Option<&Payload>, secrets: Option<Payload>) {
        let serves = self.generations.list().iter().any(|one| one.number == number && one.accepts());
        // one that has no memory for its state says nothing of its secrets either
        let Some(state) = state.filter(|_| serves) else { return };
        if secrets.as_ref().map(Payload::identity) != self.secrets.as_ref().map(Payload::identity)
            && self.notify.store_secrets(secrets.as_ref().map(AsFd::as_fd)).is_ok()
        {
            self.secrets = secrets;
        }
        // if it cannot be kept, the content before it stays, which is a little older
        let _ = self.state_requests.last.keep(state);
    }

    /// The counters of a worker outlive it, and a generation that waits for its state is answered.
    pub(super) fn take_note(&mut self, input: &Input) {
        self.note_for_debug(input);
        self.note_for_admin(input);
        match input {
            Input::Message(number, ToSupervisor::Pong(Pong { status: Some(status), .. })) => {
                self.totals.report(*number, &status.counters);
            }
            Input::Message(number, ToSupervisor::Finished(finished)) => {
                self.totals.report(*number, &finished.status.counters)
            }
            Input::ChannelClosed(number) | Input::InvalidMessage(number, _) => {
                let steps = self.state_requests.on_exit(*number);
                self.pass_on(steps);
            }
            Input::Exited(number, _) => {
                self.totals.on_exit(*number);
                let steps = self.state_requests.on_exit(*number);
                self.pass_on(steps);
            }
            _ => {}
        }
    }

    /// What a worker had open and had counted when it ended. A worker that sent `Finished` has said that too.
    pub(super) fn take_statistics(&mut self, number: u64, statistics: &StatisticsReader) {
        self.generations.noted(number, statistics.now(), Instant::now());
        let mut list = self.generations.list().iter();
        if list.any(|one| one.number == number && one.finished.is_none())
            && let Some(counted) = statistics.counted()
        {
            self.totals.found(number, counted);
        }
    }
}
