//! How long clients waited for answers: counts in classes that are 3 % wide, so that any number of them fits.

use std::time::Duration;

use serde_json::{Value, json};

/// Classes for each power of two.
const PARTS: u32 = 32;
/// The first class of each power of two begins at [`PARTS`]: what is shorter has a class for each microsecond.
const CLASSES: usize = (PARTS * (u64::BITS - PARTS.ilog2() + 1)) as usize;

/// Waits of one phase, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Waits {
    classes: Vec<u64>,
    count: u64,
    longest: u64,
}

impl Default for Waits {
    fn default() -> Self {
        Self { classes: vec![0; CLASSES], count: 0, longest: 0 }
    }
}

impl Waits {
    pub(super) fn add(&mut self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        if let Some(class) = self.classes.get_mut(class(micros)) {
            *class += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(micros);
    }

    /// The wait that this share of all did not exceed, within 3 %; none when there are none.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut so_far = 0;
        let found = self.classes.iter().position(|count| {
            so_far += count;
            so_far >= wanted
        })?;
        Some(Duration::from_micros(last_of(found).min(self.longest)))
    }

    pub(super) fn longest(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.longest))
    }

    pub(super) fn json(&self) -> Value {
        let millis = |wait: Option<Duration>| wait.map(|wait| wait.as_micros() as f64 / 1000.0);
        json!({
            "p50": millis(self.quantile(0.5)),
            "p99": millis(self.quantile(0.99)),
            "max": millis(self.longest()),
        })
    }
}

fn class(micros: u64) -> usize {
    let above = micros.max(1).ilog2().saturating_sub(PARTS.ilog2());
    // one power of two is as many classes as the numbers below it have, whose shift is none
    (u64::from(above * PARTS) + (micros >> above)) as usize
}

/// The longest wait of a class.
fn last_of(class: usize) -> u64 {
    let above = (class / PARTS as usize).saturating_sub(1);
    let first = (class - above * PARTS as usize) as u64;
    (first << above) + ((1 << above) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_each_other_and_are_narrow() {
        for micros in (0..10_000).chain([65_535, 65_536, 1_000_000, 3_600_000_000]) {
            let (class, next) = (class(micros), self::class(micros + 1));
            assert!(next == class || next == class + 1, "{micros}");
            let last = last_of(class);
            assert!(last >= micros && last - micros <= micros / 32, "{micros}: {last}");
            assert!(class < CLASSES);
        }
        assert_eq!((class(u64::MAX), last_of(CLASSES - 1)), (CLASSES - 1, u64::MAX));
    }

    #[test]
    fn quantiles_are_those_of_what_was_added() {
        let mut waits = Waits::default();
        assert_eq!((waits.quantile(0.5), waits.longest()), (None, None));
        (1..=100).for_each(|millis| waits.add(Duration::from_millis(millis)));
        let millis = |share| waits.quantile(share).map_or(0, |wait| wait.as_millis());
        assert!((50..=51).contains(&millis(0.5)), "{}", millis(0.5));
        assert!((99..=100).contains(&millis(0.99)), "{}", millis(0.99));
        assert_eq!(waits.longest(), Some(Duration::from_millis(100)));
        assert_eq!(waits.json()["max"], 100.0);
    }
}
