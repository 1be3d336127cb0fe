//! The configuration, checked: plain data, no I/O, every value right by construction.
//!
//! `load` reads the sources with figment, `tables` declares what can stand in them, `check` makes a [`Config`] of them
//! and collects every problem; everything above this module sees only what is exported here.

mod acme;
mod address;
mod check;
mod dashboard;
pub mod diff;
mod effective;
mod file;
mod foreign;
pub mod load;
pub mod manual;
mod meant;
mod merge;
mod networks;
mod pools;
pub mod problem;
mod problems;
mod read;
mod repair;
mod rules;
mod schema;
mod servers;
mod sni;
mod spot;
mod suggest;
mod syntax;
mod tables;
mod tls;
pub mod units;
mod values;
mod words;

pub use self::acme::AcmeChallenge;
pub use self::address::{
    Address, HostPattern, ServerAddress, ServerScheme, host_pattern, overlap, scheme, server as server_address,
};
pub use self::dashboard::{PageAccess, PageUser, SitePath};
pub use self::foreign::format_of;
pub use self::networks::{TrustedProxy, client_network};
pub use self::read::user_name;
pub use self::servers::{CheckKind, Destination, ServerSettings};
pub use self::suggest::closest;
pub use self::tables::{
    AcmeSettings, Config, DASHBOARD, DashboardSettings, DrainSettings, ListenerSettings, LogSettings, METRICS,
    MetricsSettings, PoolSettings, SiteSettings, TcpSettings, TlsSettings, WorkerSettings,
};
pub use self::tls::{CertificateUser, ClientVerify, Hsts, SecretFile, SiteCertificate};
pub use self::values::{Access, Balance, MemoryLimit, ProxyVersion};
