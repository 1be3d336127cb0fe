//! Connections that move from a draining worker to the one that serves, over a link that the supervisor arranged.
//!
//! A [`parcel`] is one connection: its descriptors, and its whole state. Threads give parcels to an [`heir`]; the
//! [`giver`], on the draining worker's main thread, sends them in batches; the [`taker`], on the other worker's main
//! thread, receives them. [`welcome`] is what the other side can take, sent once at the beginning; [`message`] is the
//! format.
//!
//! At any time one process owns a connection:
//!
//! ```text
//!   served here ──offered──▶ on its way ──acknowledged──▶ served there
//!        ▲                       │
//!        └───── link ended ──────┘
//! ```
//! The giver keeps its descriptors, and does nothing with them, until the batch is acknowledged; the taker
//! acknowledges before it does anything with them. So when the taker dies without an acknowledgement, the giver
//! serves what it still has; when the giver dies, the taker alone owns what the link still holds. A silent link is a
//! hung worker, which the supervisor ends, and that ends the link.

pub mod giver;
pub mod heir;
pub mod message;
pub mod parcel;
pub mod taker;
#[cfg(test)]
mod tests;
pub mod welcome;
