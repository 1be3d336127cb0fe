//! The way of a request.

pub mod client;
pub mod thread;
pub mod tunnel;

pub use client::Client;
pub use thread::Thread;
