//! The messages between two workers, and how transfers become packets.
//!
//! ```text
//! receiver     Capabilities
//! sender               Batch + descriptors      as long as there are connections
//! receiver     Taken                            of each batch, before it does anything with it
//! ```
//! The sender closes the link when it has no more connections. The keys of connections with TLS are not in the messages: see
//! [`SharedTlsStates`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::capabilities::Capabilities;
use super::exchange::{ExchangeTransfer, SavedExchange, SavedState};
use super::http2::{Http2Transfer, SavedHttp2, SavedStream, StreamTransfer};
use super::tls_states::SharedTlsStates;
use super::transfer::{
    ClientFacts, Http1Client, Http1Transfer, Load, PrivateTransfer, SavedDirection, SavedHttp1, Transfer,
    TunnelTransfer,
};
use crate::control::channel::MOST_DESCRIPTORS;
use crate::control::payload::{self, Payload};
use crate::http2::session::saved::{SavedSession, SessionState};
use crate::net::{Detached, TlsParts};
use crate::tls::{HandshakeFacts, ShownCertificate, TlsState};

/// From the receiver to the sender.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToSender {
    /// The first message.
    #[serde(rename = "welcome")]
    Capabilities(Capabilities),
    /// The receiver owns the connections of this batch from now on.
    Taken {
        /// [`Batch::number`].
        number: u64,
    },
    /// The last message: a batch could not be received whole; it and all that follow are not taken. A sender that does
    /// not know this message takes it for the end of the link.
    Refused {
        /// In words.
        why: String,
    },
}

/// Some connections. The descriptors are those of each connection in turn, then one with the bytes of all, if there
/// are any, then one with the [`SharedTlsStates`] of those with TLS, if there are any.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// Counts up from 0 on each link.
    pub number: u64,
    connections: Vec<Item>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    client: ClientFacts,
    load: LoadItem,
    /// Sent only to a generation whose [`Capabilities`] say that it takes TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<TlsItem>,
}

/// TLS on a connection, without its keys. The bytes of a connection begin with those that these lengths say.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct TlsItem {
    facts: HandshakeFacts,
    received: usize,
    plain: usize,
    sealed: usize,
    promised: usize,
    /// The certificates of the client, which come last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    client: Vec<usize>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LoadItem {
    Idle {
        ahead: usize,
        /// Without it the time for the head begins anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        began: Option<Duration>,
        /// Sent only to a generation whose [`Capabilities`] say that it takes them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        private: Vec<PrivateItem>,
    },
    Tunnel {
        #[serde(rename = "story")]
        exchange: Box<SavedExchange>,
        up: CourseItem,
        down: CourseItem,
    },
    /// Sent only to a generation whose [`Capabilities`] say that it takes them.
    Http1 {
        exchange: Box<ExchangeItem>,
        client: Box<SavedHttp1>,
        unsent: usize,
        ahead: usize,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        private: Vec<PrivateItem>,
    },
    /// Sent only to a generation whose [`Capabilities`] say that it takes them.
    Http2(Box<Http2Item>),
}

/// A connection of HTTP/2, with the lengths of its bytes, in their order; those of its streams come first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Http2Item {
    session: SessionState,
    client: SavedHttp2,
    streams: Vec<StreamItem>,
    table: usize,
    block: usize,
    unsent: usize,
    ahead: usize,
}

/// An open stream, with the lengths of its bytes, in their order; those of its exchange come first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StreamItem {
    state: SavedStream,
    #[serde(default)]
    exchange: Option<ExchangeItem>,
    pending: usize,
    received: usize,
}

