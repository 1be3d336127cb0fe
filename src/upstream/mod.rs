//! The side of the servers: connections to them, idle connections, checks, DNS.

pub mod check;
pub mod connect;
pub mod connection;
mod first_round;
pub mod idle;
pub mod resolve;
pub mod send_proxy;
pub mod trial;
pub mod upload;
