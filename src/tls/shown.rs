//! The certificate that a client showed in its handshake: what is kept of it for the life of the connection. A connection
//! without one holds nothing of this but a null pointer.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::CertificateDer;

/// A certificate, and those that lead from it to an authority.
pub struct ShownCertificate {
    chain: Box<[CertificateDer<'static>]>,
    /// The [`ClientVerifier::number`](super::ClientVerifier::number) of the rules under which this process found it good; 0
    /// before that.
    verified: AtomicU64,
    /// What servers are told of it, once they were told.
    told: OnceLock<Box<[u8]>>,
}

/// Bytes of a chain that are kept. One certificate has 1 to 2 KB.
const MOST: usize = 16 << 10;

impl ShownCertificate {
    /// What is kept of a chain; none of one that is empty.
    #[must_use]
    pub fn new(chain: &[CertificateDer<'static>]) -> Option<Box<Self>> {
        let mut room = MOST;
        let fits = chain.iter().take_while(|one| {
            let fits = one.len() <= room;
            room = room.saturating_sub(one.len());
            fits
        });
        let chain: Box<[_]> = fits.cloned().collect();
        (!chain.is_empty()).then(|| Box::new(Self { chain, verified: AtomicU64::new(0), told: OnceLock::new() }))
    }

    /// The certificate of the client first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The number of the rules under which it was found good; 0 when it is to be looked at.
    #[must_use]
    pub fn verified(&self) -> u64 {
        self.verified.load(Ordering::Relaxed)
    }

    /// It was found good under the rules of this number.
    pub fn set_verified(&self, number: u64) {
        self.verified.store(number, Ordering::Relaxed);
    }

    /// What servers are told of it, made once.
    pub fn told(&self, make: impl FnOnce() -> Box<[u8]>) -> &[u8] {
        self.told.get_or_init(make)
    }
}

/// The same certificate, which nothing has looked at.
impl Clone for ShownCertificate {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), verified: AtomicU64::new(0), told: OnceLock::new() }
    }
}

impl PartialEq for ShownCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl Eq for ShownCertificate {}

impl fmt::Debug for ShownCertificate {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "ShownCertificate({})", self.chain.len())
    }
}