/// An open exchange: its descriptor, if it has a `server`, and the lengths of its bytes, in their order.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ExchangeItem {
    exchange: SavedExchange,
    state: SavedState,
    server: bool,
    head: usize,
    sent_head: usize,
    body: usize,
    unread: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PrivateItem {
    pool: String,
    server: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct CourseItem {
    pending: usize,
    ended: bool,
    finished: bool,
    bytes: u64,
}

/// Why a batch is invalid.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Descriptors are missing, or there are too many.
    #[error("a batch of connections came with another number of descriptors than it says")]
    Descriptors,
    /// The bytes are fewer than it says.
    #[error("a batch of connections came with fewer bytes than it says")]
    Bytes,
    /// The bytes cannot be read.
    #[error("the bytes of a batch of connections cannot be read")]
    Unreadable(#[source] io::Error),
}

/// How full a batch is.
#[derive(Debug, Default)]
pub struct Room {
    descriptors: usize,
    bytes: usize,
}

impl Room {
    /// Reserves the room of one more transfer, if there is some. The first one always fits.
    pub fn take(&mut self, transfer: &Transfer) -> bool {
        let descriptors = self.descriptors + transfer.descriptors();
        let bytes = self.bytes + transfer.bytes();
        // one descriptor is for the bytes, and one for the states of TLS
        let fits = descriptors + 2 <= MOST_DESCRIPTORS && bytes <= MOST_BYTES;
        if fits || self.descriptors == 0 {
            (self.descriptors, self.bytes) = (descriptors, bytes);
            return true;
        }
        false
    }
}

/// A batch with what goes with it.
pub struct Packed<'a> {
    /// The message.
    pub batch: Batch,
    descriptors: Vec<BorrowedFd<'a>>,
    bytes: Option<Payload>,
    states: Option<SharedTlsStates>,
}

impl Packed<'_> {
    /// The descriptors that go with the message.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let bytes = self.bytes.iter().map(AsFd::as_fd);
        let states = self.states.iter().map(SharedTlsStates::file);
        self.descriptors.iter().copied().chain(bytes).chain(states).collect()
    }

    /// What decides of its connections with TLS, in their order.
    #[must_use]
    pub fn into_states(self) -> Option<SharedTlsStates> {
        self.states
    }
}

/// Makes a batch of transfers, which stay whole.
///
/// # Errors
/// When there is no memory or descriptor left for their bytes.
pub fn pack<'a>(number: u64, transfers: impl Iterator<Item = &'a Transfer>) -> io::Result<Packed<'a>> {
    let batch = Batch { number, connections: Vec::new() };
    let mut packed = Packed { batch, descriptors: Vec::new(), bytes: None, states: None };
    let (mut bytes, mut states) = (Vec::new(), Vec::new());
    for transfer in transfers {
        packed.descriptors.push(transfer.socket.socket.as_fd());
        let tls = transfer.socket.tls.as_deref().map(|tls| {
            states.push(&*tls.state);
            TlsItem::pack(tls, &mut bytes)
        });
        let load = match &transfer.load {
            Load::Idle { ahead, began, private } => {
                bytes.extend_from_slice(ahead);
                let private = PrivateItem::pack_all(private, &mut packed.descriptors);
                LoadItem::Idle { ahead: ahead.len(), began: *began, private }
            }
            Load::Tunnel(tunnel) => {
                packed.descriptors.push(tunnel.server.as_fd());
                let exchange = Box::new(tunnel.exchange.clone());
                let up = CourseItem::pack(&tunnel.up, &mut bytes);
                let down = CourseItem::pack(&tunnel.down, &mut bytes);
                LoadItem::Tunnel { exchange, up, down }
            }
            Load::Http1(http1) => {
                let Http1Transfer { exchange, client, private } = &**http1;
                let exchange = Box::new(ExchangeItem::pack(exchange, &mut packed.descriptors, &mut bytes));
                let private = PrivateItem::pack_all(private, &mut packed.descriptors);
                let Http1Client { state, unsent, ahead } = client;
                [unsent, ahead].into_iter().for_each(|part| bytes.extend_from_slice(part));
                let (client, unsent, ahead) = (Box::new(state.clone()), unsent.len(), ahead.len());
                LoadItem::Http1 { exchange, client, unsent, ahead, private }
            }
            Load::Http2(http2) => {
                LoadItem::Http2(Box::new(Http2Item::pack(http2, &mut packed.descriptors, &mut bytes)))
            }
        };
        packed.batch.connections.push(Item { client: transfer.client.clone(), load, tls });
    }
    if !bytes.is_empty() {
        packed.bytes = Some(Payload::new(&bytes)?);
    }
    if !states.is_empty() {
        packed.states = Some(SharedTlsStates::offer(&states)?);
    }
    Ok(packed)
}

