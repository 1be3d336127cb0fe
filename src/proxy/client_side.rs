//! What an exchange gets of the connection of its client, for one poll.

use super::private::Private;
use crate::message::body::{Demand, RequestBody};

/// What the connection of the client lends to the handler for one poll.
pub struct ClientSide<'a> {
    /// The body of the request.
    pub body: &'a mut dyn RequestBody,
    /// How much of a response it takes now. What comes with the head is read with it.
    pub demand: Demand,
    /// The upstream connections that no other client may use.
    pub private: &'a mut Private,
}
