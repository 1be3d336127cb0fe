//! Coarse deadlines for one thread: a slot for each 16 ms, visited only when somebody is in it.
//!
//! A deadline on the way of a request is moved several times a millisecond and almost never met. So moving it is
//! one store ([`Alarm::set`]); the wheel finds out that it moved when the old slot comes round, and files it again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Length of a slot: the grain of every deadline.
pub const GRAIN: Duration = Duration::from_millis(16);
/// Two seconds of slots; a later deadline is filed anew every two seconds. A farther horizon would keep the filings of
/// alarms that are gone for as long, one for each short connection.
const SLOTS: usize = 128;
const NEVER: u64 = u64::MAX;

/// The deadlines of one thread. One task drives it with [`Wheel::run`].
pub struct Wheel {
    started: Instant,
    slots: RefCell<Vec<Vec<Weak<Entry>>>>,
    /// The tick up to which every slot has been visited.
    visited: Cell<u64>,
    /// The tick that the driver sleeps until.
    next: Cell<u64>,
    filed: Cell<usize>,
    driver: RefCell<Option<Waker>>,
}

/// One deadline, set and moved by its owner.
pub struct Alarm {
    wheel: Rc<Wheel>,
    entry: Rc<Entry>,
}

struct Entry {
    /// The tick at which the alarm is due; `NEVER` when it is off.
    due: Cell<u64>,
    /// The tick under which the wheel has it; `NEVER` when it has not.
    filed: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Wheel {
    /// An empty wheel that starts now.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            slots: RefCell::new(vec![Vec::new(); SLOTS]),
            visited: Cell::new(0),
            next: Cell::new(NEVER),
            filed: Cell::new(0),
            driver: RefCell::new(None),
        })
    }

    /// A deadline that is off.
    #[must_use]
    pub fn alarm(self: &Rc<Self>) -> Alarm {
        let entry = Entry { due: Cell::new(NEVER), filed: Cell::new(NEVER), waker: RefCell::new(None) };
        Alarm { wheel: self.clone(), entry: Rc::new(entry) }
    }

    /// Waits for `after`, in the wheel's grain.
    pub async fn sleep(self: &Rc<Self>, after: Duration) {
        let alarm = self.alarm();
        alarm.set(after);
        poll_fn(|cx| alarm.poll_due(cx)).await;
    }

    /// Wakes the owners of due alarms. Never ends; each thread runs exactly one.
    pub async fn run(self: Rc<Self>) {
        let mut sleep: std::pin::Pin<Box<Sleep>> = Box::pin(tokio::time::sleep_until(self.started));
        let mut sleeps_until = NEVER;
        poll_fn(|cx| {
            self.keep_driver(cx);
            loop {
                self.visit();
                let next = self.next.get();
                if next == NEVER {
                    sleeps_until = NEVER;
                    return Poll::<()>::Pending;
                }
                if next != sleeps_until {
                    sleeps_until = next;
                    sleep.as_mut().reset(self.started + GRAIN * u32::try_from(next).unwrap_or(u32::MAX));
                }
                if std::future::Future::poll(sleep.as_mut(), cx).is_pending() {
                    return Poll::Pending;
                }
                sleeps_until = NEVER;
            }
        })
        .await;
    }

    fn keep_driver(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }

    /// Ticks that have passed whole.
    fn now(&self) -> u64 {
        (self.started.elapsed().as_millis() / GRAIN.as_millis()) as u64
    }

    fn file(&self, entry: &Rc<Entry>, due: u64) {
        // beyond the horizon: into the farthest slot, and filed again from there
        let tick = due.clamp(self.visited.get() + 1, self.visited.get() + SLOTS as u64 - 1);
        entry.filed.set(tick);
        self.slots.borrow_mut()[(tick % SLOTS as u64) as usize].push(Rc::downgrade(entry));
        self.filed.set(self.filed.get() + 1);
        if tick < self.next.get() {
            self.next.set(tick);
            if let Some(driver) = &*self.driver.borrow() {
                driver.wake_by_ref();
            }
        }
    }

    fn visit(&self) {
        let now = self.now();
        if now < self.next.get() {
            return;
        }
        let from = self.visited.get() + 1;
        let to = now.min(self.visited.get() + SLOTS as u64 - 1);
        self.visited.set(now);
        for tick in from..=to {
            let slot = (tick % SLOTS as u64) as usize;
            if self.slots.borrow()[slot].is_empty() {
                continue;
            }
            let entries = std::mem::take(&mut self.slots.borrow_mut()[slot]);
            self.filed.set(self.filed.get() - entries.len());
            for entry in entries.iter().filter_map(Weak::upgrade) {
                self.visit_entry(&entry, tick, now);
            }
        }
        self.next.set(self.next_filed());
    }

    fn visit_entry(&self, entry: &Rc<Entry>, tick: u64, now: u64) {
        if entry.filed.get() != tick {
            return; // filed anew since, under an earlier tick
        }
        entry.filed.set(NEVER);
        let due = entry.due.get();
        if due == NEVER {
            return;
        }
        if due > now {
            return self.file(entry, due);
        }
        if let Some(waker) = entry.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn next_filed(&self) -> u64 {
        if self.filed.get() == 0 {
            return NEVER;
        }
        let slots = self.slots.borrow();
        let visited = self.visited.get();
        (visited + 1..visited + SLOTS as u64)
            .find(|tick| !slots[(tick % SLOTS as u64) as usize].is_empty())
            .unwrap_or(NEVER)
    }
}

