//! The side of the servers: connections to them, those that are idle, checks, DNS.

pub mod connection;
pub mod idle;
pub mod upload;
