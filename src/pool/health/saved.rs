//! The health of a server as the next generation gets it, and how that one uses it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{CheckVerdict, Finding, HISTORY, Health, HealthDetails, HealthState, Transition};

/// The health of one server as plain data. Everything in it may come from another version of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedHealth {
    /// [`HealthState::as_str`]; an unknown word is ignored.
    pub state: String,
    /// In milliseconds since 1970, as all times here.
    pub since: u64,
    /// Results in a row that contradict the state.
    pub against: u32,
    /// What the last check found.
    pub last: Option<SavedFinding>,
    /// The latest transitions, oldest first.
    pub history: Vec<SavedTransition>,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedFinding {
    /// When.
    pub at: u64,
    /// None when the check could not be made.
    pub healthy: Option<bool>,
    /// For people.
    pub result: String,
    /// How long it took.
    pub took_us: u64,
}

/// One transition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedTransition {
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: u64,
    /// How long the state before had lasted, in milliseconds.
    pub lasted: u64,
}

impl Health {
    /// The whole state.
    #[must_use]
    pub fn save(&self) -> SavedHealth {
        let details = self.details();
        SavedHealth {
            state: details.state.as_str().to_owned(),
            since: millis(details.since),
            against: details.against,
            last: details.last.as_ref().map(|(at, finding)| SavedFinding::of(*at, finding)),
            history: details.history.iter().map(SavedTransition::of).collect(),
        }
    }

    /// Continues from `saved`, as far as the configuration permits: a server without an address waits for DNS in any
    /// case, one without a check is up, and one whose check changed (`same_check` is false) is unknown. The history
    /// continues in any case.
    ///
    /// `None` when nothing could be used; else the transition that this caused, if any.
    pub(in crate::pool) fn restore(
        &self,
        saved: &SavedHealth,
        has_address: bool,
        same_check: bool,
        now: SystemTime,
    ) -> Option<Option<Transition>> {
        let before = HealthState::named(&saved.state)?;
        let (to, reason) = match (has_address, self.thresholds, before) {
            (false, ..) => (HealthState::WaitingForDns, "the address is not known"),
            (true, None, _) => (HealthState::Up, "it is not checked any more"),
            (true, Some(_), HealthState::Up | HealthState::Down) if same_check => (before, ""),
            (true, Some(_), HealthState::WaitingForDns) => (HealthState::Unknown, "the address is known"),
            (true, Some(_), _) => (HealthState::Unknown, "the check is another one"),
        };
        let mut details = self.details();
        *details = HealthDetails {
            state: before,
            since: time(saved.since, now),
            against: if same_check { saved.against } else { 0 },
            last: saved.last.as_ref().filter(|_| same_check).map(|found| found.read(now)),
            history: saved.history.iter().filter_map(|change| change.read(now)).collect(),
        };
        let surplus = details.history.len().saturating_sub(HISTORY);
        details.history.drain(..surplus);
        self.state.store(before as u8, std::sync::atomic::Ordering::Relaxed);
        Some((to != before).then(|| self.change(&mut details, to, reason.to_owned(), now)))
    }
}

impl SavedFinding {
    fn of(at: SystemTime, finding: &Finding) -> Self {
        Self {
            at: millis(at),
            healthy: finding.verdict.is_healthy(),
            result: finding.detail.to_string(),
            took_us: u64::try_from(finding.took.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn read(&self, now: SystemTime) -> (SystemTime, Finding) {
        let verdict = match self.healthy {
            Some(true) => CheckVerdict::Good,
            Some(false) => CheckVerdict::Bad,
            None => CheckVerdict::Nothing,
        };
        let took = Duration::from_micros(self.took_us);
        (time(self.at, now), Finding { verdict, detail: Cow::Owned(self.result.clone()), took })
    }
}

impl SavedTransition {
    fn of(transition: &Transition) -> Self {
        Self {
            from: transition.from.as_str().to_owned(),
            to: transition.to.as_str().to_owned(),
            reason: transition.reason.clone(),
            at: millis(transition.at),
            lasted: u64::try_from(transition.lasted.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn read(&self, now: SystemTime) -> Option<Transition> {
        Some(Transition {
            from: HealthState::named(&self.from)?,
            to: HealthState::named(&self.to)?,
            reason: self.reason.clone(),
            at: time(self.at, now),
            lasted: Duration::from_millis(self.lasted),
        })
    }
}

pub(in crate::pool) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// No remembered moment lies in the future: the clock may have been set back.
pub(in crate::pool) fn time(millis: u64, now: SystemTime) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).map_or(now, |time| time.min(now))
}
