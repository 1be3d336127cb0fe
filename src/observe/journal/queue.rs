//! The bounded queue between everybody and the writer.
//!
//! A mutex, held for a few moves of pointers; what costs time happens on the writer's side of it. The writer is woken
//! only when it sleeps, and lets records gather for a moment, so that a busy thread does not pay for a wake-up a record.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::socket::PATIENCE;
use crate::observe::event::Event;
use crate::observe::record::{Names, Record};

/// Records that wait, at most: some 30 MB. journald takes about 40,000 a second when it has a CPU, and it seldom has one
/// to itself while traffic is high.
pub(super) const RECORDS: usize = 100_000;
/// Events that wait, at most.
pub(super) const EVENTS: usize = 1_024;
/// How long the first record waits for more.
const GATHER: Duration = Duration::from_millis(20);
/// So many are worth waking the writer earlier.
const ENOUGH: usize = 512;
/// Records taken out at once, at least, where there are so many.
const TAKE: usize = 256;
/// An end waits no longer for a journal that took nothing for so long. One that reads takes an entry in less than 1 ms.
const STALL: Duration = Duration::from_millis(100);
/// How long the writer may take to notice that it has to stop; a wait for the journal ends sooner.
const NOTICE: Duration = PATIENCE.saturating_mul(2);

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Whoever finishes waits here.
    ended: Condvar,
    dropped: AtomicU64,
    /// Grows whenever something was written.
    written: AtomicU64,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    names: Arc<Names>,
    writer: Doing,
    /// Nothing is taken any more; what is there may be written until then.
    closing: Option<Instant>,
    ended: bool,
}

/// What the writer does, so that it is woken only when it helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Writing,
    Gathering,
    Sleeping,
}

/// What the writer is given.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) events: Vec<Event>,
    pub(super) records: Vec<Record>,
    pub(super) names: Arc<Names>,
}

/// What the writer shall do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Write,
    /// The time that the writer asked for has come.
    Due,
    End,
}

/// How finishing went.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) ended: bool,
    /// Dropped meanwhile.
    pub(super) dropped: u64,
}

impl Queue {
    /// With room for so many records.
    pub(super) fn new(names: Arc<Names>, room: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: Waiting::new(room),
                names,
                writer: Doing::Writing,
                closing: None,
                ended: false,
            }),
            work: Condvar::new(),
            ended: Condvar::new(),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    pub(super) fn push_event(&self, event: Event) {
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
        let mut state = self.lock();
        if state.closing.is_some() {
            return self.drop_more(batch.len());
        }
        self.drop_more(state.waiting.push_records(batch));
        self.wake(&mut state);
    }

    pub(super) fn set_names(&self, names: Arc<Names>) {
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

    /// The writer's wait for something to do, or for `due`.
    pub(super) fn take(&self, work: &mut Work, due: Option<Instant>) -> Turn {
        let mut state = self.lock();
        let mut gathered = None;
        loop {
            let now = Instant::now();
            let until = *gathered.get_or_insert(now + GATHER);
            let closing = state.closing.is_some();
            if state.waiting.is_ripe() || ((closing || now >= until) && !state.waiting.is_empty()) {
                state.waiting.take(work);
                work.names = state.names.clone();
                return Turn::Write;
            }
            if closing {
                return Turn::End;
            }
            if due.is_some_and(|due| now >= due) {
                return Turn::Due;
            }
            let sleeps = state.waiting.is_empty();
            if sleeps {
                gathered = None;
            }
            let wake_at = if sleeps { due } else { Some(due.map_or(until, |due| due.min(until))) };
            state = self.sleep(state, sleeps, wake_at);
        }
    }

    /// The writer's wait when journald takes nothing. `false` when there is no time left to wait.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let state = self.lock();
        if expired(&state) {
            return false;
        }
        // not woken by work: there is plenty
        let (state, _) = self
            .work
            .wait_timeout_while(state, time, |state| state.closing.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let Some(closing) = state.closing else { return true };
        let left = closing.saturating_duration_since(Instant::now()).min(time);
        let (state, _) = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        !expired(&state)
    }

    /// Whether what is left shall not be written any more.
    pub(super) fn is_expired(&self) -> bool {
        expired(&self.lock())
    }

    /// The writer is through; what it left counts as dropped.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        let left = state.waiting.clear();
        self.drop_more(left);
        state.closing.get_or_insert_with(Instant::now);
        state.ended = true;
        self.ended.notify_all();
    }

    /// Nothing is taken any more; what is there will be written, however long it takes.
    pub(super) fn close(&self) {
        let far = Instant::now() + Duration::from_secs(3600);
        self.lock().closing.get_or_insert(far);
        self.work.notify_all();
    }

    /// Something was written.
    pub(super) fn progress(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, within: Duration) -> Finished {
        let before = self.dropped();
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        state.closing = Some(deadline);
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
            let left = state.waiting.clear();
            self.drop_more(left);
        }
        Finished { ended, dropped: self.dropped() - before }
    }

    fn wait_for_end<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.ended.wait_timeout_while(state, time, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // a panic with the lock held leaves a queue that is still a queue
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, state: &mut State) {
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
        mut state: MutexGuard<'a, State>,
        sleeps: bool,
        wake_at: Option<Instant>,
    ) -> MutexGuard<'a, State> {
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

fn expired(state: &State) -> bool {
    state.closing.is_some_and(|deadline| Instant::now() >= deadline)
}

