//! The bounded queue between all threads and the writer.
//!
//! A mutex, held only while pointers move; the expensive work is on the writer's side of it. The writer is woken only
//! when it sleeps, and lets records gather for a moment, so that a busy thread does not pay for a wake-up for each
//! record.

use std::array;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::left::{Entries, LeftRecords, MOST};
use super::socket::PATIENCE;
use super::waiting::{Backlog, EVENTS, RecordBatch, Work};
use crate::control::statistics::Count;
use crate::observe::end::Reason;
use crate::observe::event::Event;
use crate::observe::rate::{Bucket, Rate};
use crate::observe::record::{Record, RecordNames};

/// Memory for records that wait, at most, in bytes: some 40,000 of them. journald takes about 40,000 a second when it has
/// a CPU, and it seldom has one to itself while traffic is high.
pub(super) const ROOM: usize = 16 << 20;
/// How long the first record waits for more.
const GATHER: Duration = Duration::from_millis(20);
/// An end waits no longer than this for a journal that does not read. One that reads takes an entry in less than 1
/// ms.
const STALL: Duration = Duration::from_millis(100);
/// How long the writer may take to notice that it has to stop; a wait for the journal ends sooner.
const NOTICE: Duration = PATIENCE.saturating_mul(2);

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// The writer waits here.
    work: Condvar,
    /// The thread that ends the writer waits here.
    ended: Condvar,
    dropped: AtomicU64,
    began: Instant,
    /// The bound of events of a kind that each connection can cause.
    traffic: Bucket,
    /// Records above a bound, by the end of their exchange.
    limited: [AtomicU64; Reason::ALL.len()],
    /// The writer knows that some of them are to be logged.
    limits_known: AtomicBool,
    /// What the writer has taken and has neither written nor given up.
    in_hand: AtomicUsize,
    /// Grows whenever something was written.
    written: AtomicU64,
    /// What would be lost if the process was killed now, and what was; outlives it.
    lost: OnceLock<Count>,
}

#[derive(Debug)]
struct QueueState {
    waiting: Backlog,
    /// What other processes had no time to write.
    left: VecDeque<LeftRecords>,
    names: Arc<RecordNames>,
    writer: Doing,
    /// The queue is closed; what is in it may be written until then.
    closing: Option<Instant>,
    /// The caller wants what is not written then.
    handing_over: bool,
    ended: bool,
}

/// What the writer does, so that it is woken only when it helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Writing,
    Gathering,
    Sleeping,
}

/// The next job of the writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriterTurn {
    Write,
    /// Write entries of another process.
    WriteLeft,
    /// The time that the writer asked for has come.
    Due,
    End,
}

/// The result of ending the writer.
#[derive(Debug)]
pub(super) struct WriterResult {
    pub(super) ended: bool,
    /// Dropped meanwhile.
    pub(super) dropped: u64,
    /// What was not written, if the caller wants it.
    pub(super) records: Vec<Record>,
    pub(super) names: Arc<RecordNames>,
    pub(super) left: Vec<LeftRecords>,
}

