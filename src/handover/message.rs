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
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::capabilities::Capabilities;
use super::exchange::{ExchangeTransfer, SavedExchange, SavedState};
use super::http2::{Http2Transfer, SavedHttp2, SavedStream, StreamTransfer};
use super::tls_item::{TlsItem, bytes_of};
use super::tls_states::SharedTlsStates;
use super::transfer::{
    AcceptedTransfer, ClientFacts, FirstMessage, Http1Client, Http1Transfer, Load, PrivateTransfer, SavedDirection,
    SavedHttp1, Transfer, TunnelTransfer,
};
use crate::control::channel::MOST_DESCRIPTORS;
use crate::control::payload::{self, Payload};
use crate::http2::session::saved::{SavedSession, SessionState};
use crate::net::Detached;
use crate::tls::TlsState;
use crate::tls::upstream::Fingerprint;

/// From the receiver to the sender.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToSender {
    /// The first message.
    #[serde(rename = "welcome")]
    Capabilities(Box<Capabilities>),
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

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LoadItem {
    /// Sent only to a generation whose [`Capabilities`] say that it takes them.
    Accepted { first: FirstMessage, received: usize, left: Duration },
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
        /// TLS to the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server_tls: Option<TlsItem>,
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
    /// TLS to the server; its bytes come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_tls: Option<TlsItem>,
    head: usize,
    sent_head: usize,
    body: usize,
    unread: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PrivateItem {
    pool: String,
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<PrivateTls>,
}

/// TLS to the server of a private connection.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PrivateTls {
    connection: TlsItem,
    fingerprint: Option<Fingerprint>,
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

/// What goes with the messages of a batch, as it is collected.
#[derive(Default)]
struct BatchParts<'a> {
    descriptors: Vec<BorrowedFd<'a>>,
    bytes: Vec<u8>,
    states: Vec<&'a TlsState>,
}

impl<'a> BatchParts<'a> {
    fn add(&mut self, bytes: &[u8]) -> usize {
        self.bytes.extend_from_slice(bytes);
        bytes.len()
    }

    /// Adds a connection, with the TLS on it.
    fn add_connection(&mut self, connection: &'a Detached) -> Option<TlsItem> {
        self.descriptors.push(connection.socket.as_fd());
        connection.tls.as_deref().map(|tls| {
            self.states.push(&tls.state);
            TlsItem::pack(tls, &mut self.bytes)
        })
    }

    fn add_transfer(&mut self, transfer: &'a Transfer) -> Item {
        let tls = self.add_connection(&transfer.socket);
        let load = match &transfer.load {
            Load::Accepted(AcceptedTransfer { first, received, left }) => {
                LoadItem::Accepted { first: *first, received: self.add(received), left: *left }
            }
            Load::Idle { ahead, began, private } => {
                let ahead = self.add(ahead);
                LoadItem::Idle { ahead, began: *began, private: PrivateItem::pack_all(private, self) }
            }
            Load::Tunnel(tunnel) => {
                let server_tls = self.add_connection(&tunnel.server);
                let exchange = Box::new(tunnel.exchange.clone());
                let up = CourseItem::pack(&tunnel.up, &mut self.bytes);
                let down = CourseItem::pack(&tunnel.down, &mut self.bytes);
                LoadItem::Tunnel { exchange, server_tls, up, down }
            }
            Load::Http1(http1) => {
                let Http1Transfer { exchange, client, private } = &**http1;
                let exchange = Box::new(ExchangeItem::pack(exchange, self));
                let private = PrivateItem::pack_all(private, self);
                let Http1Client { state, unsent, ahead } = client;
                let [unsent, ahead] = [unsent, ahead].map(|part| self.add(part));
                LoadItem::Http1 { exchange, client: Box::new(state.clone()), unsent, ahead, private }
            }
            Load::Http2(http2) => LoadItem::Http2(Box::new(Http2Item::pack(http2, self))),
        };
        Item { client: transfer.client.clone(), load, tls }
    }
}

