//! Events: what an operator may want to know beside the exchanges. Plain data; [`super::journal`] writes it.

mod fields;
pub mod kind;
mod message;
mod millis;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use self::millis::{millis, moment, optional_millis, optional_moment};
use crate::control::statistics::Inside;
pub use fields::Fields;
pub use kind::{EventKind, Level};

/// An event with its details.
///
/// Text in the fields is for people: causes as the system or a check gave them, without a full stop. Serialized it is
/// `PROXY_DATA`: one object with the fields of the variant, durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// The service started: the supervisor has its sockets and a serving worker.
    Started {
        /// Version of the program.
        version: &'static str,
        /// The generation that serves.
        generation: u64,
        /// Names of the listeners.
        listeners: Vec<String>,
    },
    /// A worker built everything and accepts nothing yet.
    WorkerReady {
        /// Its generation.
        generation: u64,
        /// Its process.
        pid: u32,
        /// From its start.
        #[serde(rename = "took_ms", serialize_with = "millis")]
        took: Duration,
    },
    /// A reload was asked for.
    ReloadStarted {
        /// The generation that is being made.
        generation: u64,
    },
    /// The new generation serves.
    ReloadDone {
        /// The new generation.
        generation: u64,
        /// From the request to the new generation's first accept.
        #[serde(rename = "took_ms", serialize_with = "millis")]
        took: Duration,
        /// What is different from the generation before, a line for each thing.
        changes: Vec<String>,
    },
    /// A reload had nothing to do.
    ReloadUnchanged {
        /// The generation that continues to serve.
        generation: u64,
    },
    /// The new generation was refused; the old one continues.
    ReloadRefused {
        /// The generation that continues to serve.
        generation: u64,
        /// Every problem, rendered without colours. A line `--> file:line:column` in the first names the place.
        problems: Vec<String>,
    },
    /// The first worker did not come to serve; the service ends.
    StartRefused {
        /// Every problem, rendered without colours.
        problems: Vec<String>,
    },
    /// The supervisor coped with a fault.
    SupervisorWarning {
        /// The fault, and what the supervisor did about it.
        text: String,
    },
    /// A new generation starts without the state of the one before it.
    StateForgotten {
        /// The new generation.
        generation: u64,
        /// Why.
        why: String,
    },
    /// One generation stopped accepting after the next one started to.
    HandOver {
        /// The generation that is parked.
        from: u64,
        /// The generation that serves.
        to: u64,
    },
    /// The new generation lived through its probation.
    ProbationOver {
        /// The new generation.
        generation: u64,
    },
    /// A caller confirmed the generation on probation.
    Confirmed {
        /// The generation.
        generation: u64,
    },
    /// The new generation failed in its probation; the parked one serves again.
    RolledBack {
        /// The generation that failed.
        failed: u64,
        /// The generation that serves again.
        generation: u64,
        /// What happened to the failed one.
        why: String,
        /// What was lost with it, if it died.
        lost: Option<Inside>,
    },
    /// A worker ended without an order.
    WorkerDied {
        /// Its generation.
        generation: u64,
        /// Its process.
        pid: u32,
        /// How: exit status or signal.
        how: String,
        /// What was lost with it.
        lost: Inside,
        /// When the next one starts; `None` when none does, because another generation serves.
        #[serde(rename = "respawn_in_ms", serialize_with = "optional_millis")]
        respawn_in: Option<Duration>,
    },
    /// A worker's threads did not answer in time, whether it serves, is parked or drains; it is killed.
    WorkerHung {
        /// Its generation.
        generation: u64,
        /// Its process.
        pid: u32,
        /// Since its last answer.
        #[serde(rename = "silent_ms", serialize_with = "millis")]
        silent: Duration,
    },
    /// A worker finds that it cannot serve, and another one takes its place.
    WorkerUnfit {
        /// Its generation.
        generation: u64,
        /// Its reason, as the rest of a sentence.
        why: String,
    },
    /// A generation accepts no more and finishes what it holds.
    Draining {
        /// The generation.
        generation: u64,
        /// Client connections it holds.
        connections: u64,
        /// Connections that are open after this time are cut.
        #[serde(rename = "timeout_ms", serialize_with = "millis")]
        timeout: Duration,
    },
    /// A generation that drains has to finish early: there are too many, or they use too much memory.
    Hurried {
        /// The generation.
        generation: u64,
        /// Connections that it holds.
        connections: u64,
        /// What is open after this time is cut.
        #[serde(rename = "timeout_ms", serialize_with = "millis")]
        timeout: Duration,
        /// Which bound was hit.
        why: String,
    },
    /// A generation ended.
    Drained {
        /// The generation.
        generation: u64,
        /// Connections that ended by themselves.
        finished: u64,
        /// Connections that moved to another generation.
        moved: u64,
        /// Connections that were cut at the deadline.
        cut: u64,
    },
    /// An idle connection was cut, because the generation was at its deadline. A connection with an open exchange has
    /// a record instead.
    ConnectionCut {
        /// The listener.
        listener: String,
        /// The address of the client; empty on unix sockets.
        client: String,
        /// Since its last exchange.
        #[serde(rename = "idle_ms", serialize_with = "millis")]
        idle: Duration,
    },
    /// Connections of a listener stay with a draining generation and will end, because the next generation has no
    /// such listener.
    ConnectionsStay {
        /// The generation that drains.
        generation: u64,
        /// The generation that serves.
        to: u64,
        /// The listener.
        listener: String,
    },
    /// A tunnel stays with a draining generation and will end, because the next generation has no such pool or server
    /// for it.
    TunnelStays {
        /// The generation that drains.
        generation: u64,
        /// The address of the client.
        client: String,
        /// Its pool and server.
        server: String,
    },
    /// Connections cannot move from one generation to another, or no more of them.
    MoveBroken {
        /// The generation that drains.
        generation: u64,
        /// The generation that should have taken them.
        to: u64,
        /// How many were on their way, and came back.
        returned: u64,
        /// What happened.
        why: String,
    },
    /// A connection that came from another generation cannot be served, and was closed.
    ArrivalFailed {
        /// Its listener.
        listener: String,
        /// Why.
        why: String,
    },
    /// A listening socket came from systemd.
    ListenerInherited {
        /// The listener.
        listener: String,
        /// Its local address.
        address: String,
    },
    /// A listening socket was bound here.
    ListenerBound {
        /// The listener.
        listener: String,
        /// Its local address.
        address: String,
    },
    /// systemd passed a socket that no listener of the configuration names.
    ListenerUnused {
        /// The name that it came with.
        listener: String,
        /// Its local address.
        address: String,
    },
    /// An address could not be bound.
    BindFailed {
        /// The listener.
        listener: String,
        /// The address.
        address: String,
        /// The error of the system.
        why: String,
    },
    /// The supervisor continues as another program.
    Upgraded {
        /// The version before.
        from: String,
        /// The version now.
        to: &'static str,
    },
    /// The supervisor cannot continue as the new program, and stays what it is.
    UpgradeRefused {
        /// The version that stays.
        version: &'static str,
        /// What is wrong with the new program, as the rest of a sentence about it.
        why: String,
    },
    /// The service was told to stop.
    Stopping {
        /// After this the open connections are cut.
        #[serde(rename = "timeout_ms", serialize_with = "millis")]
        timeout: Duration,
    },
    /// The service stopped.
    Stopped {
        /// How long it ran.
        #[serde(rename = "ran_ms", serialize_with = "millis")]
        ran: Duration,
    },
    /// A server takes exchanges again.
    ServerUp {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// What made it up.
        reason: String,
        /// How long it was down; `None` when it was never up before.
        #[serde(rename = "down_for_ms", serialize_with = "optional_millis")]
        down_for: Option<Duration>,
    },
    /// A server takes no exchanges until it is up again.
    ServerDown {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// What made it down, such as `3 checks failed in a row`.
        reason: String,
        /// The last result, such as `connection refused` or `status 500`.
        last_result: Option<String>,
    },
    /// Connections to a server failed again and again: it takes no exchanges for a while, as long as another server
    /// can.
    ServerEjected {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// The reason, such as `3 connections in a row failed: connection refused`.
        reason: String,
        /// When it is tried again.
        #[serde(rename = "pause_ms", serialize_with = "millis")]
        pause: Duration,
    },
    /// A server that was ejected takes exchanges again.
    ServerBack {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// How long it was ejected.
        #[serde(rename = "after_ms", serialize_with = "millis")]
        after: Duration,
    },
    /// The name of a server has no address yet.
    ServerWaitingForDns {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// The error of DNS.
        why: String,
    },
    /// DNS fails, and a server keeps the address that it has.
    ServerAddressKept {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// That address.
        address: String,
        /// The error of DNS.
        why: String,
    },
    /// A server's name resolves: to a first or another address, or again to the one that was kept.
    ServerResolved {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// The addresses.
        addresses: Vec<String>,
    },
    /// No server of a pool is up: its exchanges get 503.
    PoolEmpty {
        /// The pool.
        pool: String,
    },
    /// A pool has a server again.
    PoolBack {
        /// The pool.
        pool: String,
        /// How long it had none.
        #[serde(rename = "empty_for_ms", serialize_with = "millis")]
        empty_for: Duration,
    },
    /// An operator set something for a server, or undid it; or the time for which it was set is over.
    ServerAdministered {
        /// The pool.
        pool: String,
        /// The server.
        server: String,
        /// What holds now, such as `drain`, `ready` or `weight 5`.
        value: String,
        /// The user of the process that asked for it; none when the service did it by itself.
        uid: Option<u32>,
        /// The name of that process.
        command: String,
        /// The reason that was given.
        reason: Option<String>,
        /// How long it holds; none when it stays.
        #[serde(rename = "lasts_ms", serialize_with = "optional_millis")]
        lasts: Option<Duration>,
    },
    /// An operator had a client connection closed.
    ConnectionKilled {
        /// Its id.
        connection: String,
        /// The address of its client.
        client: String,
        /// The user of the process that asked for it.
        uid: u32,
        /// The name of that process.
        command: String,
        /// The reason that was given.
        reason: Option<String>,
    },
    /// A process may not do with the admin API what it asked for.
    AdminRefused {
        /// What it asked for.
        wish: String,
        /// Its user and its name; or the user of the page and the address of the client.
        by: String,
        /// How many more were refused since the last such entry.
        more: u64,
    },
    /// The files of a certificate changed: handshakes use what is in them now.
    CertificateTaken {
        /// The hosts of its sites.
        hosts: String,
        /// Its file.
        file: String,
        /// When the one before expires; none when there was none.
        #[serde(rename = "before", serialize_with = "optional_moment")]
        before: Option<SystemTime>,
        /// When it expires.
        #[serde(serialize_with = "moment")]
        until: SystemTime,
    },
    /// The files of a certificate changed, and cannot be used.
    CertificateRefused {
        /// The hosts of its sites.
        hosts: String,
        /// What is wrong, and in which file.
        why: String,
        /// When the certificate expires that goes on being served; none when there is none.
        #[serde(serialize_with = "optional_moment")]
        until: Option<SystemTime>,
    },
    /// The files changed by which the clients of a site are let in.
    ClientCaTaken {
        /// The site.
        host: String,
        /// The file with the authorities.
        file: String,
    },
    /// These files cannot be used as they are.
    ClientCaRefused {
        /// The site.
        host: String,
        /// What is wrong, and in which file.
        why: String,
        /// No client is let in; else those count that were read before.
        are_shut_out: bool,
    },
    /// A certificate expires soon, or has expired.
    CertificateExpires {
        /// The hosts of its sites.
        hosts: String,
        /// Its file.
        file: String,
        /// When.
        #[serde(serialize_with = "moment")]
        until: SystemTime,
        /// Whole days until then; below zero when it has expired.
        days: i64,
    },
    /// A certificate authority is asked for a certificate, or goes on with an order that was open.
    CertificateOrdered {
        /// The host.
        host: String,
        /// The directory of the authority.
        directory: String,
    },
    /// A certificate authority issued no certificate.
    CertificateNotIssued {
        /// The host.
        host: String,
        /// Why.
        why: String,
        /// When it is asked again.
        #[serde(serialize_with = "moment")]
        next: SystemTime,
        /// When the certificate expires that goes on being served; none when there is none.
        #[serde(serialize_with = "optional_moment")]
        until: Option<SystemTime>,
    },
    /// An account was registered with a certificate authority.
    AcmeAccountMade {
        /// The directory of the authority.
        directory: String,
        /// The address of the account.
        account: String,
    },
    /// Records or events were not written.
    RecordsDropped {
        /// How many since the last event of this kind.
        count: u64,
    },
    /// Connections could not be accepted.
    AcceptFailed {
        /// The listener.
        listener: String,
        /// The error of the system.
        why: String,
    },
    /// A limit struck.
    LimitReached {
        /// The listener.
        listener: String,
        /// The limit by its name in the configuration.
        limit: &'static str,
        /// Its value.
        value: u64,
    },
    /// The configuration is valid, with a warning.
    ConfigWarning {
        /// The generation made from it.
        generation: u64,
        /// The warning, rendered without colours.
        text: String,
    },
    /// A defect of ours ended one exchange.
    ExchangePanicked {
        /// The request id, where there was one.
        request: Option<String>,
        /// The panic's message and place.
        why: String,
    },
    /// Exchanges have no record, because there are more of them than the configuration allows.
    RecordsLimited {
        /// How many since the last event of this kind.
        count: u64,
        /// How they ended, in the words of `PROXY_END`.
        reasons: BTreeMap<&'static str, u64>,
        /// In this time.
        #[serde(rename = "window_ms", serialize_with = "millis")]
        window: Duration,
    },
}