impl Queue {
    /// With room for so many bytes of records.
    pub(super) fn new(names: Arc<RecordNames>, room: usize) -> Self {
        Self {
            state: Mutex::new(QueueState {
                waiting: Backlog::new(room),
                left: VecDeque::new(),
                names,
                writer: Doing::Writing,
                closing: None,
                handing_over: false,
                ended: false,
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
            dropped: AtomicU64::new(0),
            began: Instant::now(),
            traffic: Bucket::new(Rate { per_second: 100, burst: EVENTS as u32 }),
            limited: array::from_fn(|_| AtomicU64::new(0)),
            limits_known: AtomicBool::new(false),
            in_hand: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            lost: OnceLock::new(),
        }
    }

    pub(super) fn push_event(&self, event: Event) {
        if event.is_of_traffic() && !self.traffic.admits(self.began.elapsed().as_nanos() as u64, 0) {
            return self.drop_more(1);
        }
        let mut state = self.lock();
        if state.closing.is_some() || !state.waiting.push_event(event) {
            return self.drop_more(1);
        }
        self.wake(&mut state);
    }

    pub(super) fn push_records(&self, batch: Vec<Record>) {
        if batch.is_empty() {
            return;
        }
        let batch = RecordBatch::of(batch);
        let mut state = self.lock();
        if state.closing.is_some() {
            self.drop_more(batch.records.len());
        } else {
            self.drop_more(state.waiting.push_records(batch));
            self.wake(&mut state);
        }
        self.account(&state);
    }

    /// Takes over what another process had no time to write.
    pub(super) fn push_left(&self, left: LeftRecords) {
        let mut state = self.lock();
        let waiting: u64 = state.left.iter().map(LeftRecords::bytes).sum();
        if state.closing.is_some() || waiting + left.bytes() > MOST {
            return self.drop_more(left.count() as usize);
        }
        state.left.push_back(left);
        if state.writer == Doing::Sleeping {
            state.writer = Doing::Writing;
            self.work.notify_one();
        }
    }

    pub(super) fn set_names(&self, names: Arc<RecordNames>) {
        self.lock().names = names;
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn drop_more(&self, count: usize) {
        if count > 0 {
            self.dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// An exchange that ended for this reason exceeds a bound, and its record was not made.
    pub(super) fn limit_one(&self, reason: Reason) {
        let Some(count) = self.limited.get(reason as usize) else { return }; // no exchange ends so
        count.fetch_add(1, Ordering::Relaxed);
        // a swap would take the cache line from the other threads each time
        if !self.limits_known.load(Ordering::Relaxed) && !self.limits_known.swap(true, Ordering::Relaxed) {
            // the writer asks for the time at which to log it
            let _state = self.lock();
            self.work.notify_one();
        }
    }

    /// How many records exceeded a bound, in the order of [`Reason::ALL`].
    pub(super) fn limited(&self) -> [u64; Reason::ALL.len()] {
        array::from_fn(|reason| self.limited[reason].load(Ordering::Relaxed))
    }

    /// From now on the writer is told of the next record that exceeds a bound.
    pub(super) fn limits_were_logged(&self) {
        self.limits_known.store(false, Ordering::Relaxed);
    }

    /// Keeps in `count` what would be lost if the process was killed.
    pub(super) fn count_in(&self, count: Count) {
        // a process has one such count
        let _ = self.lost.set(count);
    }

    fn account(&self, state: &QueueState) {
        if let Some(lost) = self.lost.get() {
            let unwritten = state.waiting.count() + self.in_hand.load(Ordering::Relaxed);
            lost.set(self.dropped() + unwritten as u64);
        }
    }

    /// The process ends by itself, and has counted what it dropped.
    pub(super) fn settle(&self) {
        self.account(&self.lock());
    }

    /// The writer has finished so many. The queue may have been closed meanwhile, with what the writer had in hand.
    pub(super) fn done(&self, count: usize) {
        let state = self.lock();
        self.less_in_hand(count);
        self.account(&state);
    }

    fn less_in_hand(&self, count: usize) {
        let less = |in_hand: usize| Some(in_hand.saturating_sub(count));
        let _ = self.in_hand.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// The writer had no time left for these.
    pub(super) fn give_back(&self, records: Vec<Record>) {
        let mut state = self.lock();
        self.less_in_hand(records.len());
        if !records.is_empty() {
            state.waiting.push_front(RecordBatch::of(records));
        }
    }

    /// The writer had no time left for the last of these entries.
    pub(super) fn give_back_left(&self, entries: &Entries, unwritten: usize) {
        let mut state = self.lock();
        self.less_in_hand(unwritten);
        if let Some(left) = state.left.front_mut() {
            left.rewind(entries, unwritten);
        }
    }

    /// The writer waits for its next job, or for `due`.
    pub(super) fn take(&self, work: &mut Work, due: impl Fn() -> Option<Instant>) -> WriterTurn {
        let mut state = self.lock();
        let mut gathered = None;
        loop {
            let now = Instant::now();
            let until = *gathered.get_or_insert(now + GATHER);
            let closing = state.closing.is_some();
            if state.closing.is_some_and(|deadline| now >= deadline) {
                return WriterTurn::End;
            }
            if state.waiting.is_ripe() || ((closing || now >= until) && !state.waiting.is_empty()) {
                state.waiting.take(work);
                work.names = state.names.clone();
                self.in_hand.store(work.events.len() + work.records.len(), Ordering::Relaxed);
                self.account(&state);
                return WriterTurn::Write;
            }
            if self.take_left(&mut state, work) {
                return WriterTurn::WriteLeft;
            }
            if closing {
                return WriterTurn::End;
            }
            let due = due();
            if due.is_some_and(|due| now >= due) {
                return WriterTurn::Due;
            }
            let sleeps = state.waiting.is_empty();
            if sleeps {
                gathered = None;
            }
            self.account(&state);
            let wake_at = if sleeps { due } else { Some(due.map_or(until, |due| due.min(until))) };
            state = self.sleep(state, sleeps, wake_at);
        }
    }

    /// Whether there are entries of another process.
    fn take_left(&self, state: &mut QueueState, work: &mut Work) -> bool {
        while let Some(left) = state.left.front_mut() {
            self.drop_more(left.next(&mut work.entries) as usize);
            if work.entries.len() > 0 {
                self.in_hand.store(work.entries.len(), Ordering::Relaxed);
                return true;
            }
            state.left.pop_front();
        }
        false
    }

    /// The writer waits because journald takes nothing. `false` when there is no time left to wait.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let state = self.lock();
        if expired(&state) {
            return false;
        }
        // new records do not wake it: the queue has plenty
        let (state, _) = self
            .work
            .wait_timeout_while(state, time, |state| state.closing.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let Some(closing) = state.closing else { return true };
        let left = closing.saturating_duration_since(Instant::now()).min(time);
        let (state, _) = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        !expired(&state)
    }

    /// Whether the rest must not be written any more.
    pub(super) fn is_expired(&self) -> bool {
        expired(&self.lock())
    }

    /// The writer has ended; what it left counts as dropped, unless the caller wants it.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.closing.get_or_insert_with(Instant::now);
        state.ended = true;
        self.drop_more(self.in_hand.swap(0, Ordering::Relaxed)); // it panicked
        if !state.handing_over {
            self.give_up(&mut state);
        }
        self.account(&state);
        self.ended.notify_all();
    }

    fn give_up(&self, state: &mut QueueState) {
        self.drop_more(state.waiting.clear());
        let left: u64 = state.left.drain(..).map(|left| left.count()).sum();
        self.drop_more(left as usize);
    }

    /// The queue is closed; what is in it will be written, however long that takes.
    pub(super) fn close(&self) {
        let far = Instant::now() + Duration::from_secs(3600);
        self.lock().closing.get_or_insert(far);
        self.work.notify_all();
    }

    /// Something was written.
    pub(super) fn progress(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the writer, within `within`; what it has not written is returned if it is to be handed over, and counts
    /// as dropped otherwise.
    pub(super) fn finish(&self, within: Duration, handing_over: bool) -> WriterResult {
        let before = self.dropped();
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        state.closing = Some(deadline);
        state.handing_over = handing_over;
        self.work.notify_all();
        let mut written = None;
        while !state.ended && Instant::now() < deadline {
            let now_written = self.written.load(Ordering::Relaxed);
            if written.replace(now_written) == Some(now_written) {
                break;
            }
            state = self.wait_for_end(state, STALL.min(deadline.saturating_duration_since(Instant::now())));
        }
        if !state.ended {
            state.closing = Some(Instant::now());
            self.work.notify_all();
            state = self.wait_for_end(state, NOTICE);
        }
        let ended = state.ended;
        if !ended {
            // it is stuck in a send, and what it has in hand ends with the process
            self.drop_more(self.in_hand.swap(0, Ordering::Relaxed));
        }
        let (mut records, mut left) = (Vec::new(), Vec::new());
        if handing_over {
            self.drop_more(state.waiting.drain(&mut records));
            left.extend(state.left.drain(..));
        }
        self.give_up(&mut state);
        self.account(&state);
        WriterResult { ended, dropped: self.dropped() - before, records, names: state.names.clone(), left }
    }

    fn wait_for_end<'a>(&self, state: MutexGuard<'a, QueueState>, time: Duration) -> MutexGuard<'a, QueueState> {
        let waited = self.ended.wait_timeout_while(state, time, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // a panic with the lock held leaves a valid queue
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &mut QueueState) {
        let helps = match state.writer {
            Doing::Writing => false,
            Doing::Gathering => state.waiting.is_ripe(),
            Doing::Sleeping => true,
        };
        if helps {
            state.writer = Doing::Writing;
            self.work.notify_one();
        }
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, QueueState>,
        sleeps: bool,
        wake_at: Option<Instant>,
    ) -> MutexGuard<'a, QueueState> {
        state.writer = if sleeps { Doing::Sleeping } else { Doing::Gathering };
        let mut state = match wake_at {
            None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let time = at.saturating_duration_since(Instant::now());
                let (state, _) = self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
                state
            }
        };
        state.writer = Doing::Writing;
        state
    }
}

fn expired(state: &QueueState) -> bool {
    state.closing.is_some_and(|deadline| Instant::now() >= deadline)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::control::statistics::{CounterNames, SharedStatistics, StatisticsReader};
    use crate::observe::record::tests::retried;

    /// As many records of the tests have room.
    const MOST: usize = 1_000;

    fn room() -> usize {
        MOST * retried().weight()
    }

    fn batch(statuses: &[u16]) -> Vec<Record> {
        let with = |status: &u16| Record { status: *status, ..retried() };
        statuses.iter().map(with).collect()
    }

    #[test]
    fn events_have_room_of_their_own_and_come_first() {
        let queue = Queue::new(Arc::default(), room());
        queue.push_records(batch(&vec![502; MOST + 1]));
        assert_eq!(queue.dropped(), 1);
        for generation in 0..EVENTS as u64 + 1 {
            queue.push_event(Event::ReloadStarted { generation });
        }
        assert_eq!(queue.dropped(), 2);
        let mut work = Work::default();
        assert_eq!(queue.take(&mut work, || None), WriterTurn::Write);
        assert_eq!(work.events.len(), EVENTS);
    }

    #[test]
    fn events_of_single_connections_are_no_more_than_a_client_may_cause() {
        let queue = Queue::new(Arc::default(), room());
        let (mut work, past) = (Work::default(), Instant::now());
        for number in 0..3 * EVENTS {
            queue.push_event(Event::ExchangePanicked { request: None, why: number.to_string() });
            if number % 100 == 0 {
                let _ = queue.take(&mut work, || Some(past));
            }
        }
        queue.push_event(Event::ProbationOver { generation: 1 });
        let _ = queue.take(&mut work, || Some(past));
        assert!((EVENTS..2 * EVENTS).contains(&work.events.len()), "{}", work.events.len());
        assert_eq!(work.events.last(), Some(&Event::ProbationOver { generation: 1 }));
        assert_eq!(queue.dropped() as usize, 3 * EVENTS + 1 - work.events.len());
    }

    #[test]
    fn a_due_time_ends_the_wait_of_the_writer() {
        let queue = Queue::new(Arc::default(), room());
        let due = Instant::now() + Duration::from_millis(5);
        assert_eq!(queue.take(&mut Work::default(), || Some(due)), WriterTurn::Due);
        assert!(Instant::now() >= due);
    }

    #[test]
    fn what_comes_after_the_end_is_counted() {
        let queue = Queue::new(Arc::default(), room());
        queue.close();
        queue.push_records(batch(&[200, 200]));
        queue.push_event(Event::ProbationOver { generation: 1 });
        assert_eq!(queue.dropped(), 3);
        assert_eq!(queue.take(&mut Work::default(), || None), WriterTurn::End);
    }

    #[test]
    fn what_a_killed_process_had_not_written_is_counted_where_it_is_found() {
        let counter_names = CounterNames { counts: 1, tree: [("records_dropped", 0_u64)].into_iter().collect() };
        let statistics = SharedStatistics::new(1, &counter_names).expect("memory");
        let found = || StatisticsReader::from(OwnedFd::from(statistics.file().try_clone().expect("dup"))).counted();
        let queue = Queue::new(Arc::default(), room());
        queue.count_in(statistics.of_thread(0).count(0));
        queue.push_records(batch(&[200, 200, 502]));
        assert_eq!(found(), Some([("records_dropped", 3_u64)].into_iter().collect()));
        let mut work = Work::default();
        let _ = queue.take(&mut work, || Some(Instant::now() + GATHER * 2));
        queue.done(work.records.len());
        queue.push_records(batch(&[200]));
        assert_eq!(found(), Some([("records_dropped", 1_u64)].into_iter().collect()));
    }
}
