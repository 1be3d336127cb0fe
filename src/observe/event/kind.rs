//! The fixed properties of each kind of event: its name, its message id, its level.
//!
//! A message id never changes once it was released: `packaging/segue.catalog` and people's own alerts depend on it.

use super::Event;

/// How urgent an entry is for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An operator must act.
    Error,
    /// A fault that the service coped with.
    Warn,
    /// The life of the service.
    Info,
    /// Traffic.
    Debug,
}

impl Level {
    /// The syslog priority, 3 to 6: `journalctl -p notice` shows the life of the service without its traffic.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warn => 4,
            Self::Info => 5,
            Self::Debug => 6,
        }
    }

    /// One word, for text that has no priorities.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warning",
            Self::Info => "notice",
            Self::Debug => "info",
        }
    }
}

/// A kind of journal entry.
#[derive(Debug, PartialEq, Eq)]
pub struct EventKind {
    /// `PROXY_EVENT`, in kebab case.
    pub name: &'static str,
    /// `MESSAGE_ID`: 128 bits in hexadecimal digits, the key into the catalog.
    pub message_id: &'static str,
    /// The level; exchanges have one of their own.
    pub level: Level,
}

macro_rules! kinds {
    ($($constant:ident $name:literal $level:ident $id:literal;)+) => {
        $(#[doc = concat!("`", $name, "`")]
        pub const $constant: EventKind = EventKind { name: $name, message_id: $id, level: Level::$level };)+

        /// Every kind.
        pub const ALL: &[&EventKind] = &[$(&$constant),+];
    };
}

