//! Coarse deadlines for one thread: a slot for each 16 ms, visited only when a deadline is filed in it.
//!
//! A deadline on the request path is moved several times a millisecond and rarely passes. So moving it is one store
//! ([`Timer::set`]); the timer wheel notices the move when the old slot comes round, and files it again.
//!
//! Deadlines within the next two seconds are filed by their tick, later ones by the two seconds that they are in,
//! from which they are filed by tick once that time comes: a connection that is idle for a minute is visited twice,
//! not thirty times. Dropping a timer removes it from its slot: short connections leave nothing behind.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Length of a tick: the grain of every deadline.
pub const GRAIN: Duration = Duration::from_millis(16);
/// Slots by tick, two seconds of them; and as many slots of two seconds each. A deadline beyond those four minutes is
/// filed anew every four minutes.
const SLOTS: u64 = 128;
const NEVER: u64 = u64::MAX;

/// The deadlines of one thread. One task drives it with [`TimerWheel::run`].
pub struct TimerWheel {
    started: Instant,
    /// The slots by tick, then those of [`SLOTS`] ticks each.
    slots: RefCell<Vec<Vec<Rc<TimerEntry>>>>,
    /// The tick up to which every slot has been visited.
    visited: Cell<u64>,
    /// The tick that the driver sleeps until.
    next: Cell<u64>,
    driver: RefCell<Option<Waker>>,
}

/// One deadline, set and moved by its owner.
pub struct Timer {
    timer_wheel: Rc<TimerWheel>,
    entry: Rc<TimerEntry>,
}

struct TimerEntry {
    /// The tick at which the timer is due; `NEVER` when it is off.
    due: Cell<u64>,
    /// The tick at which its slot is visited; `NEVER` when it is in none.
    filed: Cell<u64>,
    /// Its slot, and its place in it.
    place: Cell<(usize, usize)>,
    waker: RefCell<Option<Waker>>,
}

impl TimerWheel {
    /// An empty timer wheel that starts now.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            started: Instant::now(),
            slots: RefCell::new((0..2 * SLOTS).map(|_| Vec::new()).collect()),
            visited: Cell::new(0),
            next: Cell::new(NEVER),
            driver: RefCell::new(None),
        })
    }

    /// A deadline that is off.
    #[must_use]
    pub fn timer(self: &Rc<Self>) -> Timer {
        let (due, filed, place) = (Cell::new(NEVER), Cell::new(NEVER), Cell::default());
        Timer { timer_wheel: self.clone(), entry: Rc::new(TimerEntry { due, filed, place, waker: RefCell::new(None) }) }
    }

    /// Waits for `after`, in the timer wheel's grain.
    pub async fn sleep(self: &Rc<Self>, after: Duration) {
        let timer = self.timer();
        timer.set(after);
        poll_fn(|cx| timer.poll_due(cx)).await;
    }

    /// Wakes the owners of due timers. Never ends; each thread runs exactly one.
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
                    sleep.as_mut().reset(self.begin_of(next));
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

    /// Whole ticks that have passed.
    fn now(&self) -> u64 {
        (self.started.elapsed().as_millis() / GRAIN.as_millis()) as u64
    }

    /// When a tick begins, however long the thread has been running.
    fn begin_of(&self, tick: u64) -> Instant {
        self.started + Duration::from_millis(tick.saturating_mul(GRAIN.as_millis() as u64))
    }

    fn file(&self, entry: &Rc<TimerEntry>, due: u64) {
        let visited = self.visited.get();
        let due = due.max(visited + 1);
        let (slot, tick) = if due - visited < SLOTS {
            (due % SLOTS, due)
        } else {
            // beyond the horizon: into the farthest slot, and filed again from there
            let span = (due / SLOTS).min(visited / SLOTS + SLOTS - 1);
            (SLOTS + span % SLOTS, span * SLOTS)
        };
        let mut slots = self.slots.borrow_mut();
        let filings = &mut slots[slot as usize];
        entry.filed.set(tick);
        entry.place.set((slot as usize, filings.len()));
        filings.push(entry.clone());
        if tick < self.next.get() {
            self.next.set(tick);
            if let Some(driver) = &*self.driver.borrow() {
                driver.wake_by_ref();
            }
        }
    }

    /// Takes an entry out of its slot, if it is in one.
    fn take_out(&self, entry: &TimerEntry) {
        if entry.filed.replace(NEVER) == NEVER {
            return;
        }
        let (slot, index) = entry.place.get();
        let mut slots = self.slots.borrow_mut();
        let taken = slots[slot].swap_remove(index);
        if let Some(moved) = slots[slot].get(index) {
            moved.place.set((slot, index));
        }
        drop(slots);
        drop(taken);
    }

    /// Visits every deadline that has passed by now.
    pub(crate) fn visit(&self) {
        let now = self.now();
        if now < self.next.get() {
            return;
        }
        let before = self.visited.replace(now);
        let ticks = (before + 1..=now).take(SLOTS as usize).map(|tick| tick % SLOTS);
        let spans = (before / SLOTS + 1..=now / SLOTS).take(SLOTS as usize).map(|span| SLOTS + span % SLOTS);
        for slot in ticks.chain(spans) {
            self.visit_slot(slot as usize, now);
        }
        self.next.set(self.next_filed());
    }

    fn visit_slot(&self, slot: usize, now: u64) {
        if self.slots.borrow()[slot].is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.slots.borrow_mut()[slot]);
        for entry in &entries {
            entry.filed.set(NEVER); // for all of them, before any owner is woken
        }
        for entry in entries {
            match entry.due.get() {
                NEVER => {}
                due if due > now => self.file(&entry, due),
                _ => {
                    let waker = entry.waker.borrow_mut().take();
                    waker.into_iter().for_each(Waker::wake);
                }
            }
        }
    }

    /// The tick at which the next slot is visited that is not empty.
    fn next_filed(&self) -> u64 {
        let slots = self.slots.borrow();
        let visited = self.visited.get();
        let by_tick = (visited + 1..visited + SLOTS).find(|tick| !slots[(tick % SLOTS) as usize].is_empty());
        let first = visited / SLOTS + 1;
        let by_span = (first..first + SLOTS).find(|span| !slots[(SLOTS + span % SLOTS) as usize].is_empty());
        by_tick.unwrap_or(NEVER).min(by_span.map_or(NEVER, |span| span * SLOTS))
    }
}

