//! Passive health: the evidence of real traffic about a server, beside its checks.
//!
//! A server whose connections fail again and again is ejected: it takes no requests for a time that doubles, as long
//! as another one can. The request path reads one atomic; the rest is for opened connections and for failures.

mod saved;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

pub use self::saved::SavedPassive;
use super::health;
use crate::control::status::EjectionStatus;

/// How long a server is ejected for the first time.
const FIRST_EJECTION: Duration = Duration::from_secs(1);

/// The rules of ejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionRules {
    /// After so many failed connections in a row; 0: never.
    pub max_fails: u32,
    /// For so long at most.
    pub max_ejection: Duration,
}

/// The passive health of one server; every thread reads and writes it.
///
/// ```text
///  Trusted ── `max_fails` connections in a row fail, while another server takes requests ──► Ejected
///  Ejected ── its time is over, and a trial fails ─────────────────────────────────────────► Ejected, for twice the time
///  Ejected ── a trial or a request succeeds on a new connection ───────────────────────────► Trusted
/// ```
///
/// After a trial one further failure ejects it again, for twice the time, until a request has succeeded.
#[derive(Debug)]
pub struct Passive {
    /// A summary of `details`: see [`Mark`].
    mark: AtomicU8,
    limits: EjectionRules,
    details: Mutex<PassiveDetails>,
    /// Wakes the trials.
    news: Notify,
}

/// What the request path needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mark {
    /// No failure since the last success.
    Clear = 0,
    /// Connections ended without an answer since the last answer.
    Closing = 1,
    /// Connections could not be opened since the last one that could.
    Failing = 2,
    Ejected = 3,
}

#[derive(Debug, Default)]
struct PassiveDetails {
    /// Failed connections in a row.
    fails: u32,
    /// One of them was not even opened.
    unopened: bool,
    /// How long the last ejection was, until a request succeeds.
    last: Option<Duration>,
    ejection: Option<Ejection>,
}

/// An ejection: a server takes no requests for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Since when.
    pub since: SystemTime,
    /// When the next trial is due.
    pub until: SystemTime,
    /// The pause before it.
    pub pause: Duration,
    /// Why, for people: "3 connections in a row failed: connection refused".
    pub reason: String,
}

impl Passive {
    pub(super) fn new(limits: EjectionRules) -> Self {
        Self { mark: AtomicU8::new(Mark::Clear as u8), limits, details: Mutex::default(), news: Notify::new() }
    }

