//! What operators and monitoring see and change while the service runs: metrics, and the admin API. No traffic goes here, and
//! nothing here runs on a thread that serves.

pub mod api;
mod asker;
mod change;
pub mod connections;
mod dashboard;
mod descriptors;
mod families;
pub mod format;
mod head;
mod histogram;
mod live;
mod login;
pub mod metrics;
#[cfg(test)]
mod packaged;
mod page;
pub mod peer;
mod response;
pub mod server;
pub mod servers;
mod supervisor_error;
