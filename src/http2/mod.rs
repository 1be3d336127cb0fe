//! HTTP/2 of a server (RFC 9113), without sockets and plain data: frames, HPACK, streams and their windows.
//!
//! [`Session`] is one connection. It takes bytes and gives events; what it has for the client gathers in its output.

mod account;
pub mod error;
pub mod frame;
pub mod hpack;
pub mod priority;
pub mod request;
pub mod rotation;
pub mod session;
pub mod settings;
mod streams;
mod window;

pub use self::request::FieldSection;
pub use self::session::{Event, Session};
