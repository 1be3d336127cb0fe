//! What goes wrong around the proxy while clients that never try again are at work: servers, workers, clients and
//! descriptors that fail.

mod clients;
mod crowd;
mod farm;
mod limits;
mod reloads;
mod servers;
mod tcp;
mod workers;

pub use crowd::{Crowd, Habit};
pub use farm::{Farm, Manners};