/// Wakes the task that waits for a timer, for those that do not own it.
pub struct Waking(Rc<TimerEntry>);

impl Waking {
    /// Wakes the task that waits for the timer, due or not.
    pub fn wake(&self) {
        if let Some(waker) = self.0.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Timer {
    /// A handle by which others wake its task.
    #[must_use]
    pub fn waking(&self) -> Waking {
        Waking(self.entry.clone())
    }

    /// Moves the deadline to `after` from now.
    pub fn set(&self, after: Duration) {
        let ticks = (after.as_millis() / GRAIN.as_millis()) as u64 + 1;
        self.set_tick(self.timer_wheel.now().saturating_add(ticks));
    }

    /// Moves the deadline to `at`, without a look at the clock.
    pub fn set_at(&self, at: Instant) {
        self.set_tick(
            (at.saturating_duration_since(self.timer_wheel.started).as_millis() / GRAIN.as_millis()) as u64 + 1,
        );
    }

    fn set_tick(&self, due: u64) {
        self.entry.due.set(due);
        if due < self.entry.filed.get() {
            self.timer_wheel.take_out(&self.entry);
            self.timer_wheel.file(&self.entry, due);
        }
    }

    /// Turns the timer off.
    pub fn off(&self) {
        self.entry.due.set(NEVER);
    }

    /// How long it is until the deadline; none while the timer is off.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        let due = Some(self.entry.due.get()).filter(|due| *due != NEVER)?;
        Some(self.timer_wheel.begin_of(due).saturating_duration_since(Instant::now()))
    }

    /// Whether the deadline has passed, as far as the driver has come: it visits each deadline that is due, and then wakes
    /// the task. That costs no look at the clock, which a connection would take several times for each request.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.entry.due.get() <= self.timer_wheel.visited.get()
    }

