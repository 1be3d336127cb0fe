//! Bytes both ways, after an upgrade or in TCP mode.

/// What an exchange leaves that switched protocols: the upstream connection and what it read ahead.
pub struct Tunnel {}
