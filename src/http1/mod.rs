//! The bytes of HTTP/1 messages: what is valid, what it means. No sockets.

pub mod request;
