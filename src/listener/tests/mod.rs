//! Facts about client connections: real sockets on loopback, raw bytes, and `Answers` in place of the proxy.

mod differential;
mod framing;
mod leaving;
mod limits;
mod moving;
mod refusal;
mod support;
mod time;
mod upgrade;

use support::{Fixture, run};
