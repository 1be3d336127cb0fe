//! HTTP messages as the proxy has them, whatever they came over: heads as lines, what their fields mean, bodies. No sockets,
//! no wire format.

pub mod auth;
pub mod authority;
pub mod body;
pub mod fields;
pub mod framing;
pub mod head;
pub mod lines;
pub mod target;
pub mod upgrade;
