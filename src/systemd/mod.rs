//! What systemd and a service tell each other: the sockets it passes ([`activation`]), and what the service says of
//! itself ([`notify`]).

pub mod activation;
pub mod notify;
