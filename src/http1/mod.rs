//! The bytes of HTTP/1 messages: heads, framing, chunks. No sockets, no waiting.
//!
//! What clients and servers send is parsed here and nowhere else, both by the same rule: a message that two parsers could
//! read in two ways is refused (RFC 9112 §11.2).

pub mod chunked;
pub mod encode;
mod head;
mod lines;
pub mod refusal;
pub mod request;
pub mod response;
#[cfg(test)]
mod splits;
mod target;

pub use head::LineFault;