/// The transfers of a batch, without those with TLS that stay with the sender: see [`SharedTlsStates`].
///
/// # Errors
/// When [`pack`] did not make it. Then all of them stay.
pub fn unpack(batch: Batch, mut descriptors: Vec<OwnedFd>) -> Result<Vec<Transfer>, BatchError> {
    let with_tls = batch.connections.iter().filter(|item| item.tls.is_some()).count();
    let states = if with_tls > 0 { Some(descriptors.pop().ok_or(BatchError::Descriptors)?) } else { None };
    let states =
        states.map(|file| SharedTlsStates::open(file, with_tls)).transpose().map_err(BatchError::Unreadable)?;
    let mut bytes = BytesMut::new();
    let wanted = batch.connections.iter().map(Item::bytes).fold(0_usize, usize::saturating_add);
    if wanted > 0 {
        let payload = Payload::from(descriptors.pop().ok_or(BatchError::Descriptors)?);
        bytes.extend_from_slice(&payload.read().map_err(BatchError::Unreadable)?);
    }
    if bytes.len() < wanted {
        return Err(BatchError::Bytes);
    }
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(BatchError::Descriptors);
    let (mut transfers, mut index) = (Vec::with_capacity(batch.connections.len()), 0);
    for Item { client, load, tls } in batch.connections {
        let socket = next()?;
        let tls = tls.map(|tls| {
            let state = states.as_ref().and_then(|states| states.read(index));
            index += 1;
            tls.unpack(&mut bytes, state)
        });
        let load = match load {
            LoadItem::Idle { ahead, began, private } => {
                let private = PrivateItem::unpack_all(private, &mut next)?;
                Load::Idle { ahead: bytes.split_to(ahead), began, private }
            }
            LoadItem::Tunnel { exchange, up, down } => {
                let (server, up) = (next()?, up.unpack(&mut bytes));
                let down = down.unpack(&mut bytes);
                Load::Tunnel(Box::new(TunnelTransfer { server, exchange: *exchange, up, down }))
            }
            LoadItem::Http1 { exchange, client, unsent, ahead, private } => {
                let exchange = exchange.unpack(&mut next, &mut bytes)?;
                let private = PrivateItem::unpack_all(private, &mut next)?;
                let [unsent, ahead] = [unsent, ahead].map(|len| bytes.split_to(len));
                let client = Http1Client { state: *client, unsent, ahead };
                Load::Http1(Box::new(Http1Transfer { exchange, client, private }))
            }
            LoadItem::Http2(http2) => Load::Http2(Box::new(http2.unpack(&mut next, &mut bytes)?)),
        };
        transfers.push((Detached { socket, tls: None }, tls, client, load));
    }
    if next().is_ok() {
        return Err(BatchError::Descriptors);
    }
    Ok(take(transfers, states.as_ref()))
}

type Unpacked = (Detached, Option<Option<Box<TlsParts>>>, ClientFacts, Load);

/// Of a batch that is whole, the transfers that belong to this process: all without TLS, and those with TLS whose state was
/// read and is not withdrawn.
fn take(unpacked: Vec<Unpacked>, states: Option<&SharedTlsStates>) -> Vec<Transfer> {
    let mut index = 0;
    let own = unpacked.into_iter().filter_map(|(mut socket, tls, client, load)| {
        if let Some(parts) = tls {
            let here = index;
            index += 1;
            socket.tls = Some(parts.filter(|_| states.is_some_and(|states| states.take(here)))?);
        }
        Some(Transfer { socket, client, load })
    });
    own.collect()
}

