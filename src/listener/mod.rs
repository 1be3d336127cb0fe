//! Client connections: taken from listening sockets or from another generation, served, parked while idle, given to
//! another generation or closed with care.

pub mod accept;
pub mod arrive;
pub mod connection;
mod farewell;
mod gate;
pub mod limits;
mod lot;
mod serve;
mod splice;
#[cfg(test)]
mod tests;
mod waits;
pub mod way;

pub use accept::Acceptor;
pub use arrive::arrive;
pub use connection::Kind;
pub use limits::{Limits, WorkerLimit};
