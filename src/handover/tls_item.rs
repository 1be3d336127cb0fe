//! TLS on a connection that moves, as a message tells of it.

use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::net::TlsParts;
use crate::tls::{HandshakeFacts, ShownCertificate, TlsState};

/// TLS on a connection, to a client or to a server, without its keys. The bytes of a connection begin with those that these
/// lengths say, and states are in the order of these items.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TlsItem {
    facts: HandshakeFacts,
    received: usize,
    plain: usize,
    sealed: usize,
    promised: usize,
    /// The certificates of the client, which come last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    client: Vec<usize>,
}

impl TlsItem {
    pub(super) fn pack(tls: &TlsParts, all: &mut Vec<u8>) -> Self {
        let TlsParts { state: _, facts, received, plain, sealed, promised } = tls;
        [received, plain, sealed].into_iter().for_each(|part| all.extend_from_slice(part));
        let (received, plain, sealed) = (received.len(), plain.len(), sealed.len());
        let chain = facts.client.as_ref().map(|shown| shown.chain()).unwrap_or_default();
        chain.iter().for_each(|one| all.extend_from_slice(one));
        let client = chain.iter().map(|one| one.len()).collect();
        Self { facts: HandshakeFacts::clone(facts), received, plain, sealed, promised: *promised, client }
    }

    /// `all` has enough: the sum was checked. None without a state.
    pub(super) fn unpack(self, all: &mut BytesMut, state: Option<Box<TlsState>>) -> Option<Box<TlsParts>> {
        let Self { mut facts, received, plain, sealed, promised, client } = self;
        let [received, plain, sealed] = [received, plain, sealed].map(|length| all.split_to(length));
        let chain = client.into_iter().map(|length| CertificateDer::from(all.split_to(length).to_vec()));
        facts.client = ShownCertificate::new(&chain.collect::<Vec<_>>());
        Some(Box::new(TlsParts { state: state?, facts: Arc::new(facts), received, plain, sealed, promised }))
    }

    pub(super) fn bytes(&self) -> usize {
        let parts = [self.received, self.plain, self.sealed].into_iter().chain(self.client.iter().copied());
        parts.fold(0, usize::saturating_add)
    }
}

/// Of a connection that may have none.
pub(super) fn bytes_of(tls: Option<&TlsItem>) -> usize {
    tls.map_or(0, TlsItem::bytes)
}
