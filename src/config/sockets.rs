//! The forms of what is said of the other ends of connections.

use std::time::Duration;

use figment::value::Value;

use super::report::Report;
use super::spot::Spot;
use super::table::Form;

/// The silence after which the other end of a TCP connection is asked whether it is there; none for never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive(pub Option<Duration>);

impl Form for KeepAlive {
    fn describe() -> String {
        format!("{}, or \"off\"", Duration::describe())
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        match value.as_str() {
            Some("off") => Some(Self(None)),
            _ => Duration::read(value, spot, report).map(|after| Self(Some(after))),
        }
    }
}
