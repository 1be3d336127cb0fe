//! The configuration as a person writes it.