impl TlsItem {
    fn pack(tls: &TlsParts, all: &mut Vec<u8>) -> Self {
        let TlsParts { state: _, facts, received, plain, sealed, promised } = tls;
        [received, plain, sealed].into_iter().for_each(|part| all.extend_from_slice(part));
        let (received, plain, sealed) = (received.len(), plain.len(), sealed.len());
        let chain = facts.client.as_ref().map(|shown| shown.chain()).unwrap_or_default();
        chain.iter().for_each(|one| all.extend_from_slice(one));
        let client = chain.iter().map(|one| one.len()).collect();
        Self { facts: HandshakeFacts::clone(facts), received, plain, sealed, promised: *promised, client }
    }

    /// `all` has enough: the sum was checked. None without a state.
    fn unpack(self, all: &mut BytesMut, state: Option<Box<TlsState>>) -> Option<Box<TlsParts>> {
        let Self { mut facts, received, plain, sealed, promised, client } = self;
        let [received, plain, sealed] = [received, plain, sealed].map(|length| all.split_to(length));
        let chain = client.into_iter().map(|length| CertificateDer::from(all.split_to(length).to_vec()));
        facts.client = ShownCertificate::new(&chain.collect::<Vec<_>>());
        Some(Box::new(TlsParts { state: state?, facts: Arc::new(facts), received, plain, sealed, promised }))
    }
}

impl Item {
    fn bytes(&self) -> usize {
        let of_tls = |tls: &TlsItem| {
            let parts = [tls.received, tls.plain, tls.sealed].into_iter();
            parts.chain(tls.client.iter().copied()).fold(0, usize::saturating_add)
        };
        let load = match &self.load {
            LoadItem::Idle { ahead, .. } => *ahead,
            LoadItem::Tunnel { up, down, .. } => up.pending.saturating_add(down.pending),
            LoadItem::Http1 { exchange, unsent, ahead, .. } => {
                exchange.bytes().saturating_add(*unsent).saturating_add(*ahead)
            }
            LoadItem::Http2(http2) => http2.bytes(),
        };
        load.saturating_add(self.tls.as_ref().map_or(0, of_tls))
    }
}

impl ExchangeItem {
    fn pack<'a>(exchange: &'a ExchangeTransfer, all: &mut Vec<BorrowedFd<'a>>, bytes: &mut Vec<u8>) -> Self {
        let ExchangeTransfer { server, exchange, state, head, sent_head, body, unread } = exchange;
        all.extend(server.iter().map(AsFd::as_fd));
        [head, sent_head, body, unread].into_iter().for_each(|part| bytes.extend_from_slice(part));
        Self {
            exchange: exchange.clone(),
            state: state.clone(),
            server: server.is_some(),
            head: head.len(),
            sent_head: sent_head.len(),
            body: body.len(),
            unread: unread.len(),
        }
    }

    /// `bytes` has enough: the sum was checked.
    fn unpack(self, next: &mut NextDescriptor<'_>, bytes: &mut BytesMut) -> Result<ExchangeTransfer, BatchError> {
        let Self { exchange, state, server, .. } = self;
        let server = server.then(next).transpose()?;
        let [head, sent_head, body, unread] =
            [self.head, self.sent_head, self.body, self.unread].map(|len| bytes.split_to(len));
        Ok(ExchangeTransfer { server, exchange, state, head, sent_head, body, unread })
    }

    fn bytes(&self) -> usize {
        let parts = [self.head, self.sent_head, self.body, self.unread];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

impl Http2Item {
    fn pack<'a>(http2: &'a Http2Transfer, all: &mut Vec<BorrowedFd<'a>>, bytes: &mut Vec<u8>) -> Self {
        let Http2Transfer { session, client, streams, ahead } = http2;
        let streams = streams.iter().map(|stream| StreamItem::pack(stream, all, bytes)).collect();
        let SavedSession { state, table, block, unsent } = session;
        [table, block, unsent].into_iter().for_each(|part| bytes.extend_from_slice(part));
        bytes.extend_from_slice(ahead);
        let (session, client) = (state.clone(), client.clone());
        let [table, block, unsent] = [table, block, unsent].map(Vec::len);
        Self { session, client, streams, table, block, unsent, ahead: ahead.len() }
    }

    /// `bytes` has enough: the sum was checked.
    fn unpack(self, next: &mut NextDescriptor<'_>, bytes: &mut BytesMut) -> Result<Http2Transfer, BatchError> {
        let streams = self.streams.into_iter().map(|stream| stream.unpack(next, bytes)).collect::<Result<_, _>>()?;
        let [table, block, unsent] = [self.table, self.block, self.unsent].map(|len| bytes.split_to(len).to_vec());
        let session = SavedSession { state: self.session, table, block, unsent };
        Ok(Http2Transfer { session, client: self.client, streams, ahead: bytes.split_to(self.ahead) })
    }

    fn bytes(&self) -> usize {
        let parts = [self.table, self.block, self.unsent, self.ahead].into_iter();
        parts.chain(self.streams.iter().map(StreamItem::bytes)).fold(0, usize::saturating_add)
    }
}

