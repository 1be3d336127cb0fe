//! What a listener speaks.

use crate::config::Config;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1; an index into the listeners of the configuration.
    Http(usize),
    /// Bytes; an index into the TCP listeners of the configuration.
    Tcp(usize),
}

impl Kind {
    /// Whether TLS ends here.
    pub(super) fn speaks_tls(self, config: &Config) -> bool {
        match self {
            Self::Http(listener) => config.listeners[listener].tls,
            Self::Tcp(tcp) => config.tcp[tcp].tls.is_some(),
        }
    }
}