kinds! {
    EXCHANGE "exchange" Debug "033ef123c0d0214f9b86f0856a5c0650";
    STARTED "started" Info "783c8b78264560866ee168f317256bed";
    WORKER_READY "worker-ready" Info "998ae120bc3096173047b4222519a26e";
    RELOAD_STARTED "reload-started" Info "df2052d63586478475a5863e185b2478";
    RELOAD_DONE "reload-done" Info "2c82c0673041a149806d2b6144e79fdf";
    RELOAD_UNCHANGED "reload-unchanged" Info "1d37e37ef78eccc2383d473b841337c0";
    RELOAD_REFUSED "reload-refused" Error "538783801bbcee820c04bcd74960d76f";
    START_REFUSED "start-refused" Error "c8d05ea56e0ade7f4a8d0da0665d7225";
    SUPERVISOR_WARNING "supervisor-warning" Warn "a41e1754d162a64010470b1280c86c3a";
    STATE_FORGOTTEN "state-forgotten" Warn "43b51c2a828843b189dd85889532b2d1";
    HAND_OVER "hand-over" Info "bbb224d2065dae11abf440d1eeabf92b";
    PROBATION_OVER "probation-over" Info "2ffcf6279fc5e54edb5f3b33c9aae947";
    CONFIRMED "confirmed" Info "6ea78a4f6dc4997139b82ddba0431684";
    ROLLED_BACK "rolled-back" Error "65606fbd37e44a0214ee5740e9e179c4";
    WORKER_DIED "worker-died" Error "53ee217e9b003eaa389d1d535b7c1fb9";
    WORKER_HUNG "worker-hung" Error "6b2accc85d4bbbb607ac56df816a621b";
    WORKER_UNFIT "worker-unfit" Error "eca6015bbb340bef305d2377740b4423";
    DRAINING "draining" Info "f2fcdb30c61f10d2817231f63878c1b1";
    HURRIED "hurried" Warn "042748af0c7bf5443903a62e1cdca13c";
    DRAINED "drained" Info "d612344114efe8fd50fe332fdaef2312";
    CONNECTION_CUT "connection-cut" Debug "51f4e8fac2c334431a3c5824f7a4ddfa";
    CONNECTIONS_STAY "connections-stay" Info "8a483d5e8009a9dbf5ced2ea64cb8caa";
    TUNNEL_STAYS "tunnel-stays" Info "26a4e3226a7dd5957ad693a55ae04cb7";
    MOVE_BROKEN "move-broken" Warn "6c9a7cf4b448e3a591a8c7fd477b0275";
    ARRIVAL_FAILED "arrival-failed" Error "131da4914dc09236c70c41fa660e9a85";
    LISTENER_INHERITED "listener-inherited" Info "facdb34c10f84aea883d9a1e59f5045c";
    LISTENER_BOUND "listener-bound" Info "81fa3641797fe6d69e4cc8661d0147f3";
    LISTENER_UNUSED "listener-unused" Warn "117108f966f833995173e47e7e15ba4e";
    BIND_FAILED "bind-failed" Error "ecfd9e5ec607573da40f69105ea5ab4f";
    UPGRADED "upgraded" Info "14e75d8bf2178523ecb0f79eba7f19d9";
    UPGRADE_REFUSED "upgrade-refused" Error "b380924190b452384e4de7fda28a8099";
    STOPPING "stopping" Info "9c851d5ce6b2f6e30743679ebec488c0";
    STOPPED "stopped" Info "56a6096333bece51433e76a1ee5077cc";
    SERVER_UP "server-up" Info "caeb782b1ecb561185fc656f1b655882";
    SERVER_DOWN "server-down" Warn "41a8085cedf1369d4b1c5b5f068b62b5";
    SERVER_EJECTED "server-ejected" Warn "5a0c7f0e3d1b4c5c9f2e86a1d7b4093e";
    SERVER_BACK "server-back" Info "b2d96e417cf84a15a3507c1e9d28f6b4";
    SERVER_WAITING_FOR_DNS "server-waiting-for-dns" Warn "55e9bc19b361be23314432b0034f4b00";
    SERVER_ADDRESS_KEPT "server-address-kept" Warn "fae7c8cbeae04a3fa3f5580f03d6c3b1";
    SERVER_RESOLVED "server-resolved" Info "7416670c30ec686d40f416b4cf26ffab";
    POOL_EMPTY "pool-empty" Error "fc4d48b020b08968e7c778d1a13d7d1e";
    POOL_BACK "pool-back" Info "7e81edec9902d6fbd313a232e5d554c1";
    SERVER_ADMINISTERED "server-administered" Info "eba084e03352436a86fbfe676586962b";
    CONNECTION_KILLED "connection-killed" Info "b70db3eab856409b94e7b1a8fe8c8271";
    ADMIN_REFUSED "admin-refused" Warn "13d9e9dcfb024ea79bb72a5dfffdcf40";
    CERTIFICATE_TAKEN "certificate-taken" Info "d1754fcdac287d8d566f7b153557cccf";
    CERTIFICATE_REFUSED "certificate-refused" Warn "ee8e35c4b24f5a6e1610dc69a9895be8";
    CERTIFICATE_EXPIRES "certificate-expires" Warn "df0a5f156bab37bd95fb64f9f0cbca4a";
    CLIENT_CA_TAKEN "client-ca-taken" Info "fdfba01b86c84d96961aaa555a506d62";
    CLIENT_CA_REFUSED "client-ca-refused" Warn "5a0bdba510a34d91a570acbacf82f6e5";
    CERTIFICATE_ORDERED "certificate-ordered" Info "570bfc75db8450ef00644c2b058cbd28";
    CERTIFICATE_NOT_ISSUED "certificate-not-issued" Warn "ba6dfe045bb03b9b98c5602236ec2cd5";
    ACME_ACCOUNT_MADE "acme-account-made" Info "9317f2933ec01cbe9b46545a9d3ef22f";
    RECORDS_DROPPED "records-dropped" Warn "d455f088dea284aea5b6f043d5772aa6";
    ACCEPT_FAILED "accept-failed" Warn "d7910380c511488062d69d32071f7ab1";
    LIMIT_REACHED "limit-reached" Warn "6a91ae78c0effeda42fa59d93b7f0c18";
    CONFIG_WARNING "config-warning" Warn "f39c8de192ec4081d3cd9e53c1450256";
    EXCHANGE_PANICKED "exchange-panicked" Error "8eca1e19be13f33606fc69eff11c508e";
    RECORDS_LIMITED "records-limited" Info "61ba528db30c4472b1cf6bc971a5f766";
}

