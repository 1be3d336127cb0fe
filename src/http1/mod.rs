//! The bytes of HTTP/1 messages: what is valid, what it means. No sockets.

pub mod authority;
pub mod chunked;
pub mod fields;
mod framing;
mod head;
pub mod refusal;
pub mod request;
mod target;

pub use head::LineFault;
