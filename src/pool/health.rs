//! Whether a server may take requests: a state machine that checks and DNS drive, and the request path reads with
//! one relaxed load.

mod saved;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::control::status::{CheckStatus, HealthStatus, TransitionStatus};

pub use self::saved::SavedHealth;
pub(super) use self::saved::{millis, time};

/// The state of a server.
///
/// ```text
///  WaitingForDns ── address, no check ────────────────► Up
///  WaitingForDns ── address, check ───────────────────► Unknown
///  Unknown ── good result ────────────────────────────► Up
///  Unknown ── bad result ─────────────────────────────► Down
///  Up ── `fall` bad results in a row ─────────────────► Down
///  Down ── `rise` good results in a row ──────────────► Up
///  Up, Down ── another address, check ────────────────► Unknown
/// ```
///
/// Nothing leads back to `WaitingForDns`: when DNS fails later, the last good address stays. A generation starts with
/// the state that the one before had, unless its configuration forbids that: see [`SavedHealth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HealthState {
    /// Takes requests.
    Up = 0,
    /// Has an address that was not checked yet: the first result decides at once.
    Unknown = 1,
    /// Takes none.
    Down = 2,
    /// Has no address yet.
    WaitingForDns = 3,
}

impl HealthState {
    const ALL: [Self; 4] = [Self::Up, Self::Unknown, Self::Down, Self::WaitingForDns];

    /// The state with this number.
    fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Its name in the journal and in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unknown => "unknown",
            Self::Down => "down",
            Self::WaitingForDns => "waiting for DNS",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its verdict on the server.
    pub verdict: CheckVerdict,
    /// For people: "status 200", "connection refused".
    pub detail: Cow<'static, str>,
    /// How long the check took.
    pub took: Duration,
}

/// The verdict of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckVerdict {
    /// The server works.
    Good,
    /// It does not work.
    Bad,
    /// None: the check could not be made, for a reason that is not the server's.
    Nothing,
}

impl CheckVerdict {
    /// Whether the server works; none when the check does not tell.
    fn is_healthy(self) -> Option<bool> {
        match self {
            Self::Good => Some(true),
            Self::Bad => Some(false),
            Self::Nothing => None,
        }
    }
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: HealthState,
    /// The state since.
    pub to: HealthState,
    /// Why, for people: "3 checks failed: connection refused".
    pub reason: String,
    /// When.
    pub at: SystemTime,
    /// How long the state before had lasted.
    pub lasted: Duration,
}

/// How many results in a row change the state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Good ones, of a server that is down.
    pub rise: u32,
    /// Bad ones, of a server that is up.
    pub fall: u32,
}

/// The health of one server. Any thread reads; checks and DNS write, from the worker's main thread.
#[derive(Debug)]
pub struct Health {
    /// A copy of the state in `details`, for the request path.
    state: AtomicU8,
    /// `None` without a check: the server is up once it has an address.
    thresholds: Option<Thresholds>,
    details: Mutex<HealthDetails>,
}

#[derive(Debug)]
struct HealthDetails {
    state: HealthState,
    since: SystemTime,
    /// Results in a row that contradict the state.
    against: u32,
    last: Option<(SystemTime, Finding)>,
    history: VecDeque<Transition>,
}

/// Transitions of each server in the status.
const HISTORY: usize = 16;

impl Health {
    /// The initial state of a server that has an address, or waits for one.
    #[must_use]
    pub fn new(has_address: bool, thresholds: Option<Thresholds>, now: SystemTime) -> Self {
        let state = match (has_address, thresholds) {
            (false, _) => HealthState::WaitingForDns,
            (true, Some(_)) => HealthState::Unknown,
            (true, None) => HealthState::Up,
        };
        Self {
            state: AtomicU8::new(state as u8),
            thresholds,
            details: Mutex::new(HealthDetails { state, since: now, against: 0, last: None, history: VecDeque::new() }),
        }
    }

    /// The state now: one relaxed load.
    #[inline]
    #[must_use]
    pub fn state(&self) -> HealthState {
        HealthState::ALL[usize::from(self.state.load(Ordering::Relaxed) & 3)]
    }