/// Makes a batch of transfers, which stay whole.
///
/// # Errors
/// When there is no memory or descriptor left for their bytes.
pub fn pack<'a>(number: u64, transfers: impl Iterator<Item = &'a Transfer>) -> io::Result<Packed<'a>> {
    let mut parts = BatchParts::default();
    let connections = transfers.map(|transfer| parts.add_transfer(transfer)).collect();
    let BatchParts { descriptors, bytes, states } = parts;
    Ok(Packed {
        batch: Batch { number, connections },
        descriptors,
        bytes: if bytes.is_empty() { None } else { Some(Payload::new(&bytes)?) },
        states: if states.is_empty() { None } else { Some(SharedTlsStates::offer(&states)?) },
    })
}

/// What came with the messages of a batch, as it is given to its connections.
struct Source {
    descriptors: std::vec::IntoIter<OwnedFd>,
    bytes: BytesMut,
    states: Option<SharedTlsStates>,
    /// States that were read.
    read: usize,
    /// A state of the transfer that is being made cannot be read.
    is_broken: bool,
}

impl Source {
    fn descriptor(&mut self) -> Result<OwnedFd, BatchError> {
        self.descriptors.next().ok_or(BatchError::Descriptors)
    }

    /// The bytes are enough: the sum was checked.
    fn take(&mut self, length: usize) -> BytesMut {
        self.bytes.split_to(length)
    }

    fn connection(&mut self, tls: Option<TlsItem>) -> Result<Detached, BatchError> {
        let socket = self.descriptor()?;
        let Some(tls) = tls else { return Ok(Detached { socket, tls: None }) };
        let state = self.states.as_ref().and_then(|states| states.read(self.read));
        self.read += 1;
        let parts = tls.unpack(&mut self.bytes, state);
        self.is_broken |= parts.is_none();
        Ok(Detached { socket, tls: parts })
    }

    fn transfer(&mut self, Item { client, load, tls }: Item) -> Result<Transfer, BatchError> {
        let socket = self.connection(tls)?;
        let load = match load {
            LoadItem::Accepted { first, received, left } => {
                Load::Accepted(AcceptedTransfer { first, received: self.take(received), left })
            }
            LoadItem::Idle { ahead, began, private } => {
                let ahead = self.take(ahead);
                Load::Idle { ahead, began, private: PrivateItem::unpack_all(private, self)? }
            }
            LoadItem::Tunnel { exchange, server_tls, up, down } => {
                let server = self.connection(server_tls)?;
                let up = up.unpack(&mut self.bytes);
                let down = down.unpack(&mut self.bytes);
                Load::Tunnel(Box::new(TunnelTransfer { server, exchange: *exchange, up, down }))
            }
            LoadItem::Http1 { exchange, client, unsent, ahead, private } => {
                let exchange = exchange.unpack(self)?;
                let private = PrivateItem::unpack_all(private, self)?;
                let [unsent, ahead] = [unsent, ahead].map(|length| self.take(length));
                let client = Http1Client { state: *client, unsent, ahead };
                Load::Http1(Box::new(Http1Transfer { exchange, client, private }))
            }
            LoadItem::Http2(http2) => Load::Http2(Box::new(http2.unpack(self)?)),
        };
        Ok(Transfer { socket, client, load })
    }
}