/// What waits, and the order in which it is given up.
#[derive(Debug)]
struct Waiting {
    /// Most records.
    room: usize,
    events: VecDeque<Event>,
    /// Failures out of batches whose successes were dropped: older than every batch.
    kept: VecDeque<Record>,
    batches: VecDeque<Vec<Record>>,
    /// In `kept` and `batches` together.
    records: usize,
}

impl Waiting {
    fn new(room: usize) -> Self {
        Self { room, events: VecDeque::new(), kept: VecDeque::new(), batches: VecDeque::new(), records: 0 }
    }

    fn is_empty(&self) -> bool {
        self.records == 0 && self.events.is_empty()
    }

    /// Whether it is worth writing now.
    fn is_ripe(&self) -> bool {
        self.records >= ENOUGH || !self.events.is_empty()
    }

    fn push_event(&mut self, event: Event) -> bool {
        let room = self.events.len() < EVENTS;
        if room {
            self.events.push_back(event);
        }
        room
    }

    /// Says how many records were dropped for it.
    fn push_records(&mut self, batch: Vec<Record>) -> usize {
        self.records += batch.len();
        self.batches.push_back(batch);
        let before = self.records;
        while self.records > self.room {
            let Some(mut oldest) = self.batches.pop_front() else {
                self.kept.truncate(self.room);
                self.records = self.kept.len();
                break;
            };
            let all = oldest.len();
            oldest.retain(Record::failed);
            self.records -= all - oldest.len();
            self.kept.extend(oldest);
        }
        before - self.records
    }

    fn take(&mut self, work: &mut Work) {
        work.events.extend(self.events.drain(..));
        let before = work.records.len();
        let kept = self.kept.len().min(TAKE);
        work.records.extend(self.kept.drain(..kept));
        while work.records.len() - before < TAKE
            && let Some(batch) = self.batches.pop_front()
        {
            work.records.extend(batch);
        }
        self.records -= work.records.len() - before;
    }

    fn clear(&mut self) -> usize {
        let all = self.records + self.events.len();
        *self = Self::new(self.room);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::record::tests::retried;

    const ROOM: usize = 1_000;

    fn batch(statuses: &[u16]) -> Vec<Record> {
        let with = |status: &u16| Record { status: *status, ..retried() };
        statuses.iter().map(with).collect()
    }

    fn statuses(waiting: &mut Waiting) -> Vec<u16> {
        let mut work = Work::default();
        while !waiting.is_empty() {
            waiting.take(&mut work);
        }
        work.records.iter().map(|record| record.status).collect()
    }

    #[test]
    fn successes_are_dropped_before_failures_and_the_oldest_before_the_newest() {
        let mut waiting = Waiting::new(ROOM);
        assert_eq!(waiting.push_records(batch(&[200, 502, 201])), 0);
        assert_eq!(waiting.push_records(batch(&[503])), 0);
        let fill = vec![200; ROOM - 4];
        assert_eq!(waiting.push_records(batch(&fill)), 0);
        assert_eq!(waiting.push_records(batch(&[204])), 2);
        let left = statuses(&mut waiting);
        assert_eq!((left[0], left[1], left[left.len() - 1]), (502, 503, 204));
        assert_eq!(left.len(), ROOM - 1);
        assert_eq!(waiting.records, 0);
    }

    #[test]
    fn of_failures_alone_the_newest_are_dropped() {
        let mut waiting = Waiting::new(ROOM);
        waiting.push_records(batch(&vec![502; ROOM]));
        assert_eq!(waiting.push_records(batch(&[503, 504])), 2);
        assert_eq!(waiting.records, ROOM);
        assert!(statuses(&mut waiting).iter().all(|status| *status == 502));
    }

    #[test]
    fn dropped_batches_leave_nothing_behind() {
        let mut waiting = Waiting::new(ROOM);
        for _ in 0..3 * ROOM {
            waiting.push_records(batch(&[200]));
        }
        assert!(waiting.batches.len() <= ROOM && waiting.kept.is_empty());
    }

    #[test]
    fn events_have_room_of_their_own_and_come_first() {
        let queue = Queue::new(Arc::default(), ROOM);
        queue.push_records(batch(&vec![502; ROOM + 1]));
        assert_eq!(queue.dropped(), 1);
        for generation in 0..EVENTS as u64 + 1 {
            queue.push_event(Event::ReloadStarted { generation });
        }
        assert_eq!(queue.dropped(), 2);
        let mut work = Work::default();
        assert_eq!(queue.take(&mut work, None), Turn::Write);
        assert_eq!(work.events.len(), EVENTS);
    }

    #[test]
    fn a_due_time_ends_the_wait_of_the_writer() {
        let queue = Queue::new(Arc::default(), ROOM);
        let due = Instant::now() + Duration::from_millis(5);
        assert_eq!(queue.take(&mut Work::default(), Some(due)), Turn::Due);
        assert!(Instant::now() >= due);
    }

    #[test]
    fn what_comes_after_the_end_is_counted() {
        let queue = Queue::new(Arc::default(), ROOM);
        queue.close();
        queue.push_records(batch(&[200, 200]));
        queue.push_event(Event::ProbationOver { generation: 1 });
        assert_eq!(queue.dropped(), 3);
        assert_eq!(queue.take(&mut Work::default(), None), Turn::End);
    }
}
