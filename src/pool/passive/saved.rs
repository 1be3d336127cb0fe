//! The failed connections to a server, as the next generation gets them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Ejection, Passive, PassiveDetails};
use crate::pool::health::{millis, time};

/// Passive health of one server as plain data. Everything in it may come from another version of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedPassive {
    /// Failed connections in a row.
    pub fails: u32,
    /// One of them was not even opened.
    pub unopened: bool,
    /// How long the last ejection was, in milliseconds; 0 for none since a request succeeded.
    pub last_ms: u64,
    /// Since when the server is ejected, in milliseconds since 1970; none when it is not.
    pub since: Option<u64>,
    /// When the next trial is due, as `since`.
    pub until: u64,
    /// Why it is ejected.
    pub reason: String,
}

impl Passive {
    /// The whole state.
    #[must_use]
    pub fn save(&self) -> SavedPassive {
        let details = self.details();
        let ejection = details.ejection.as_ref();
        SavedPassive {
            fails: details.fails,
            unopened: details.unopened,
            last_ms: in_millis(details.last.unwrap_or_default()),
            since: ejection.map(|ejection| millis(ejection.since)),
            until: ejection.map(|ejection| millis(ejection.until)).unwrap_or_default(),
            reason: ejection.map(|ejection| ejection.reason.clone()).unwrap_or_default(),
        }
    }

    /// Continues from `saved`, as far as the configuration permits.
    pub(in crate::pool) fn restore(&self, saved: &SavedPassive, now: SystemTime) {
        if !self.is_on() {
            return;
        }
        let longest = self.limits.max_ejection;
        let last = (saved.last_ms > 0).then(|| Duration::from_millis(saved.last_ms).min(longest));
        let ejection = saved.since.map(|since| Ejection {
            since: time(since, now),
            until: UNIX_EPOCH.checked_add(Duration::from_millis(saved.until)).unwrap_or(now),
            pause: last.unwrap_or(longest),
            reason: saved.reason.clone(),
        });
        let mut details = self.details();
        *details = PassiveDetails { fails: saved.fails, unopened: saved.unopened, last, ejection };
        self.mark(&details);
    }
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::EjectionRules;
    use super::*;

    #[test]
    fn an_ejection_goes_on_and_the_configuration_wins() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let limits = EjectionRules { max_fails: 1, max_ejection: Duration::from_secs(60) };
        let before = Passive::new(limits);
        before.failed("refused", || false, now).expect("ejected");
        (0..3).for_each(|_| before.prolonged(now));
        let later = now + Duration::from_secs(3);
        let saved = before.save();
        assert_eq!(saved.last_ms, 8_000);

        let same = Passive::new(limits);
        same.restore(&saved, later);
        assert!(same.is_ejected());
        assert_eq!(same.due_in(later), Some(Duration::from_secs(5)));
        assert_eq!(same.save(), saved);
        let shorter = Passive::new(EjectionRules { max_ejection: Duration::from_secs(2), ..limits });
        shorter.restore(&saved, later);
        assert_eq!(shorter.due_in(later), Some(Duration::from_secs(2)));
        let off = Passive::new(EjectionRules { max_fails: 0, ..limits });
        off.restore(&saved, later);
        assert!(!off.is_ejected());
    }
}
