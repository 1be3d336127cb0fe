//! HTTP messages as the proxy has them, whatever they came over. No sockets, no wire format.

pub mod body;
