//! Certificates from a certificate authority (ACME, RFC 8555), for sites with `tls = "auto"`.
//!
//! All that is known of an order is a file of the [`StateDirectory`], written before the authority is told: so an order
//! goes on in the next generation, or after a crash, and any generation answers a challenge. What runs all this, and
//! when, is the worker's.

pub mod account;
pub mod challenges;
mod client;
mod error;
mod hook;
pub mod order;
pub mod renewal;
pub mod saved;
pub mod state_directory;

pub use client::RetryAfter;
pub use error::{AcmeError, pause};
pub use state_directory::StateDirectory;
