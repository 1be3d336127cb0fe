//! Durations as events have them, in milliseconds, and times, as RFC 3339.

use std::time::{Duration, SystemTime};

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

pub(super) fn moment<S: Serializer>(time: &SystemTime, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&humantime::format_rfc3339_seconds(*time))
}

pub(super) fn optional_moment<S: Serializer>(time: &Option<SystemTime>, out: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => moment(time, out),
        None => out.serialize_none(),
    }
}
