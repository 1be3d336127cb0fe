//! What a client connection is busy with.

/// The kinds of busy client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// A request whose response is not finished.
    Exchange,
    /// A tunnel after a switch of protocols: WebSocket and the like.
    Upgrade,
    /// A tunnel in TCP mode.
    Tcp,
}

impl Busy {
    /// All of them, in the order of the variants.
    pub const ALL: [Self; 3] = [Self::Exchange, Self::Upgrade, Self::Tcp];

    /// The name of the gauge.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exchange => "exchanges",
            Self::Upgrade => "upgrades",
            Self::Tcp => "tcp",
        }
    }
}
