//! What is told to the outside: the record of each exchange, events, counters.

pub mod event;
pub mod record;
