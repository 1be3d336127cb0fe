//! Memory that connections have used goes back to the kernel a moment after they became idle, or ended.
//!
//! The allocator by itself does so in the course of further allocations, and a thread on which nothing happens makes
//! none: what its last busy moment took would be kept for hours.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use crate::timer::{Timer, TimerWheel};

/// How long the thread waits before it asks the allocator, and before it asks again: to collect is to visit every page
/// that has room.
const AFTER: Duration = Duration::from_millis(500);

/// When one thread gives memory back.
pub struct Trim {
    state: Cell<TrimState>,
    timer: Timer,
}

/// ```text
/// Clean ──soon──▶ Freed ──collects──▶ Collected ──collects──▶ Clean
///                   ▲────────soon─────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
enum TrimState {
    /// Nothing was freed since the allocator was asked.
    Clean,
    /// A connection became idle, or ended.
    Freed,
    /// The allocator has found what is free, and gives it back once it is asked again.
    Collected,
}

impl Trim {
    /// Nothing is free yet.
    #[must_use]
    pub fn new(timer_wheel: &Rc<TimerWheel>) -> Rc<Self> {
        Rc::new(Self { state: Cell::new(TrimState::Clean), timer: timer_wheel.timer() })
    }

    /// A connection became idle, or ended, and has left free memory.
    pub(super) fn soon(&self) {
        if self.state.replace(TrimState::Freed) == TrimState::Clean {
            self.timer.set(AFTER);
        }
    }

    /// Calls `collect` whenever it is time. Never ends; each thread runs exactly one.
    pub(super) async fn run(self: Rc<Self>, collect: impl Fn()) {
        loop {
            poll_fn(|cx| self.timer.poll_due(cx)).await;
            collect();
            if self.state.get() == TrimState::Freed {
                self.state.set(TrimState::Collected);
                self.timer.set(AFTER);
            } else {
                self.state.set(TrimState::Clean);
                self.timer.off();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    /// When memory was collected, in milliseconds, if a connection becomes idle at each of `idle`.
    async fn collected(idle: &[u64]) -> Vec<u128> {
        let timer_wheel = TimerWheel::new();
        let (trim, times, began) = (Trim::new(&timer_wheel), Rc::default(), Instant::now());
        let noted: Rc<std::cell::RefCell<Vec<_>>> = Rc::clone(&times);
        let run = trim.clone().run(move || noted.borrow_mut().push(began.elapsed().as_millis()));
        let script = async {
            for at in idle {
                tokio::time::sleep_until(began + Duration::from_millis(*at)).await;
                trim.soon();
            }
            sleep(Duration::from_secs(60)).await;
        };
        tokio::select! {
            () = timer_wheel.run() => {}
            () = run => {}
            () = script => {}
        }
        times.take()
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_collected_twice_after_a_connection_became_idle_and_then_no_more() {
        assert!(collected(&[]).await.is_empty());
        let times = collected(&[1000]).await;
        assert!(matches!(times[..], [1500..1540, 2000..2080]), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_connections_become_idle_memory_is_collected_twice_a_second() {
        let every: Vec<_> = (0..10_000).collect();
        let times = collected(&every).await;
        assert!((18..=21).contains(&times.len()), "{times:?}");
        assert!(times.last().is_some_and(|last| (10_500..11_100).contains(last)), "{times:?}");
    }
}
