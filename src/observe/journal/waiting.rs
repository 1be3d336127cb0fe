//! What waits for the writer, and the order in which it is dropped: records of successes first, then those of
//! failures; events have room of their own.

use std::collections::VecDeque;
use std::sync::Arc;

use super::left::Entries;
use crate::observe::event::Event;
use crate::observe::record::{Record, RecordNames};

/// Events that wait, at most.
pub(super) const EVENTS: usize = 1_024;
/// So many justify waking the writer earlier.
const ENOUGH: usize = 512;
/// Records taken out at once, at least, where there are so many.
const TAKE: usize = 256;

/// A job of the writer.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) events: Vec<Event>,
    pub(super) records: Vec<Record>,
    pub(super) names: Arc<RecordNames>,
    /// Of another process.
    pub(super) entries: Entries,
}

/// Records that were handed over together.
#[derive(Debug)]
pub(super) struct RecordBatch {
    pub(super) records: Vec<Record>,
    /// Bytes of memory.
    weight: usize,
}

impl RecordBatch {
    pub(super) fn of(records: Vec<Record>) -> Self {
        Self { weight: records.iter().map(Record::weight).sum(), records }
    }
}

/// The queued items, and the order in which they are dropped.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Most bytes of records.
    room: usize,
    events: VecDeque<Event>,
    /// Failures out of batches whose successes were dropped: older than every batch.
    kept: VecDeque<Record>,
    batches: VecDeque<RecordBatch>,
    /// In `kept` and `batches` together.
    records: usize,
    /// Bytes of memory of both.
    weight: usize,
}

impl Backlog {
    pub(super) fn new(room: usize) -> Self {
        let (events, kept, batches) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { room, events, kept, batches, records: 0, weight: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0 && self.events.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.records + self.events.len()
    }

    /// Whether a write is worth its cost now.
    pub(super) fn is_ripe(&self) -> bool {
        self.records >= ENOUGH || !self.events.is_empty()
    }

    pub(super) fn push_event(&mut self, event: Event) -> bool {
        let room = self.events.len() < EVENTS;
        if room {
            self.events.push_back(event);
        }
        room
    }

    /// Returns how many records were dropped for it.
    pub(super) fn push_records(&mut self, batch: RecordBatch) -> usize {
        self.records += batch.records.len();
        self.weight += batch.weight;
        self.batches.push_back(batch);
        let before = self.records;
        while self.weight > self.room {
            let Some(oldest) = self.batches.pop_front() else { break };
            let failed = oldest.records.iter().filter(|record| record.failed()).count();
            self.records -= oldest.records.len() - failed;
            self.weight -= oldest.weight;
            for record in oldest.records.into_iter().filter(Record::failed) {
                self.weight += record.weight();
                self.kept.push_back(record);
            }
        }
        while self.weight > self.room
            && let Some(newest) = self.kept.pop_back()
        {
            self.weight -= newest.weight();
            self.records -= 1;
        }
        before - self.records
    }

    /// What the writer gives back: older than everything else.
    pub(super) fn push_front(&mut self, batch: RecordBatch) {
        self.records += batch.records.len();
        self.weight += batch.weight;
        batch.records.into_iter().rev().for_each(|record| self.kept.push_front(record));
    }

    pub(super) fn take(&mut self, work: &mut Work) {
        work.events.extend(self.events.drain(..));
        let before = work.records.len();
        let kept = self.kept.len().min(TAKE);
        self.weight -= self.kept.range(..kept).map(Record::weight).sum::<usize>();
        work.records.extend(self.kept.drain(..kept));
        while work.records.len() - before < TAKE
            && let Some(batch) = self.batches.pop_front()
        {
            self.weight -= batch.weight;
            work.records.extend(batch.records);
        }
        self.records -= work.records.len() - before;
    }

    /// Takes all records out; returns how many events were left.
    pub(super) fn drain(&mut self, records: &mut Vec<Record>) -> usize {
        let events = self.events.len();
        records.extend(self.kept.drain(..));
        records.extend(self.batches.drain(..).flat_map(|batch| batch.records));
        *self = Self::new(self.room);
        events
    }

    pub(super) fn clear(&mut self) -> usize {
        let all = self.count();
        *self = Self::new(self.room);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::record::Text;
    use crate::observe::record::tests::retried;

    /// As many records of the tests have room.
    const MOST: usize = 1_000;

    fn room() -> usize {
        MOST * retried().weight()
    }

    fn push(waiting: &mut Backlog, statuses: &[u16]) -> usize {
        let with = |status: &u16| Record { status: *status, ..retried() };
        waiting.push_records(RecordBatch::of(statuses.iter().map(with).collect()))
    }

    fn statuses(waiting: &mut Backlog) -> Vec<u16> {
        let mut work = Work::default();
        while !waiting.is_empty() {
            waiting.take(&mut work);
        }
        work.records.iter().map(|record| record.status).collect()
    }

    #[test]
    fn successes_are_dropped_before_failures_and_the_oldest_before_the_newest() {
        let mut waiting = Backlog::new(room());
        assert_eq!(push(&mut waiting, &[200, 502, 201]), 0);
        assert_eq!(push(&mut waiting, &[503]), 0);
        assert_eq!(push(&mut waiting, &vec![200; MOST - 4]), 0);
        assert_eq!(push(&mut waiting, &[204]), 2);
        let left = statuses(&mut waiting);
        assert_eq!((left[0], left[1], left[left.len() - 1]), (502, 503, 204));
        assert_eq!(left.len(), MOST - 1);
        assert_eq!((waiting.records, waiting.weight), (0, 0));
    }

    #[test]
    fn of_failures_alone_the_newest_are_dropped() {
        let mut waiting = Backlog::new(room());
        push(&mut waiting, &vec![502; MOST]);
        assert_eq!(push(&mut waiting, &[503, 504]), 2);
        assert_eq!((waiting.records, waiting.weight), (MOST, room()));
        assert!(statuses(&mut waiting).iter().all(|status| *status == 502));
    }

    #[test]
    fn long_records_have_no_more_room_than_short_ones() {
        let mut waiting = Backlog::new(room());
        for _ in 0..MOST {
            let record = Record { target: Text::of(&[b'x'; 9_000]), ..retried() };
            waiting.push_records(RecordBatch::of(vec![record]));
        }
        assert!(waiting.weight <= room() && waiting.records < MOST / 2, "{}", waiting.records);
    }

    #[test]
    fn dropped_batches_leave_nothing_behind() {
        let mut waiting = Backlog::new(room());
        for _ in 0..3 * MOST {
            push(&mut waiting, &[200]);
        }
        assert!(waiting.batches.len() <= MOST && waiting.kept.is_empty());
    }
}