    /// Whether the server takes requests.
    #[inline]
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state() == HealthState::Up
    }

    /// Processes the result of a check.
    ///
    /// The first finding about an unknown server decides at once; after that it takes `rise` or `fall` in a row.
    /// Findings about a server that waits for its address are kept for the status and change nothing.
    pub fn observe(&self, finding: Finding, now: SystemTime) -> Option<Transition> {
        let Thresholds { rise, fall } = self.thresholds?;
        let mut details = self.details();
        let (to, needed) = match (details.state, finding.verdict) {
            (HealthState::Unknown, CheckVerdict::Good) => (HealthState::Up, 1),
            (HealthState::Unknown, CheckVerdict::Bad) => (HealthState::Down, 1),
            (HealthState::Up, CheckVerdict::Bad) => (HealthState::Down, fall),
            (HealthState::Down, CheckVerdict::Good) => (HealthState::Up, rise),
            (HealthState::Up, CheckVerdict::Good) | (HealthState::Down, CheckVerdict::Bad) => {
                details.against = 0;
                details.last = Some((now, finding));
                return None;
            }
            (HealthState::WaitingForDns, _) | (_, CheckVerdict::Nothing) => {
                details.last = Some((now, finding));
                return None;
            }
        };
        details.against = details.against.saturating_add(1);
        let transition = (details.against >= needed).then(|| {
            let reason = reason(details.state, to, details.against, &finding.detail);
            self.change(&mut details, to, reason, now)
        });
        details.last = Some((now, finding));
        transition
    }

    /// The server has an address, the first or another one. With a check its state is unknown until that has a
    /// result.
    pub(super) fn relocated(&self, reason: String, now: SystemTime) -> Option<Transition> {
        let mut details = self.details();
        let to = match self.thresholds {
            Some(_) => HealthState::Unknown,
            None => HealthState::Up,
        };
        details.against = 0;
        (details.state != to).then(|| self.change(&mut details, to, reason, now))
    }

    /// When the last check ended.
    #[must_use]
    pub fn last_checked(&self) -> Option<SystemTime> {
        self.details().last.as_ref().map(|(at, _)| *at)
    }

    /// State, since when, the last finding and the latest transitions.
    #[must_use]
    pub fn status(&self) -> HealthStatus {
        let details = self.details();
        let check = details.last.as_ref().map(|(at, finding)| CheckStatus {
            at: written(*at),
            healthy: finding.verdict.is_healthy(),
            result: finding.detail.to_string(),
            took_us: u64::try_from(finding.took.as_micros()).unwrap_or(u64::MAX),
        });
        let history = details.history.iter().map(|transition| TransitionStatus {
            at: written(transition.at),
            from: transition.from.as_str().to_owned(),
            to: transition.to.as_str().to_owned(),
            reason: transition.reason.clone(),
        });
        HealthStatus {
            state: details.state.as_str().to_owned(),
            since: written(details.since),
            check,
            history: history.collect(),
        }
    }

    /// The one place where the state changes.
    fn change(&self, details: &mut HealthDetails, to: HealthState, reason: String, now: SystemTime) -> Transition {
        let transition = Transition {
            from: details.state,
            to,
            reason,
            at: now,
            lasted: now.duration_since(details.since).unwrap_or_default(), // the clock may have been set back
        };
        details.state = to;
        details.since = now;
        details.against = 0;
        if details.history.len() == HISTORY {
            details.history.pop_front();
        }
        details.history.push_back(transition.clone());
        self.state.store(to as u8, Ordering::Relaxed);
        transition
    }

    /// A panic elsewhere leaves no half-made details: only plain stores change them.
    fn details(&self) -> MutexGuard<'_, HealthDetails> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reason(from: HealthState, to: HealthState, results: u32, detail: &str) -> String {
    let went = if to == HealthState::Up { "passed" } else { "failed" };
    match (from, results) {
        (HealthState::Unknown, _) => format!("first check {went}: {detail}"),
        (_, 1) => format!("check {went}: {detail}"),
        (_, many) => format!("{many} checks {went}: {detail}"),
    }
}

