//! What an exchange gets of the connection of its client, for one poll.

use super::private::Private;
use crate::message::body::{Demand, RequestBody};

/// What the connection of the client lends to the handler for one poll.
pub struct ClientSide<'a> {
    /// The body of the request.
    pub body: &'a mut dyn RequestBody,
    /// How much of the body of the response it takes now; none when what it has waits to be sent. What comes with the head
    /// is read with it, and is little then.
    pub room: Option<Demand>,
    /// The upstream connections that no other client may use.
    pub private: &'a mut Private,
}