impl Alarm {
    /// Moves the deadline to `after` from now.
    pub fn set(&self, after: Duration) {
        let ticks = (after.as_millis() / GRAIN.as_millis()) as u64 + 1;
        self.set_tick(self.wheel.now().saturating_add(ticks));
    }

    /// Moves the deadline to `at`, without a look at the clock.
    pub fn set_at(&self, at: Instant) {
        self.set_tick((at.saturating_duration_since(self.wheel.started).as_millis() / GRAIN.as_millis()) as u64 + 1);
    }

    fn set_tick(&self, due: u64) {
        self.entry.due.set(due);
        if due < self.entry.filed.get() {
            // the filing under the later tick remains, and is passed over when its slot comes
            self.wheel.file(&self.entry, due);
        }
    }

    /// Wakes the task that waits for the alarm, due or not.
    pub fn wake(&self) {
        if let Some(waker) = self.entry.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Turns the alarm off.
    pub fn off(&self) {
        self.entry.due.set(NEVER);
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let due = self.entry.due.get();
        due != NEVER && due <= self.wheel.now()
    }

    /// Notes the task that is woken when the deadline passes and by [`Alarm::wake`], instead of the one noted before.
    pub fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Ready once the deadline has passed; pending, with the task noted, before it and while the alarm is off.
    pub fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_due() {
            return Poll::Ready(());
        }
        self.watch(cx);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn within<T>(wheel: &Rc<Wheel>, future: impl Future<Output = T>) -> T {
        tokio::select! {
            () = wheel.clone().run() => unreachable!("the wheel runs for ever"),
            value = future => value,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_goes_off_after_its_time_and_not_before() {
        let wheel = Wheel::new();
        let started = Instant::now();
        within(&wheel, wheel.sleep(Duration::from_millis(100))).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(100) && took <= Duration::from_millis(140), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_beyond_the_horizon_goes_off_once_due() {
        let wheel = Wheel::new();
        let started = Instant::now();
        within(&wheel, wheel.sleep(Duration::from_secs(100))).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_secs(100) && took <= Duration::from_millis(100_050), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_moved_alarm_goes_off_at_the_last_time_set() {
        let wheel = Wheel::new();
        let alarm = wheel.alarm();
        alarm.set(Duration::from_millis(50));
        alarm.set(Duration::from_secs(1));
        let started = Instant::now();
        within(&wheel, poll_fn(|cx| alarm.poll_due(cx))).await;
        assert!(started.elapsed() >= Duration::from_secs(1));
        alarm.set(Duration::from_secs(20));
        alarm.set(Duration::from_millis(30));
        let started = Instant::now();
        within(&wheel, poll_fn(|cx| alarm.poll_due(cx))).await;
        assert!(started.elapsed() <= Duration::from_millis(80));
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_off_never_goes_off() {
        let wheel = Wheel::new();
        let alarm = wheel.alarm();
        alarm.set(Duration::from_millis(50));
        alarm.off();
        let waited = tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| alarm.poll_due(cx)));
        assert!(within(&wheel, waited).await.is_err());
    }
}
