//! The tickets that a server sends after the handshake (RFC 8446 §4.6.1): with one of them a later connection is spared the
//! certificates.
//!
//! rustls keeps them, and what it has of the connection for that stays here while the connection does. A connection that
//! moves leaves it behind: its successor has other connections to the server to learn tickets from.

use std::fmt;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;

/// What takes the tickets of one connection.
pub struct SessionTickets {
    connection: KernelConnection<ClientConnectionData>,
    /// The ticket as far as it has come.
    part: Vec<u8>,
    is_too_long: bool,
}

/// A longer ticket is not kept. Those of OpenSSL have some hundred bytes, with a client certificate in them some thousand.
const LONGEST: usize = 16 * 1024;

impl SessionTickets {
    pub(super) fn of(connection: KernelConnection<ClientConnectionData>) -> Box<Self> {
        Box::new(Self { connection, part: Vec::new(), is_too_long: false })
    }

    /// Takes the next bytes of a ticket, without the header of its message.
    pub(super) fn take(&mut self, bytes: &[u8], is_end: bool) {
        self.is_too_long |= self.part.len() + bytes.len() > LONGEST;
        if !self.is_too_long {
            self.part.extend_from_slice(bytes);
        }
        if is_end {
            let part = std::mem::take(&mut self.part);
            if !std::mem::take(&mut self.is_too_long) {
                // one that cannot be read brings a whole handshake next time, and nothing else
                let _ = self.connection.handle_new_session_ticket(&part);
            }
        }
    }
}

impl fmt::Debug for SessionTickets {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("SessionTickets").finish_non_exhaustive()
    }
}
