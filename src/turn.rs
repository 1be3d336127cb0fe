//! Turns of a thread: which of the connections that move large bodies goes on next.
//!
//! A connection moves [`TURN`] bytes, or what one read gave if that is more, and waits for its next turn behind the others
//! that did so. A few turns are given between two looks at the poller, and what the poller found goes first: what is small
//! does not wait for what is large.
//!
//! ```text
//!   moves bytes ──TURN bytes moved──▶ waits, in the order of arrival ──given──▶ moves bytes
//!             └──TURN bytes moved, and no other waits: given at once──────────────┘
//! ```
//! Without it each connection that has bytes to move stands before a new request in the queue of the runtime: a thousand
//! downloads that began at once delayed others by as many times 100 µs, twice for each request.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Bytes that one connection moves in one turn. Without it a client that reads as fast as a server sends keeps the thread
/// for 16 MiB, and 40 of them that come at once delayed all others by 59 MB in one turn of the loop.
pub const TURN: usize = 128 * 1024;

/// Turns given between two looks at the poller. A request waits for their time, about 100 µs for each, twice.
const GIVEN: usize = 2;

/// What one direction of a connection has moved in its turn.
#[derive(Debug, Default)]
pub struct Turn {
    moved: usize,
    /// The turn is over, and the next one is this in the order of all.
    next: Option<u64>,
}

impl Turn {
    /// For a body that is known to be large: the first bytes too are moved in a turn that is given.
    #[must_use]
    pub fn of_large() -> Self {
        Self { moved: TURN, next: None }
    }

    /// Counts bytes that were moved.
    pub fn count(&mut self, bytes: usize) {
        self.moved += bytes;
    }
}

/// The turns of one thread.
#[derive(Debug, Default)]
pub struct Turns {
    /// What waits for a turn: the first one for the turn that is `given` in the order of all.
    waiting: RefCell<VecDeque<Waker>>,
    given: Cell<u64>,
    /// Turns given since the last look at the poller.
    lately: Cell<usize>,
    /// The task that gives turns, when it waits for one to be wanted.
    giver: RefCell<Option<Waker>>,
}

impl Turns {
    /// Whether this turn goes on, or the next one has come.
    pub fn poll(&self, cx: &mut Context<'_>, turn: &mut Turn) -> Poll<()> {
        if turn.moved < TURN {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        let Some(next) = turn.next else {
            if waiting.is_empty() && self.lately.get() < GIVEN {
                *turn = Turn::default();
                self.lately.set(self.lately.get() + 1);
                self.giver.borrow_mut().take().into_iter().for_each(Waker::wake);
                return Poll::Ready(());
            }
            turn.next = Some(self.given.get() + waiting.len() as u64);
            waiting.push_back(cx.waker().clone());
            self.giver.borrow_mut().take().into_iter().for_each(Waker::wake);
            return Poll::Pending;
        };
        let Some(before) = next.checked_sub(self.given.get()) else {
            *turn = Turn::default();
            return Poll::Ready(());
        };
        if let Some(waker) = waiting.get_mut(before as usize) {
            waker.clone_from(cx.waker());
        }
        Poll::Pending
    }

    /// Whether a connection waits for its turn.
    #[must_use]
    pub fn are_awaited(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Gives turns for as long as the thread runs.
    pub async fn give(self: Rc<Self>) {
        loop {
            poll_fn(|cx| self.poll_wanted(cx)).await;
            // the runtime looks at the poller before it goes on here, and runs first what that made ready
            tokio::task::yield_now().await;
            self.lately.set(0);
            while self.lately.get() < GIVEN {
                let Some(first) = self.waiting.borrow_mut().pop_front() else { break };
                self.given.set(self.given.get() + 1);
                self.lately.set(self.lately.get() + 1);
                first.wake();
            }
        }
    }

    fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.lately.get() > 0 || !self.waiting.borrow().is_empty() {
            return Poll::Ready(());
        }
        *self.giver.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Moves so many bytes, a turn at a time, and writes down after each turn what it is called.
    async fn moves(name: usize, mut left: usize, turns: Rc<Turns>, log: Rc<RefCell<Vec<usize>>>) {
        let mut turn = Turn::default();
        while left > 0 {
            poll_fn(|cx| turns.poll(cx, &mut turn)).await;
            turn.count(TURN / 2);
            left = left.saturating_sub(TURN / 2);
            log.borrow_mut().push(name);
        }
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
    }

    fn on_a_thread<F: AsyncFnOnce(Rc<Turns>)>(test: F) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
        runtime.expect("a runtime").block_on(async {
            let turns = Rc::<Turns>::default();
            tokio::task::spawn_local(turns.clone().give());
            within(test(turns)).await;
        });
    }

    #[test]
    fn what_has_had_its_turn_waits_behind_all_others() {
        on_a_thread(async |turns| {
            let log = Rc::<RefCell<Vec<usize>>>::default();
            let tasks: Vec<_> =
                (0..10).map(|n| tokio::task::spawn_local(moves(n, 2 * TURN, turns.clone(), log.clone()))).collect();
            for task in tasks {
                task.await.expect("no panic");
            }
            // those that come first find no other that waits, and have their next turn at once
            let order: Vec<_> = log.borrow().iter().copied().filter(|n| *n >= GIVEN).collect();
            let once: Vec<_> = (GIVEN..10).flat_map(|n| [n, n]).collect();
            assert_eq!(
                order,
                [&once[..], &once[..]].concat(),
                "each has one turn, then the next one, in the same order"
            );
        });
    }

    #[test]
    fn what_is_ready_waits_for_a_few_turns_and_not_for_all() {
        on_a_thread(async |turns| {
            let log = Rc::<RefCell<Vec<usize>>>::default();
            let tasks: Vec<_> =
                (0..100).map(|n| tokio::task::spawn_local(moves(n, 9 * TURN, turns.clone(), log.clone()))).collect();
            while log.borrow().len() < 200 {
                tokio::task::yield_now().await;
            }
            for _ in 0..20 {
                let before = log.borrow().len();
                tokio::task::yield_now().await;
                let between = log.borrow().len() - before;
                assert!(between <= 2 * 2 * GIVEN, "{between} halves of turns between two looks");
            }
            for task in tasks {
                task.await.expect("no panic");
            }
            assert_eq!(log.borrow().len(), 100 * 18);
        });
    }

    #[test]
    fn a_connection_that_ends_while_it_waits_holds_up_no_other() {
        on_a_thread(async |turns| {
            let log = Rc::<RefCell<Vec<usize>>>::default();
            let first = tokio::task::spawn_local(moves(1, 9 * TURN, turns.clone(), log.clone()));
            let second = tokio::task::spawn_local(moves(2, 9 * TURN, turns.clone(), log.clone()));
            while log.borrow().len() < 5 {
                tokio::task::yield_now().await;
            }
            first.abort();
            second.await.expect("no panic");
            assert_eq!(log.borrow().iter().filter(|name| **name == 2).count(), 18);
        });
    }

    #[test]
    fn what_moves_little_never_waits() {
        let (turns, mut turn) = (Turns::default(), Turn::default());
        let mut cx = Context::from_waker(Waker::noop());
        turn.count(TURN - 1);
        assert!(turns.poll(&mut cx, &mut turn).is_ready());
        turn.count(1);
        for _ in 0..GIVEN {
            assert!(turns.poll(&mut cx, &mut turn).is_ready(), "there is one to give at once");
            turn.count(TURN);
        }
        assert!(turns.poll(&mut cx, &mut turn).is_pending());
    }
}
