//! The side of the servers: connections to them, idle connections, checks, DNS.

pub mod check;
pub mod connect;
pub mod connection;
pub mod error;
mod first_round;
pub mod http2;
pub mod idle;
pub mod read;
pub mod resolve;
pub mod send_proxy;
pub mod trial;
pub mod upload;
