//! Connections that move from a draining worker to the one that serves, over a link that the supervisor arranged.
//!
//! A [`parcel`] is one connection: its descriptors, and all that is known of it. Threads give parcels to an [`heir`];
//! the [`giver`], on the draining worker's main thread, sends them in batches; the [`taker`], on the other worker's
//! main thread, receives them. [`welcome`] is what the other side can take, said once at the beginning; [`message`] is
//! what travels.
//!
//! At any time one process owns a connection:
//!
//! ```text
//!   served here ──offered──▶ on its way ──acknowledged──▶ served there
//!        ▲                       │
//!        └───── link ended ──────┘
//! ```
//! Who gives keeps its descriptors, and does nothing with them, until the batch is acknowledged; who takes says so
//! before it does anything with them. So when the taker dies unacknowledged, the giver goes on with what it still has;
//! when the giver dies, what the link still holds is the taker's alone. A link that says nothing is a hung worker,
//! which the supervisor ends, and that ends the link.

pub mod giver;
pub mod heir;
pub mod message;
pub mod parcel;
pub mod taker;
#[cfg(test)]
mod tests;
pub mod welcome;
