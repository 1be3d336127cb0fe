//! Waits until each of a number of tasks of one thread has had its first result.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The tasks that have no result yet.
#[derive(Debug, Default)]
pub(super) struct FirstRound {
    missing: Cell<usize>,
    complete: Notify,
}

/// One task's share: it has arrived once this is dropped.
#[derive(Debug)]
pub(super) struct Ticket(Rc<FirstRound>);

impl FirstRound {
    /// Adds a task.
    pub(super) fn ticket(self: &Rc<Self>) -> Ticket {
        self.missing.set(self.missing.get() + 1);
        Ticket(self.clone())
    }

    /// Waits until all have arrived, or until `within` has passed; returns how many are missing.
    pub(super) async fn wait(&self, within: Duration) -> usize {
        let complete = async {
            while self.missing.get() > 0 {
                self.complete.notified().await;
            }
        };
        // the deadline is no error: the caller continues with what is known
        let _ = timeout(within, complete).await;
        self.missing.get()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.missing.set(self.0.missing.get() - 1);
        if self.0.missing.get() == 0 {
            self.0.complete.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_round_is_over_with_the_last_one_or_at_the_deadline() {
        let round = Rc::new(FirstRound::default());
        assert_eq!(round.wait(Duration::ZERO).await, 0, "no task to wait for");
        let (one, other) = (round.ticket(), round.ticket());
        drop(one);
        assert_eq!(round.wait(Duration::from_secs(1)).await, 1);
        let late = async {
            tokio::task::yield_now().await;
            drop(other);
        };
        let started = tokio::time::Instant::now();
        let (missing, ()) = tokio::join!(round.wait(Duration::from_secs(1)), late);
        assert_eq!((missing, started.elapsed()), (0, Duration::ZERO));
    }
}