impl StreamItem {
    fn pack<'a>(stream: &'a StreamTransfer, all: &mut Vec<BorrowedFd<'a>>, bytes: &mut Vec<u8>) -> Self {
        let StreamTransfer { state, exchange, pending, received } = stream;
        let exchange = exchange.as_ref().map(|exchange| ExchangeItem::pack(exchange, all, bytes));
        [pending, received].into_iter().for_each(|part| bytes.extend_from_slice(part));
        Self { state: state.clone(), exchange, pending: pending.len(), received: received.len() }
    }

    /// `bytes` has enough: the sum was checked.
    fn unpack(self, next: &mut NextDescriptor<'_>, bytes: &mut BytesMut) -> Result<StreamTransfer, BatchError> {
        let exchange = self.exchange.map(|exchange| exchange.unpack(next, bytes)).transpose()?;
        let [pending, received] = [self.pending, self.received].map(|len| bytes.split_to(len));
        Ok(StreamTransfer { state: self.state, exchange, pending, received })
    }

    fn bytes(&self) -> usize {
        let exchange = self.exchange.as_ref().map_or(0, ExchangeItem::bytes);
        exchange.saturating_add(self.pending).saturating_add(self.received)
    }
}

/// Gives the next descriptor of a batch.
type NextDescriptor<'a> = dyn FnMut() -> Result<OwnedFd, BatchError> + 'a;

impl PrivateItem {
    fn pack_all<'a>(private: &'a [PrivateTransfer], all: &mut Vec<BorrowedFd<'a>>) -> Vec<Self> {
        all.extend(private.iter().map(|one| one.socket.as_fd()));
        private.iter().map(|one| Self { pool: one.pool.clone(), server: one.server.clone() }).collect()
    }

    fn unpack_all(items: Vec<Self>, next: &mut NextDescriptor<'_>) -> Result<Vec<PrivateTransfer>, BatchError> {
        let transfer =
            |Self { pool, server }: Self| Ok::<_, BatchError>(PrivateTransfer { socket: next()?, pool, server });
        items.into_iter().map(transfer).collect()
    }
}

impl CourseItem {
    fn pack(course: &SavedDirection, all: &mut Vec<u8>) -> Self {
        let SavedDirection { pending, ended, finished, bytes } = course;
        all.extend_from_slice(pending);
        Self { pending: pending.len(), ended: *ended, finished: *finished, bytes: *bytes }
    }

    /// `all` has enough: the sum was checked.
    fn unpack(self, all: &mut BytesMut) -> SavedDirection {
        let Self { pending, ended, finished, bytes } = self;
        SavedDirection { pending: all.split_to(pending), ended, finished, bytes }
    }
}

/// Bytes of one batch: far below what a payload holds. One connection has no more than a few buffers.
const MOST_BYTES: usize = (payload::LARGEST / 16) as usize;
