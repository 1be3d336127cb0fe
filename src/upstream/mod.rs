//! Placeholder.

pub mod check;
mod first_round;
pub mod resolve;
