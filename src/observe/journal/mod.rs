//! The way to the journal: a bounded queue and one writer thread for the process.
//!
//! Callers queue and continue; only the writer thread ever waits for journald. Events go through `tracing`, records
//! as native entries of our own, so that their priority and fields are exact. Where stderr is not the journal, both
//! become readable text on it.

mod bounded;
mod entry;
mod journald;
mod left;
mod lines;
mod output;
mod queue;
mod redact;
mod sentence;
mod socket;
mod text;
mod waiting;
mod writer;

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::end::Reason;
use super::event::Event;
use super::record::{Record, RecordNames};
use crate::control::recent::RecentEvent;
use crate::control::statistics::Count;
use left::EntryForm;
pub use left::LeftRecords;
pub use lines::panics_never_wait;
use output::Output;
pub use output::stderr_is_journal;
use queue::Queue;
use writer::Writer;

/// The path of a request target as it may be shown: without a query, without values of parameters, without a user.
#[must_use]
pub fn redacted_path(target: &str) -> String {
    let mut path = String::new();
    redact::Target::new(target).write_path(&mut path);
    path
}

/// A request target as records have it: the path as above, and the names of the query with `*` for each value.
#[must_use]
pub fn redacted_target(target: &str) -> String {
    let mut shown = String::new();
    redact::Target::new(target).write(&mut shown);
    shown
}

/// The process that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its role.
    pub role: Role,
    /// The generation that it serves, written as `PROXY_GENERATION` where an event has none of its own.
    pub generation: Option<u64>,
}

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The process that systemd knows.
    Supervisor,
    /// A process that serves.
    Worker,
}

impl Role {
    /// The word in `PROXY_ROLE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Worker => "worker",
        }
    }
}

/// A handle to the writer. Clones write to the same queue. The writer ends after the last one is dropped and the
/// queue is written.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Handle>);

/// Events that wait for their listener.
const QUEUED_EVENTS: usize = 64;

#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
    identity: Identity,
    form: EntryForm,
    listener: OnceLock<mpsc::Sender<RecentEvent>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Starts the writer thread. It writes to journald when stderr is a stream to the journal (`$JOURNAL_STREAM`, see
    /// systemd.exec(5)) and journald can be reached, else to stderr.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(identity: Identity, names: Option<Arc<RecordNames>>) -> io::Result<Self> {
        Self::start_on(Output::detect(identity), identity, names)
    }

    fn start_on(output: Output, identity: Identity, names: Option<Arc<RecordNames>>) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(names.unwrap_or_default(), queue::ROOM));
        let form = output.form();
        let writer = Writer::new(queue.clone(), identity);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(output))?;
        Ok(Self(Arc::new(Handle {
            queue,
            identity,
            form,
            listener: OnceLock::new(),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Queues an event. Never waits; events overtake records and are dropped last.
    pub fn event(&self, event: Event) {
        if let Some(listener) = self.0.listener.get()
            && !event.is_of_traffic()
        {
            let _ = listener.try_send(event.recent()); // what is said too fast is in the journal alone
        }
        self.0.queue.push_event(event);
    }

    /// The events from now on, but those of traffic. There is one listener, the first; a queue that it
    /// does not empty loses some.
    #[must_use]
    pub fn listen(&self) -> mpsc::Receiver<RecentEvent> {
        let (listener, events) = mpsc::channel(QUEUED_EVENTS);
        let _ = self.0.listener.set(listener);
        events
    }

    /// Queues the records of a thread. Never waits; a call with several costs hardly more than with one. When there
    /// is no room, records of successes are dropped first, the oldest of them first.
    pub fn records(&self, batch: Vec<Record>) {
        self.0.queue.push_records(batch);
    }

    /// What the indexes of all records mean from now on.
    pub fn set_names(&self, names: Arc<RecordNames>) {
        self.0.queue.set_names(names);
    }

    /// The record of an exchange that ended for this reason exceeds a bound: it is counted, and the count is logged from
    /// time to time.
    pub fn limit_one(&self, reason: Reason) {
        self.0.queue.limit_one(reason);
    }

    /// What was not written, since the start.
    #[must_use]
    pub fn unwritten(&self) -> Unwritten {
        Unwritten { dropped: self.0.queue.dropped(), limited: self.0.queue.limited() }
    }

    /// Keeps in `count` how much would be lost if this process was killed.
    pub fn count_in(&self, count: Count) {
        self.0.queue.count_in(count);
    }

    /// Writes what another process had no time for, behind what is queued; records that do not fit are dropped and
    /// counted.
    pub fn inherit(&self, left: LeftRecords) {
        if left.is_of(self.0.form) {
            self.0.queue.push_left(left);
        } else {
            self.0.queue.drop_more(left.count() as usize);
        }
    }

    /// Writes what is queued and ends the writer, within `within`, or as soon as journald does not read any more;
    /// what is left then counts as dropped, and so does everything that is queued later. Returns whether all was
    /// written. This blocks: call it at the end of a process.
    #[must_use]
    pub fn finish(&self, within: Duration) -> bool {
        let finished = self.end(within, false);
        finished.ended && finished.dropped == 0
    }

    /// Ends the writer like [`Journal::finish`], and returns the records that it did not write, its own first, for
    /// another process to [`inherit`](Self::inherit). What cannot be handed over counts as dropped.
    #[must_use]
    pub fn leave(&self, within: Duration) -> Vec<LeftRecords> {
        let queue::WriterResult { records, names, left: mut all, .. } = self.end(within, true);
        if records.is_empty() {
            return all;
        }
        let mut bursts = records.chunks(socket::BURST);
        let mut scratch = String::new();
        let own = LeftRecords::write(self.0.form, |entries| {
            for record in bursts.next().unwrap_or_default() {
                output::encode(self.0.form, entries, &mut scratch, record, &names, self.0.identity);
            }
        });
        let kept = own.as_ref().map_or(0, LeftRecords::count) as usize;
        self.0.queue.drop_more(records.len() - kept);
        self.0.queue.settle();
        all.splice(..0, own.ok().filter(|_| kept > 0));
        all
    }

    fn end(&self, within: Duration, handing_over: bool) -> queue::WriterResult {
        let finished = self.0.queue.finish(within, handing_over);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(thread), true) = (thread, finished.ended) {
            // it has nothing left to do; a writer that is still stuck in a send ends with the process
            let _ = thread.join();
        }
        finished
    }
}

/// Counts of what was not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// Records and events for which there was no time or no room.
    pub dropped: u64,
    /// Records above a bound of the configuration, in the order of [`Reason::ALL`].
    pub limited: [u64; Reason::ALL.len()],
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests;