    /// Whether the server takes no requests while another one can: one relaxed load.
    #[inline]
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.mark.load(Ordering::Relaxed) == Mark::Ejected as u8
    }

    /// Whether it may ever be ejected.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.limits.max_fails > 0
    }

    /// A connection could not be opened. `is_last` tells whether no other server of the pool takes requests. Returns
    /// the ejection that this causes.
    pub(super) fn failed(&self, why: &str, is_last: impl FnOnce() -> bool, now: SystemTime) -> Option<Ejection> {
        self.count(true, why, is_last, now)
    }

    /// A new connection ended before an answer came over it. The rest as [`Passive::failed`].
    pub(super) fn closed(&self, is_last: impl FnOnce() -> bool, now: SystemTime) -> Option<Ejection> {
        self.count(false, "closed without an answer", is_last, now)
    }

    fn count(&self, unopened: bool, why: &str, is_last: impl FnOnce() -> bool, now: SystemTime) -> Option<Ejection> {
        if !self.is_on() || self.is_ejected() {
            return None;
        }
        let mut details = self.details();
        if details.ejection.is_some() {
            return None;
        }
        details.fails = details.fails.saturating_add(1);
        details.unopened |= unopened;
        if details.fails < self.limits.max_fails || is_last() {
            self.mark(&details);
            return None;
        }
        let pause = self.longer(details.last);
        let reason = match details.fails {
            1 => format!("a connection failed: {why}"),
            fails => format!("{fails} connections in a row failed: {why}"),
        };
        let ejection = Ejection { since: now, until: now + pause, pause, reason };
        details.last = Some(pause);
        details.ejection = Some(ejection.clone());
        self.mark(&details);
        self.news.notify_one();
        Some(ejection)
    }

    /// A request succeeded on a new connection. Returns the ejection that this ends.
    #[inline]
    pub fn succeeded(&self) -> Option<Ejection> {
        if self.mark.load(Ordering::Relaxed) == Mark::Clear as u8 {
            return None;
        }
        self.clear()
    }

    /// A request succeeded on an idle connection. That does not prove that new ones can be opened, but the server
    /// answers: connections that a request or two made it close must not add up with those of hours later.
    #[inline]
    pub fn answered(&self) {
        if self.mark.load(Ordering::Relaxed) == Mark::Closing as u8 {
            self.clear();
        }
    }

    /// Clears every failure. Returns the ejection that this ends.
    pub fn clear(&self) -> Option<Ejection> {
        let mut details = self.details();
        let PassiveDetails { ejection, .. } = std::mem::take(&mut *details);
        self.mark(&details);
        if ejection.is_some() {
            self.news.notify_one();
        }
        ejection
    }

    /// How long it is until a trial is due; `None` while the server is not ejected.
    #[must_use]
    pub fn due_in(&self, now: SystemTime) -> Option<Duration> {
        let details = self.details();
        let ejection = details.ejection.as_ref()?;
        // a clock that is set back must not delay the trial
        Some(ejection.until.duration_since(now).unwrap_or_default().min(ejection.pause))
    }

    /// The trial is due now: DNS has an address that was not tried.
    pub(super) fn hasten(&self, now: SystemTime) {
        let mut details = self.details();
        if let Some(ejection) = &mut details.ejection {
            ejection.until = now;
            self.news.notify_one();
        }
    }

    /// A trial succeeded: the server takes requests again. Returns the ejection that this ends.
    pub fn passed(&self) -> Option<Ejection> {
        let mut details = self.details();
        let ejection = details.ejection.take();
        if ejection.is_some() {
            details.fails = self.limits.max_fails.saturating_sub(1);
        }
        self.mark(&details);
        ejection
    }

    /// A trial failed: the next one is due after twice the time.
    pub fn prolonged(&self, now: SystemTime) {
        let mut details = self.details();
        let pause = self.longer(details.last);
        if let Some(ejection) = &mut details.ejection {
            (ejection.pause, ejection.until) = (pause, now + pause);
            details.last = Some(pause);
        }
    }

    /// Waits for a change: an ejection, its end, or the time of a trial. For one waiter.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Its part of the status; nothing without failures.
    pub(super) fn status(&self) -> Option<EjectionStatus> {
        let details = self.details();
        details.ejection.as_ref().map(|ejection| EjectionStatus {
            since: health::written(ejection.since),
            until: health::written(ejection.until),
            reason: ejection.reason.clone(),
        })
    }

    fn longer(&self, last: Option<Duration>) -> Duration {
        last.map_or(FIRST_EJECTION, |last| last.saturating_mul(2)).min(self.limits.max_ejection)
    }

    /// The only place where the mark changes; the details are locked meanwhile.
    fn mark(&self, details: &PassiveDetails) {
        let mark = match details {
            PassiveDetails { ejection: Some(_), .. } => Mark::Ejected,
            PassiveDetails { fails: 0, last: None, .. } => Mark::Clear,
            PassiveDetails { unopened: false, .. } => Mark::Closing,
            _ => Mark::Failing,
        };
        self.mark.store(mark as u8, Ordering::Relaxed);
    }

    /// A panic elsewhere leaves no half-made details: only plain stores change them.
    fn details(&self) -> MutexGuard<'_, PassiveDetails> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const LIMITS: EjectionRules = EjectionRules { max_fails: 3, max_ejection: Duration::from_secs(5) };

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn fail(passive: &Passive, times: usize) -> Option<Ejection> {
        (0..times).filter_map(|_| passive.failed("refused", || false, at(10))).last()
    }

    #[test]
    fn connections_that_fail_in_a_row_eject_a_server_for_a_time_that_doubles() {
        let passive = Passive::new(LIMITS);
        assert_eq!(fail(&passive, 2), None);
        assert_eq!(passive.succeeded(), None);
        assert_eq!(fail(&passive, 2), None, "a success came between");
        let ejection = fail(&passive, 1).expect("three in a row");
        assert_eq!((&*ejection.reason, ejection.pause), ("3 connections in a row failed: refused", FIRST_EJECTION));
        assert!(passive.is_ejected());
        assert_eq!(fail(&passive, 9), None, "it is ejected already");
        for (seconds, pause) in [(11, 2), (13, 4), (17, 5), (22, 5)] {
            assert_eq!(passive.due_in(at(seconds)), Some(Duration::ZERO));
            passive.prolonged(at(seconds));
            assert_eq!(passive.due_in(at(seconds)), Some(Duration::from_secs(pause)));
        }
        assert_eq!(passive.passed().map(|ejection| ejection.since), Some(at(10)));
        assert!(!passive.is_ejected() && passive.due_in(at(30)).is_none());
    }

    #[test]
    fn after_a_trial_one_failure_ejects_again_until_a_request_has_succeeded() {
        let passive = Passive::new(LIMITS);
        fail(&passive, 3).expect("ejected");
        passive.passed().expect("back");
        let again = fail(&passive, 1).expect("ejected again");
        assert_eq!(again.pause, Duration::from_secs(2));
        passive.passed().expect("back");
        assert_eq!(passive.succeeded(), None);
        assert_eq!(fail(&passive, 2), None);
        assert_eq!(fail(&passive, 1).expect("ejected").pause, FIRST_EJECTION);
        assert!(passive.succeeded().is_some(), "a request that succeeds ends it at once");
    }

    #[test]
    fn any_answer_makes_up_for_connections_that_were_closed_but_not_for_those_that_could_not_be_opened() {
        let passive = Passive::new(LIMITS);
        let close = |times| (0..times).find_map(|_| passive.closed(|| false, at(10)));
        assert_eq!(close(2), None);
        passive.answered();
        assert_eq!(close(2), None);
        assert_eq!(close(1).expect("ejected").reason, "3 connections in a row failed: closed without an answer");
        passive.answered();
        assert!(passive.is_ejected(), "that connection is older than the ejection");
        passive.succeeded().expect("back");
        assert_eq!(fail(&passive, 2), None);
        passive.answered();
        assert!(fail(&passive, 1).is_some());
    }

    #[test]
    fn the_last_server_is_not_ejected_until_there_is_another() {
        let passive = Passive::new(LIMITS);
        assert!((0..9).all(|_| passive.failed("refused", || true, at(1)).is_none()));
        assert!(!passive.is_ejected());
        assert!(passive.failed("refused", || false, at(1)).is_some());
    }

    #[test]
    fn with_no_limit_nothing_is_ejected() {
        let passive = Passive::new(EjectionRules { max_fails: 0, ..LIMITS });
        assert_eq!(fail(&passive, 100), None);
    }

    #[test]
    fn a_clock_that_is_set_back_puts_no_trial_off() {
        let passive = Passive::new(LIMITS);
        fail(&passive, 3).expect("ejected");
        assert_eq!(passive.due_in(at(0)), Some(FIRST_EJECTION));
    }
}