impl Event {
    /// Whether there may be one for each connection or exchange.
    #[must_use]
    pub fn is_of_traffic(&self) -> bool {
        matches!(
            self,
            Self::ExchangePanicked { .. }
                | Self::ArrivalFailed { .. }
                | Self::ConnectionCut { .. }
                | Self::TunnelStays { .. }
        )
    }

    /// `PROXY_EVENT`: the kind in kebab case.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.kind().name
    }

    /// `MESSAGE_ID`: the key into the catalog.
    #[must_use]
    pub fn message_id(&self) -> &'static str {
        self.kind().message_id
    }

    /// How urgent it is for an operator: the kind's level, but a drain that cut connections is a warning, and a
    /// certificate is the more urgent the fewer days it has.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Drained { cut: 1.., .. } => Level::Warn,
            Self::CertificateExpires { days: ..0, .. } => Level::Error,
            // at this age most are about to be renewed by a program
            Self::CertificateExpires { days: 15.., .. } => Level::Info,
            _ => self.kind().level,
        }
    }

    /// One sentence that says what happened and why; for refused reloads and warnings the rendered problems follow
    /// on lines of their own.
    #[must_use]
    pub fn message(&self) -> String {
        message::of(self)
    }

    /// `PROXY_DATA`: everything else, as one JSON object.
    #[must_use]
    pub fn data(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
