//! Connections of HTTP/2 to servers, each with streams of any clients of its thread.
//!
//! [`Http2Connection`] has the session, and a task of its own that reads and writes ([`driver`]). An exchange has an
//! [`UpstreamStream`], which looks to it as a connection of its own.

mod connection;
mod driver;
mod inbox;
mod outgoing;
mod places;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;

pub use self::connection::Http2Connection;
pub use self::shared::SharedConnections;
pub use self::stream::UpstreamStream;
pub use self::tunnel::socket_of;
