//! What of an event has a journal field of its own.

use super::Event;
use crate::control::recent::RecentEvent;

/// The fields of an event that a person filters by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `PROXY_GENERATION`; `None` means the writing process's own.
    pub generation: Option<u64>,
    /// `PROXY_LISTENER`
    pub listener: Option<&'a str>,
    /// `PROXY_POOL`
    pub pool: Option<&'a str>,
    /// `PROXY_SERVER`
    pub server: Option<&'a str>,
    /// `PROXY_REQUEST_ID`
    pub request: Option<&'a str>,
}

impl Event {
    /// It as the supervisor keeps it for a while, without number and time.
    #[must_use]
    pub fn recent(&self) -> RecentEvent {
        let Fields { generation, listener, pool, server, .. } = self.fields();
        let name = |name: Option<&str>| name.map(str::to_owned);
        RecentEvent {
            event: self.name().to_owned(),
            text: self.message(),
            level: self.level().as_str().to_owned(),
            generation,
            listener: name(listener),
            pool: name(pool),
            server: name(server),
            ..RecentEvent::default()
        }
    }

    /// The fields to filter by.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        let mut fields = Fields::default();
        match self {
            Self::Started { generation, .. }
            | Self::WorkerReady { generation, .. }
            | Self::ReloadStarted { generation }
            | Self::ReloadDone { generation, .. }
            | Self::ReloadUnchanged { generation }
            | Self::ReloadRefused { generation, .. }
            | Self::StateForgotten { generation, .. }
            | Self::Confirmed { generation }
            | Self::WorkerUnfit { generation, .. }
            | Self::Hurried { generation, .. }
            | Self::HandOver { to: generation, .. }
            | Self::ProbationOver { generation }
            | Self::RolledBack { generation, .. }
            | Self::WorkerDied { generation, .. }
            | Self::WorkerHung { generation, .. }
            | Self::Draining { generation, .. }
            | Self::Drained { generation, .. }
            | Self::TunnelStays { generation, .. }
            | Self::MoveBroken { generation, .. }
            | Self::ConfigWarning { generation, .. } => fields.generation = Some(*generation),
            Self::ConnectionsStay { generation, listener, .. } => {
                fields.generation = Some(*generation);
                fields.listener = Some(listener);
            }
            Self::ArrivalFailed { listener, .. }
            | Self::ConnectionCut { listener, .. }
            | Self::ListenerInherited { listener, .. }
            | Self::ListenerBound { listener, .. }
            | Self::ListenerUnused { listener, .. }
            | Self::BindFailed { listener, .. }
            | Self::AcceptFailed { listener, .. }
            | Self::LimitReached { listener, .. } => fields.listener = Some(listener),
            Self::ServerUp { pool, server, .. }
            | Self::ServerDown { pool, server, .. }
            | Self::ServerEjected { pool, server, .. }
            | Self::ServerBack { pool, server, .. }
            | Self::ServerWaitingForDns { pool, server, .. }
            | Self::ServerAddressKept { pool, server, .. }
            | Self::ServerResolved { pool, server, .. }
            | Self::ServerAdministered { pool, server, .. } => {
                fields.pool = Some(pool);
                fields.server = Some(server);
            }
            Self::PoolEmpty { pool } | Self::PoolBack { pool, .. } => fields.pool = Some(pool),
            Self::ExchangePanicked { request, .. } => fields.request = request.as_deref(),
            Self::Upgraded { .. }
            | Self::UpgradeRefused { .. }
            | Self::Stopping { .. }
            | Self::Stopped { .. }
            | Self::StartRefused { .. }
            | Self::SupervisorWarning { .. }
            | Self::ConnectionKilled { .. }
            | Self::AdminRefused { .. }
            | Self::CertificateTaken { .. }
            | Self::CertificateRefused { .. }
            | Self::ClientCaTaken { .. }
            | Self::ClientCaRefused { .. }
            | Self::CertificateExpires { .. }
            | Self::CertificateOrdered { .. }
            | Self::CertificateNotIssued { .. }
            | Self::AcmeAccountMade { .. }
            | Self::RecordsDropped { .. }
            | Self::RecordsLimited { .. } => {}
        }
        fields
    }
}
