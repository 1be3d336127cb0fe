//! Client connections: taken from listening sockets or from another generation, served, parked while idle, given to
//! another generation or closed with care.

pub mod accept;
mod after;
pub mod arrive;
pub mod connection;
mod dormant;
pub mod http1;
mod http2;
mod idle;
mod kind;
pub mod limits;
mod lingering;
pub mod proxy_protocol;
mod service;
mod sni;
#[cfg(any(test, fuzzing))]
pub(crate) mod tests;
mod timeouts;
mod tls;

pub use accept::Acceptor;
pub use arrive::arrive;
pub use kind::Kind;
pub use limits::{Limits, WorkerLimit};