/// The transfers of a batch, without those with TLS that stay with the sender: see [`SharedTlsStates`].
///
/// # Errors
/// When [`pack`] did not make it. Then all of them stay.
pub fn unpack(batch: Batch, mut descriptors: Vec<OwnedFd>) -> Result<Vec<Transfer>, BatchError> {
    let count = batch.connections.iter().map(Item::states).sum();
    let states = if count > 0 { Some(descriptors.pop().ok_or(BatchError::Descriptors)?) } else { None };
    let states = states.map(|file| SharedTlsStates::open(file, count)).transpose().map_err(BatchError::Unreadable)?;
    let mut bytes = BytesMut::new();
    let wanted = batch.connections.iter().map(Item::bytes).fold(0_usize, usize::saturating_add);
    if wanted > 0 {
        let payload = Payload::from(descriptors.pop().ok_or(BatchError::Descriptors)?);
        bytes.extend_from_slice(&payload.read().map_err(BatchError::Unreadable)?);
    }
    if bytes.len() < wanted {
        return Err(BatchError::Bytes);
    }
    let mut source = Source { descriptors: descriptors.into_iter(), bytes, states, read: 0, is_broken: false };
    let mut transfers = Vec::with_capacity(batch.connections.len());
    for item in batch.connections {
        let first = source.read;
        source.is_broken = false;
        let transfer = source.transfer(item)?;
        transfers.push((transfer, first..source.read, source.is_broken));
    }
    if source.descriptor().is_ok() {
        return Err(BatchError::Descriptors);
    }
    Ok(take(transfers, source.states.as_ref()))
}

/// Of a batch that is whole, the transfers that belong to this process: all without TLS, and those with TLS whose states were
/// read and are not withdrawn.
fn take(unpacked: Vec<(Transfer, Range<usize>, bool)>, states: Option<&SharedTlsStates>) -> Vec<Transfer> {
    let is_own = |of_transfer: &Range<usize>| {
        of_transfer.is_empty() || states.is_some_and(|states| states.take(of_transfer.clone()))
    };
    let own = unpacked.into_iter().filter(|(_, of_transfer, is_broken)| !is_broken && is_own(of_transfer));
    own.map(|(transfer, ..)| transfer).collect()
}

impl Item {
    fn bytes(&self) -> usize {
        let load = match &self.load {
            LoadItem::Accepted { received, .. } => *received,
            LoadItem::Idle { ahead, private, .. } => ahead.saturating_add(PrivateItem::bytes_of_all(private)),
            LoadItem::Tunnel { server_tls, up, down, .. } => {
                bytes_of(server_tls.as_ref()).saturating_add(up.pending).saturating_add(down.pending)
            }
            LoadItem::Http1 { exchange, unsent, ahead, private, .. } => {
                let parts = [exchange.bytes(), PrivateItem::bytes_of_all(private), *unsent, *ahead];
                parts.into_iter().fold(0, usize::saturating_add)
            }
            LoadItem::Http2(http2) => http2.bytes(),
        };
        load.saturating_add(bytes_of(self.tls.as_ref()))
    }

    /// How many TLS states it has.
    fn states(&self) -> usize {
        let private = |all: &[PrivateItem]| all.iter().filter(|one| one.tls.is_some()).count();
        let load = match &self.load {
            LoadItem::Accepted { .. } => 0,
            LoadItem::Idle { private: all, .. } => private(all),
            LoadItem::Tunnel { server_tls, .. } => usize::from(server_tls.is_some()),
            LoadItem::Http1 { exchange, private: all, .. } => usize::from(exchange.server_tls.is_some()) + private(all),
            LoadItem::Http2(http2) => {
                let exchanges = http2.streams.iter().flat_map(|stream| &stream.exchange);
                exchanges.filter(|exchange| exchange.server_tls.is_some()).count()
            }
        };
        load + usize::from(self.tls.is_some())
    }
}

