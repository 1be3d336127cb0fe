//! What a worker tells monitoring over HTTP, apart from what it serves: [`server`] answers, [`metrics`] are the answer.
//!
//! It is not on the way of a request: hyper speaks HTTP here, on the main thread of the worker.

mod descriptors;
mod families;
pub mod format;
mod histogram;
pub mod metrics;
#[cfg(test)]
mod packaged;
pub mod server;
