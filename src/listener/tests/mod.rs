//! Facts about client connections: real sockets on loopback, raw bytes, and `Answers` in place of the proxy.

pub(crate) mod arrival;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
#[cfg_attr(fuzzing, allow(dead_code, reason = "most of it is for the tests"))]
mod support;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod dormant;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod leaving;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod time;
#[cfg(test)]
mod upgrade;

#[cfg(test)]
use support::{Fixture, run};
