//! What the service reports: the record of each exchange, events, counters.

mod busy;
mod causes;
mod classes;
pub mod end;
pub mod event;
pub mod journal;
pub mod latency;
pub mod metrics;
pub mod rate;
pub mod record;
mod select;
pub mod words;

pub use causes::WithCauses;
pub use rate::RecordBounds;
pub use select::{RecordFacts, selects};
pub use words::{Plain, Plural, Took, beginning};
