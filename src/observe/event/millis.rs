//! Durations as events have them: in milliseconds.

use std::time::Duration;

use serde::Serializer;

pub(super) fn millis<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn optional_millis<S: Serializer>(duration: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => millis(duration, out),
        None => out.serialize_none(),
    }
}
