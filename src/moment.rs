//! Moments as they are written down for another program: in nanoseconds of CLOCK_MONOTONIC, which continues over
//! execve(2) and is the clock behind [`Instant`].

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// For `#[serde(with)]`.
///
/// # Errors
/// When it is before the start of the machine.
pub fn serialize<S: Serializer>(moment: &Instant, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(HERE.written(*moment))
}

/// For `#[serde(with)]`.
///
/// # Errors
/// When it is no moment.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
    let written = u64::deserialize(from)?;
    HERE.read(written).ok_or_else(|| D::Error::custom("a moment that this clock cannot show"))
}

/// The same for a moment that may be missing.
pub mod optional {
    use super::*;

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// As for one that is not missing.
    pub fn serialize<S: Serializer>(moment: &Option<Instant>, out: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => out.serialize_some(&HERE.written(*moment)),
            None => out.serialize_none(),
        }
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// As for one that is not missing.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Instant>, D::Error> {
        let Some(written) = Option::<u64>::deserialize(from)? else {
            return Ok(None);
        };
        HERE.read(written).map(Some).ok_or_else(|| D::Error::custom("a moment that this clock cannot show"))
    }
}

/// One moment in both representations. A process has one, so that distances between moments stay exact to the
/// nanosecond; that of the next process differs by the time between two system calls.
#[derive(Clone, Copy)]
struct Anchor {
    instant: Instant,
    clock: Duration,
}

static HERE: LazyLock<Anchor> = LazyLock::new(Anchor::now);

impl Anchor {
    fn now() -> Self {
        let instant = Instant::now();
        let clock = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
        Self { instant, clock }
    }

    /// What is before the start of the machine becomes the start.
    fn written(self, moment: Instant) -> u64 {
        let after = moment.saturating_duration_since(self.instant);
        let before = self.instant.saturating_duration_since(moment);
        let clock = (self.clock + after).saturating_sub(before);
        u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX)
    }

    fn read(self, written: u64) -> Option<Instant> {
        let written = Duration::from_nanos(written);
        match written.checked_sub(self.clock) {
            Some(after) => self.instant.checked_add(after),
            None => self.instant.checked_sub(self.clock - written),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn moments_read_back_as_they_were_written_and_keep_their_distances_in_another_process(
            before in 0_u64..1_000_000, after in 0_u64..1_000_000_000_000,
        ) {
            let (here, there) = (Anchor::now(), Anchor::now());
            // the machine may have started a moment ago
            let past = here.instant.checked_sub(Duration::from_nanos(before)).unwrap_or(here.instant);
            let future = here.instant + Duration::from_nanos(after);
            for moment in [past, future] {
                prop_assert_eq!(here.read(here.written(moment)), Some(moment));
            }
            let [past_there, future_there] = [past, future].map(|moment| there.read(here.written(moment)).expect("read"));
            prop_assert_eq!(future_there - past_there, future - past);
        }
    }

    #[test]
    fn what_no_clock_can_show_is_refused() {
        #[derive(Debug, Deserialize)]
        struct Read {
            #[serde(with = "super")]
            _moment: Instant,
            #[serde(with = "super::optional")]
            _maybe: Option<Instant>,
        }
        serde_json::from_str::<Read>(r#"{"_moment": 0, "_maybe": null}"#).expect("the start of the machine");
        serde_json::from_str::<Read>(r#"{"_moment": -1, "_maybe": null}"#).expect_err("before it");
        serde_json::from_str::<Read>(r#"{"_moment": 0, "_maybe": "now"}"#).expect_err("no number");
    }
}
