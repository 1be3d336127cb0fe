//! Which streams of one connection have something to do, and the wakers that say so: with a hundred streams open, one
//! that a server woke is served without a look at the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Streams, by key.
pub(super) struct ReadyStreams {
    words: Box<[AtomicU64]>,
    /// The task of the connection.
    task: Mutex<Waker>,
}

/// Wakes the task of the connection for one stream.
struct StreamWaker {
    key: usize,
    ready: Arc<ReadyStreams>,
}

impl ReadyStreams {
    /// For keys below `most`; none is ready.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let words = (0..most.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { words, task: Mutex::new(Waker::noop().clone()) })
    }

    /// Notes the task that is woken.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(cx.waker());
    }

    /// A waker for a stream.
    pub(super) fn waker(self: &Arc<Self>, key: usize) -> Waker {
        Arc::new(StreamWaker { key, ready: self.clone() }).into()
    }

    pub(super) fn set(&self, key: usize) {
        if let Some(word) = self.words.get(key / 64) {
            word.fetch_or(1 << (key % 64), Ordering::AcqRel);
        }
    }

    /// Whether one is.
    pub(super) fn any(&self) -> bool {
        self.words.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Takes those that are ready out, in the order of their keys, starting with `first` and coming round.
    pub(super) fn take(&self, first: usize, keys: &mut Vec<usize>) {
        keys.clear();
        for (place, word) in self.words.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                keys.push(place * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        let before = keys.partition_point(|key| *key < first);
        keys.rotate_left(before);
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.set(self.key);
        self.ready.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_ready_come_once_and_in_turn() {
        let (ready, mut keys) = (ReadyStreams::new(128), Vec::new());
        for key in [3, 70, 5, 3] {
            ready.waker(key).wake();
        }
        ready.take(4, &mut keys);
        assert_eq!((&keys[..], ready.any()), (&[5, 70, 3][..], false));
        ready.set(127);
        ready.set(128); // no stream has such a key
        assert!(ready.any());
        ready.take(127, &mut keys);
        assert_eq!(keys, [127]);
    }
}
