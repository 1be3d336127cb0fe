//! x
pub mod threads;
