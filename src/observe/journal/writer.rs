//! The writer thread: takes from the queue, writes, and says what had to be dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Identity;
use super::output::Output;
use super::queue::{Queue, Turn, Work};
use crate::observe::event::Event;

/// Drops are said at most so often.
const SAY_DROPS: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    queue: Arc<Queue>,
    identity: Identity,
    /// Drops that were said.
    said: u64,
    /// From when on drops may be said.
    say_from: Instant,
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, identity: Identity) -> Self {
        Self { queue, identity, said: 0, say_from: Instant::now() }
    }

    pub(super) fn run(mut self, mut output: Output) {
        // also when the writer panics: whoever finishes must not wait for it
        let queue = self.queue.clone();
        let _end = End(&queue);
        let mut work = Work::default();
        loop {
            match self.queue.take(&mut work, self.drops_due()) {
                Turn::Write => self.write(&mut output, &mut work),
                Turn::Due => {}
                Turn::End => break,
            }
            self.say_drops(&mut output, Instant::now());
        }
        let far = Instant::now() + SAY_DROPS;
        self.say_drops(&mut output, far);
    }

    fn write(&self, output: &mut Output, work: &mut Work) {
        for event in work.events.drain(..) {
            if !output.event(&event, self.identity, &self.queue) {
                self.queue.drop_more(1);
            }
        }
        let written = output.records(&work.records, &work.names, self.identity, &self.queue);
        self.queue.drop_more(work.records.len() - written);
        work.records.clear();
    }

    fn drops_due(&self) -> Option<Instant> {
        let unsaid = self.queue.dropped() > self.said;
        unsaid.then_some(self.say_from)
    }

    fn say_drops(&mut self, output: &mut Output, now: Instant) {
        if self.drops_due().is_none_or(|due| due > now) {
            return;
        }
        let dropped = self.queue.dropped();
        let event = Event::RecordsDropped { count: dropped - self.said };
        if output.event(&event, self.identity, &self.queue) {
            self.said = dropped;
            self.say_from = now + SAY_DROPS;
        }
    }
}

struct End<'a>(&'a Queue);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