pub(super) fn written(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(verdict: CheckVerdict) -> Finding {
        Finding { verdict, detail: "said".into(), took: Duration::from_millis(1) }
    }

    fn checked() -> Health {
        let thresholds = Thresholds { rise: 2, fall: 3 };
        Health::new(true, Some(thresholds), SystemTime::UNIX_EPOCH)
    }

    /// Applies findings ('+' good, '-' bad, '?' nothing, 'a' another address); returns the state after each.
    fn run(health: &Health, findings: &str) -> String {
        let step = |finding| {
            let before = health.state();
            let transition = match finding {
                'a' => health.relocated("moved".to_owned(), SystemTime::UNIX_EPOCH),
                '+' => health.observe(found(CheckVerdict::Good), SystemTime::UNIX_EPOCH),
                '-' => health.observe(found(CheckVerdict::Bad), SystemTime::UNIX_EPOCH),
                _ => health.observe(found(CheckVerdict::Nothing), SystemTime::UNIX_EPOCH),
            };
            let told = transition.map(|transition| (transition.from, transition.to));
            let seen = (before, health.state());
            assert_eq!(told, (seen.0 != seen.1).then_some(seen), "each change is told, and nothing else");
            match health.state() {
                HealthState::Up => 'U',
                HealthState::Down => 'D',
                HealthState::Unknown => '?',
                HealthState::WaitingForDns => 'w',
            }
        };
        findings.chars().map(step).collect()
    }

    #[test]
    fn the_state_follows_rise_and_fall() {
        for (findings, states) in [
            ("+", "U"),
            ("-", "D"),
            ("?+", "?U"),
            ("+---", "UUUD"),
            ("+--+--+", "UUUUUUU"),
            ("+--?-", "UUUUD"),
            ("-+-++", "DDDDU"),
            ("-+?+", "DDDU"),
            ("+a-", "U?D"),
            ("-a+", "D?U"),
            ("aa+", "??U"),
            ("+--a+--", "UUU?UUU"),
        ] {
            assert_eq!(run(&checked(), findings), states, "after {findings}");
        }
    }

    #[test]
    fn without_a_check_a_server_is_up_once_it_has_an_address() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(Health::new(true, None, now).state(), HealthState::Up);
        assert_eq!(run(&Health::new(false, None, now), "-+aa-"), "wwUUU");
    }

    #[test]
    fn a_server_that_waits_for_dns_is_not_judged() {
        let thresholds = Some(Thresholds { rise: 1, fall: 1 });
        let health = Health::new(false, thresholds, SystemTime::UNIX_EPOCH);
        assert_eq!(run(&health, "+-a-+"), "ww?DU");
    }

    #[test]
    fn a_transition_says_why_and_how_long_it_took() {
        let health = checked();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let first = health.observe(found(CheckVerdict::Good), at(1)).expect("up");
        assert_eq!(first.reason, "first check passed: said");
        for second in 2..4 {
            assert_eq!(health.observe(found(CheckVerdict::Bad), at(second)), None);
        }
        let down = health.observe(found(CheckVerdict::Bad), at(4)).expect("down");
        assert_eq!(down.reason, "3 checks failed: said");
        assert_eq!((down.at, down.lasted), (at(4), Duration::from_secs(3)));
    }

    #[test]
    fn the_status_keeps_the_last_finding_and_the_latest_transitions() {
        let health = checked();
        run(&health, &"---++".repeat(20));
        let status = health.status();
        assert_eq!(status.state, "up");
        assert_eq!(status.since, "1970-01-01T00:00:00.000Z");
        assert_eq!(status.check.as_ref().map(|check| &*check.result), Some("said"));
        assert_eq!(status.check.and_then(|check| check.healthy), Some(true));
        assert_eq!(status.history.len(), HISTORY);
        assert_eq!(status.history[HISTORY - 1].reason, "2 checks passed: said");
    }
}
