//! The writer thread: takes from the queue, writes, and logs what had to be dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Identity;
use super::left::Entries;
use super::output::{self, Output};
use super::queue::{Queue, WriterTurn};
use super::socket::BURST;
use super::waiting::Work;
use crate::observe::end::Reason;
use crate::observe::event::Event;
use crate::observe::record::Record;

/// Dropped records are logged at most so often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    queue: Arc<Queue>,
    identity: Identity,
    dropped: LoggedCount<u64>,
    limited: LoggedCount<[u64; Reason::ALL.len()]>,
    entries: Entries,
    scratch: String,
}

/// The part of a growing count that was logged.
struct LoggedCount<T> {
    count: T,
    at: Instant,
    /// When more of it may be logged.
    again: Instant,
}

impl<T> LoggedCount<T> {
    fn new(count: T) -> Self {
        Self { count, at: Instant::now(), again: Instant::now() }
    }

    fn log(&mut self, count: T, now: Instant) {
        *self = Self { count, at: now, again: now + LOG_INTERVAL };
    }
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, identity: Identity) -> Self {
        let limited = LoggedCount::new(queue.limited());
        let (entries, scratch) = (Entries::default(), String::new());
        Self { queue, identity, dropped: LoggedCount::new(0), limited, entries, scratch }
    }

    pub(super) fn run(mut self, mut output: Output) {
        // also when the writer panics: the thread that ends the writer must not wait for it
        let queue = self.queue.clone();
        let _end = EndGuard(&queue);
        let mut work = Work::default();
        loop {
            match self.queue.take(&mut work, || self.due()) {
                WriterTurn::Write => self.write(&mut output, &mut work),
                WriterTurn::WriteLeft => {
                    let done = output.entries(&work.entries, &self.queue);
                    self.queue.drop_more(done.through - done.written);
                    self.queue.done(done.through);
                    self.queue.give_back_left(&work.entries, work.entries.len() - done.through);
                }
                WriterTurn::Due => {}
                WriterTurn::End => break,
            }
            self.log_counts(&mut output, Instant::now());
        }
        self.log_counts(&mut output, Instant::now() + LOG_INTERVAL);
    }

    fn write(&mut self, output: &mut Output, work: &mut Work) {
        for event in work.events.drain(..) {
            if !output.event(&event, self.identity, &self.queue) {
                self.queue.drop_more(1);
            }
            self.queue.done(1);
        }
        let mut through = 0;
        while through < work.records.len() {
            let burst = &work.records[through..work.records.len().min(through + BURST)];
            let all = burst.len();
            self.encode(output, burst, work);
            let done = output.entries(&self.entries, &self.queue);
            self.queue.drop_more(done.through - done.written);
            self.queue.done(done.through);
            through += done.through;
            if done.through < all {
                break;
            }
        }
        self.queue.give_back(work.records.split_off(through));
        work.records.clear();
    }

    fn encode(&mut self, output: &Output, records: &[Record], work: &Work) {
        self.entries.clear();
        let form = output.form();
        for record in records {
            output::encode(form, &mut self.entries, &mut self.scratch, record, &work.names, self.identity);
        }
    }

    /// When something must be logged.
    fn due(&self) -> Option<Instant> {
        let dropped = (self.queue.dropped() > self.dropped.count).then_some(self.dropped.again);
        let limited = (self.queue.limited() != self.limited.count).then_some(self.limited.again);
        dropped.into_iter().chain(limited).min()
    }

    fn log_counts(&mut self, output: &mut Output, now: Instant) {
        self.log_dropped(output, now);
        self.log_limited(output, now);
    }

    fn log_dropped(&mut self, output: &mut Output, now: Instant) {
        let dropped = self.queue.dropped();
        if dropped == self.dropped.count || self.dropped.again > now {
            return;
        }
        let event = Event::RecordsDropped { count: dropped - self.dropped.count };
        if output.event(&event, self.identity, &self.queue) {
            self.dropped.log(dropped, now);
        }
    }

    fn log_limited(&mut self, output: &mut Output, now: Instant) {
        let limited = self.queue.limited();
        if limited == self.limited.count || self.limited.again > now {
            return;
        }
        self.queue.limits_were_logged();
        let more = Reason::ALL.iter().zip(limited.iter().zip(self.limited.count));
        let more = more.map(|(reason, (now, before))| (reason.as_str(), now - before)).filter(|(_, more)| *more > 0);
        let reasons: BTreeMap<_, _> = more.collect();
        let window = Instant::now().saturating_duration_since(self.limited.at);
        let event = Event::RecordsLimited { count: reasons.values().sum(), reasons, window };
        if output.event(&event, self.identity, &self.queue) {
            self.limited.log(limited, now);
        }
    }
}

struct EndGuard<'a>(&'a Queue);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
