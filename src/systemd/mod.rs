//! The interface to systemd: the sockets it passes ([`activation`]), and the notifications of the service
//! ([`notify`]).

pub mod activation;
pub mod notify;
