//! The forms of what is said of the other ends of connections: whose word is taken, and when they are asked whether they
//! are there.

use std::time::Duration;

use figment::value::Value;
use ipnet::IpNet;

use super::TrustedProxy;
use super::report::Report;
use super::spot::Spot;
use super::table::Form;

impl Form for TrustedProxy {
    fn describe() -> String {
        format!("{}, or \"unix\" for whatever connects to a unix socket", IpNet::describe())
    }

    fn read(value: &Value, spot: &Spot, report: &mut Report<'_>) -> Option<Self> {
        match value.as_str() {
            Some("unix" | "unix:") => Some(Self::Unix),
            _ => IpNet::read(value, spot, report).map(Self::Net),
        }
    }
}

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