impl ExchangeItem {
    fn pack<'a>(exchange: &'a ExchangeTransfer, parts: &mut BatchParts<'a>) -> Self {
        let ExchangeTransfer { server, exchange, state, head, sent_head, body, unread } = exchange;
        let server_tls = server.as_ref().and_then(|server| parts.add_connection(server));
        for part in [head, sent_head, body, unread] {
            parts.add(part);
        }
        Self {
            exchange: exchange.clone(),
            state: state.clone(),
            server: server.is_some(),
            server_tls,
            head: head.len(),
            sent_head: sent_head.len(),
            body: body.len(),
            unread: unread.len(),
        }
    }

    fn unpack(self, source: &mut Source) -> Result<ExchangeTransfer, BatchError> {
        let Self { exchange, state, server, server_tls, .. } = self;
        let server = if server { Some(source.connection(server_tls)?) } else { None };
        let [head, sent_head, body, unread] =
            [self.head, self.sent_head, self.body, self.unread].map(|length| source.take(length));
        Ok(ExchangeTransfer { server, exchange, state, head, sent_head, body, unread })
    }

    fn bytes(&self) -> usize {
        let parts = [bytes_of(self.server_tls.as_ref()), self.head, self.sent_head, self.body, self.unread];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

impl Http2Item {
    fn pack<'a>(http2: &'a Http2Transfer, parts: &mut BatchParts<'a>) -> Self {
        let Http2Transfer { session, client, streams, ahead } = http2;
        let streams = streams.iter().map(|stream| StreamItem::pack(stream, parts)).collect();
        let SavedSession { state, table, block, unsent } = session;
        for part in [&table[..], block, unsent, ahead] {
            parts.add(part);
        }
        let (session, client) = (state.clone(), client.clone());
        let [table, block, unsent] = [table, block, unsent].map(Vec::len);
        Self { session, client, streams, table, block, unsent, ahead: ahead.len() }
    }

    fn unpack(self, source: &mut Source) -> Result<Http2Transfer, BatchError> {
        let streams = self.streams.into_iter().map(|stream| stream.unpack(source)).collect::<Result<_, _>>()?;
        let [table, block, unsent] = [self.table, self.block, self.unsent].map(|length| source.take(length).to_vec());
        let session = SavedSession { state: self.session, table, block, unsent };
        Ok(Http2Transfer { session, client: self.client, streams, ahead: source.take(self.ahead) })
    }

    fn bytes(&self) -> usize {
        let parts = [self.table, self.block, self.unsent, self.ahead].into_iter();
        parts.chain(self.streams.iter().map(StreamItem::bytes)).fold(0, usize::saturating_add)
    }
}

impl StreamItem {
    fn pack<'a>(stream: &'a StreamTransfer, parts: &mut BatchParts<'a>) -> Self {
        let StreamTransfer { state, exchange, pending, received } = stream;
        let exchange = exchange.as_ref().map(|exchange| ExchangeItem::pack(exchange, parts));
        for part in [pending, received] {
            parts.add(part);
        }
        Self { state: state.clone(), exchange, pending: pending.len(), received: received.len() }
    }

    fn unpack(self, source: &mut Source) -> Result<StreamTransfer, BatchError> {
        let exchange = self.exchange.map(|exchange| exchange.unpack(source)).transpose()?;
        let [pending, received] = [self.pending, self.received].map(|length| source.take(length));
        Ok(StreamTransfer { state: self.state, exchange, pending, received })
    }

    fn bytes(&self) -> usize {
        let exchange = self.exchange.as_ref().map_or(0, ExchangeItem::bytes);
        exchange.saturating_add(self.pending).saturating_add(self.received)
    }
}

impl PrivateItem {
    fn pack_all<'a>(private: &'a [PrivateTransfer], parts: &mut BatchParts<'a>) -> Vec<Self> {
        let mut pack = |one: &'a PrivateTransfer| {
            let tls = parts.add_connection(&one.socket);
            let tls = tls.map(|connection| PrivateTls { connection, fingerprint: one.tls });
            Self { pool: one.pool.clone(), server: one.server.clone(), tls }
        };
        private.iter().map(&mut pack).collect()
    }

    fn unpack_all(items: Vec<Self>, source: &mut Source) -> Result<Vec<PrivateTransfer>, BatchError> {
        let mut unpack = |Self { pool, server, tls }: Self| {
            let (connection, tls) = tls.map(|PrivateTls { connection, fingerprint }| (connection, fingerprint)).unzip();
            Ok(PrivateTransfer { socket: source.connection(connection)?, tls: tls.flatten(), pool, server })
        };
        items.into_iter().map(&mut unpack).collect()
    }

    fn bytes_of_all(items: &[Self]) -> usize {
        let tls = items.iter().flat_map(|one| &one.tls);
        tls.map(|tls| tls.connection.bytes()).fold(0, usize::saturating_add)
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
