//! TLS to clients and to servers: handshakes, records and certificates, without a socket.
//!
//! rustls does the handshake ([`handshake`]); after it the connection is a [`TlsState`], and [`Records`] opens and seals
//! what comes over it. A state can wait in little memory, and can go to another process.

pub mod certificate;
pub mod certificates;
pub mod client;
pub mod client_hello;
pub mod client_verifier;
pub mod compact;
pub mod handed;
pub mod handshake;
pub mod record;
pub mod sessions;
pub mod shown;
pub mod staple;
pub mod state;
pub mod suite;
pub mod tickets;
pub mod upstream;

pub use certificate::{Certificate, CertificateError, CertificateFiles, CertificateReason};
pub use certificates::{Certificates, CertificatesInUse};
pub use client::ClientHandshake;
pub use client_verifier::{ClientRules, ClientVerifier, ClientVerifierFiles};
pub use compact::CompactTlsState;
pub use handshake::{Established, Handshake, HandshakeError, HandshakeFacts, server_config};
pub use record::{OpenedRecord, RecordError, Records};
pub use shown::ShownCertificate;
pub use state::TlsState;
pub use suite::{Suite, Version};
pub use tickets::{BoundTickets, TicketKeys, TicketKeysError, Tickets};
pub use upstream::{PoolTls, UpstreamTls, UpstreamTlsOptions};

#[cfg(test)]
pub(crate) mod tests;
