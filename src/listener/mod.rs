//! Client connections: taken from listening sockets, served, parked while idle, closed with care.

pub mod accept;
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
pub use connection::Kind;
pub use limits::{Limit, Limits};
