//! Connections that move from a draining worker to the one that serves, over a link that the supervisor arranged.
//!
//! A [`transfer`] is one connection: its descriptors, and its whole state; an open [`exchange`] is a part of it. Threads give transfers to a [`successor`]; the
//! [`sender`], on the draining worker's main thread, sends them in batches; the [`receiver`], on the other worker's main
//! thread, receives them. [`capabilities`] is what the other side can take, sent once at the beginning; [`message`] is the
//! format.
//!
//! At any time one process owns a connection:
//!
//! ```text
//!   served here ──offered──▶ on its way ──acknowledged──▶ served there
//!        ▲                       │
//!        └───── link ended ──────┘
//! ```
//! The sender keeps its descriptors, and does nothing with them, until the batch is acknowledged; the receiver
//! acknowledges before it reads or writes any of them. So when the receiver dies without an acknowledgement, the sender
//! serves what it still has; when the sender dies, the receiver alone owns what the link still holds. A silent link is a
//! hung worker, which the supervisor ends, and that ends the link.
//!
//! A connection with TLS must never be served by both: [`tls_states`] decides of it, whatever was acknowledged.

pub mod capabilities;
pub mod exchange;
pub mod http2;
pub mod message;
pub mod receiver;
pub mod sender;
pub mod successor;
#[cfg(test)]
mod tests;
mod tls_item;
pub mod tls_states;
pub mod transfer;