impl Event {
    /// The fixed properties of this kind of event.
    #[must_use]
    pub fn kind(&self) -> &'static EventKind {
        match self {
            Self::Started { .. } => &STARTED,
            Self::WorkerReady { .. } => &WORKER_READY,
            Self::ReloadStarted { .. } => &RELOAD_STARTED,
            Self::ReloadDone { .. } => &RELOAD_DONE,
            Self::ReloadUnchanged { .. } => &RELOAD_UNCHANGED,
            Self::ReloadRefused { .. } => &RELOAD_REFUSED,
            Self::StartRefused { .. } => &START_REFUSED,
            Self::SupervisorWarning { .. } => &SUPERVISOR_WARNING,
            Self::StateForgotten { .. } => &STATE_FORGOTTEN,
            Self::HandOver { .. } => &HAND_OVER,
            Self::ProbationOver { .. } => &PROBATION_OVER,
            Self::Confirmed { .. } => &CONFIRMED,
            Self::RolledBack { .. } => &ROLLED_BACK,
            Self::WorkerDied { .. } => &WORKER_DIED,
            Self::WorkerHung { .. } => &WORKER_HUNG,
            Self::WorkerUnfit { .. } => &WORKER_UNFIT,
            Self::Draining { .. } => &DRAINING,
            Self::Hurried { .. } => &HURRIED,
            Self::Drained { .. } => &DRAINED,
            Self::ConnectionCut { .. } => &CONNECTION_CUT,
            Self::ConnectionsStay { .. } => &CONNECTIONS_STAY,
            Self::TunnelStays { .. } => &TUNNEL_STAYS,
            Self::MoveBroken { .. } => &MOVE_BROKEN,
            Self::ArrivalFailed { .. } => &ARRIVAL_FAILED,
            Self::ListenerInherited { .. } => &LISTENER_INHERITED,
            Self::ListenerBound { .. } => &LISTENER_BOUND,
            Self::ListenerUnused { .. } => &LISTENER_UNUSED,
            Self::BindFailed { .. } => &BIND_FAILED,
            Self::Upgraded { .. } => &UPGRADED,
            Self::UpgradeRefused { .. } => &UPGRADE_REFUSED,
            Self::Stopping { .. } => &STOPPING,
            Self::Stopped { .. } => &STOPPED,
            Self::ServerUp { .. } => &SERVER_UP,
            Self::ServerDown { .. } => &SERVER_DOWN,
            Self::ServerEjected { .. } => &SERVER_EJECTED,
            Self::ServerBack { .. } => &SERVER_BACK,
            Self::ServerWaitingForDns { .. } => &SERVER_WAITING_FOR_DNS,
            Self::ServerAddressKept { .. } => &SERVER_ADDRESS_KEPT,
            Self::ServerResolved { .. } => &SERVER_RESOLVED,
            Self::PoolEmpty { .. } => &POOL_EMPTY,
            Self::PoolBack { .. } => &POOL_BACK,
            Self::ServerAdministered { .. } => &SERVER_ADMINISTERED,
            Self::ConnectionKilled { .. } => &CONNECTION_KILLED,
            Self::AdminRefused { .. } => &ADMIN_REFUSED,
            Self::CertificateTaken { .. } => &CERTIFICATE_TAKEN,
            Self::CertificateRefused { .. } => &CERTIFICATE_REFUSED,
            Self::ClientCaTaken { .. } => &CLIENT_CA_TAKEN,
            Self::ClientCaRefused { .. } => &CLIENT_CA_REFUSED,
            Self::CertificateExpires { .. } => &CERTIFICATE_EXPIRES,
            Self::CertificateOrdered { .. } => &CERTIFICATE_ORDERED,
            Self::CertificateNotIssued { .. } => &CERTIFICATE_NOT_ISSUED,
            Self::AcmeAccountMade { .. } => &ACME_ACCOUNT_MADE,
            Self::RecordsDropped { .. } => &RECORDS_DROPPED,
            Self::AcceptFailed { .. } => &ACCEPT_FAILED,
            Self::LimitReached { .. } => &LIMIT_REACHED,
            Self::ConfigWarning { .. } => &CONFIG_WARNING,
            Self::ExchangePanicked { .. } => &EXCHANGE_PANICKED,
            Self::RecordsLimited { .. } => &RECORDS_LIMITED,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_and_a_message_id_of_its_own() {
        let names: HashSet<_> = ALL.iter().map(|kind| kind.name).collect();
        let ids: HashSet<_> = ALL.iter().map(|kind| kind.message_id).collect();
        assert_eq!((names.len(), ids.len()), (ALL.len(), ALL.len()));
        for id in ids {
            assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)));
        }
    }

    #[test]
    fn the_catalog_explains_every_kind_and_nothing_else() {
        let catalog = include_str!("../../../packaging/segue.catalog");
        let explained: HashSet<_> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
        assert_eq!(explained, ALL.iter().map(|kind| kind.message_id).collect());
    }

    #[test]
    fn the_documentation_lists_every_kind() {
        let document = include_str!("../../../docs/journal.md");
        let page = include_str!("../../../packaging/man/segue-journal.7").replace("\\-", "-");
        for kind in ALL {
            let row = |line: &str| line.starts_with(&format!("| `{}` |", kind.name)) && line.contains(kind.message_id);
            assert!(document.lines().any(row), "{}", kind.name);
            assert!(page.contains(&format!("\n.B {}\n", kind.name)), "{}", kind.name);
        }
    }
}