    /// Notes the task that is woken when the deadline passes and by [`Waking::wake`], instead of the one noted before.
    pub fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.entry.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Ready once the deadline has passed; pending, with the task noted, before it and while the timer is off.
    pub fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_due() {
            return Poll::Ready(());
        }
        self.watch(cx);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.timer_wheel.take_out(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn within<T>(timer_wheel: &Rc<TimerWheel>, future: impl Future<Output = T>) -> T {
        tokio::select! {
            () = timer_wheel.clone().run() => unreachable!("the timer wheel runs for ever"),
            value = future => value,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_goes_off_after_its_time_and_not_before() {
        let timer_wheel = TimerWheel::new();
        let started = Instant::now();
        within(&timer_wheel, timer_wheel.sleep(Duration::from_millis(100))).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(100) && took <= Duration::from_millis(140), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_beyond_the_horizon_goes_off_once_due() {
        let timer_wheel = TimerWheel::new();
        let started = Instant::now();
        within(&timer_wheel, timer_wheel.sleep(Duration::from_secs(100))).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_secs(100) && took <= Duration::from_millis(100_050), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_moved_timer_goes_off_at_the_last_time_set() {
        let timer_wheel = TimerWheel::new();
        let timer = timer_wheel.timer();
        timer.set(Duration::from_millis(50));
        timer.set(Duration::from_secs(1));
        let started = Instant::now();
        within(&timer_wheel, poll_fn(|cx| timer.poll_due(cx))).await;
        assert!(started.elapsed() >= Duration::from_secs(1));
        timer.set(Duration::from_secs(20));
        timer.set(Duration::from_millis(30));
        let started = Instant::now();
        within(&timer_wheel, poll_fn(|cx| timer.poll_due(cx))).await;
        assert!(started.elapsed() <= Duration::from_millis(80));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_off_never_goes_off() {
        let timer_wheel = TimerWheel::new();
        let timer = timer_wheel.timer();
        timer.set(Duration::from_millis(50));
        timer.off();
        let waited = tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| timer.poll_due(cx)));
        assert!(within(&timer_wheel, waited).await.is_err());
    }

    /// How often the driver is polled while `future` runs.
    async fn turns(timer_wheel: &Rc<TimerWheel>, future: impl Future<Output = ()>) -> u32 {
        let mut turns = 0;
        let mut driver = std::pin::pin!(timer_wheel.clone().run());
        let counted = poll_fn(|cx| {
            turns += 1;
            driver.as_mut().poll(cx)
        });
        tokio::select! {
            biased;
            () = counted => unreachable!("the timer wheel runs for ever"),
            () = future => {}
        }
        turns
    }

    fn filings(timer_wheel: &TimerWheel) -> usize {
        timer_wheel.slots.borrow().iter().map(Vec::len).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_deadline_costs_a_visit_or_two_and_not_one_every_two_seconds() {
        let timer_wheel = TimerWheel::new();
        let turns = turns(&timer_wheel, timer_wheel.sleep(Duration::from_secs(200))).await;
        assert!(turns <= 6, "the driver ran {turns} times");
    }

    #[tokio::test(start_paused = true)]
    async fn every_deadline_is_met_in_its_grain_however_far_it_is() {
        let timer_wheel = TimerWheel::new();
        for millis in [1, 16, 2000, 2031, 2032, 2048, 2049, 4096, 59_999, 262_143, 262_144, 262_160, 600_000, 7_200_000]
        {
            let (started, after) = (Instant::now(), Duration::from_millis(millis));
            within(&timer_wheel, timer_wheel.sleep(after)).await;
            let took = started.elapsed();
            assert!(took >= after && took <= after + 2 * GRAIN + Duration::from_millis(1), "{after:?}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_deadlines_moved_at_random_are_all_met() {
        let timer_wheel = TimerWheel::new();
        let timers: Vec<_> = (0..500).map(|_| timer_wheel.timer()).collect();
        let mut random = 1_u64;
        for _ in 0..20 {
            for timer in &timers {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                timer.set(Duration::from_millis((random >> 33) % 400_000));
            }
            within(&timer_wheel, timer_wheel.sleep(Duration::from_secs(3))).await;
        }
        let all = async {
            for timer in &timers {
                poll_fn(|cx| timer.poll_due(cx)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(401), all);
        within(&timer_wheel, ended).await.expect("each one goes off in its time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_dropped_leaves_no_filing() {
        let timer_wheel = TimerWheel::new();
        let mut timers: Vec<_> = (0..100).map(|_| timer_wheel.timer()).collect();
        for (number, timer) in timers.iter().enumerate() {
            timer.set(Duration::from_millis(700 * number as u64));
            timer.set(Duration::from_millis(300 * number as u64));
        }
        assert_eq!(filings(&timer_wheel), 100);
        timers.retain({
            let mut number = 0;
            move |_| {
                number += 1;
                number % 3 == 0
            }
        });
        assert_eq!(filings(&timer_wheel), 33);
        drop(timers);
        assert_eq!(filings(&timer_wheel), 0);
    }

    /// A number of ticks beyond 32 bits is 795 days and more.
    #[tokio::test(start_paused = true)]
    async fn after_years_of_running_deadlines_are_met_and_the_driver_sleeps_in_between() {
        let timer_wheel = TimerWheel::new();
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(300 * 24 * 3600)).await;
            let started = Instant::now();
            let turns = turns(&timer_wheel, timer_wheel.sleep(Duration::from_secs(10))).await;
            let took = started.elapsed();
            assert!(took >= Duration::from_secs(10) && took <= Duration::from_millis(10_040), "{took:?}");
            assert!(turns <= 6, "the driver ran {turns} times");
        }
        assert!(timer_wheel.now() > u64::from(u32::MAX));
    }
}
