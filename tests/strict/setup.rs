//! Configurations of the proxy in front of the servers, and what a reload may change of them without any client
//! noticing.

use std::net::SocketAddr;

use super::{Certificate, Door, Servers};

/// The host that clients ask for.
pub const HOST: &str = "localhost";

/// What a reload changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    Timeouts,
    Servers,
    Site,
    Listener,
    Weights,
}

impl Change {
    /// Each differs from the one before, and the first from the last.
    pub const ALL: [Self; 6] =
        [Self::Timeouts, Self::Servers, Self::Site, Self::Listener, Self::Weights, Self::Nothing];
}

/// Where the proxy listens in front of which servers.
pub struct Setup {
    /// At least four of either kind.
    pub servers: Servers,
    pub http: SocketAddr,
    /// Whether the socket of `http` comes from systemd.
    pub passed: bool,
    pub tcp: SocketAddr,
    /// What [`Change::Listener`] adds.
    pub more: SocketAddr,
    /// Where the clients come in by TLS, and the certificate.
    pub tls: Option<(SocketAddr, Certificate)>,
}

impl Setup {
    pub fn config(&self, change: Change) -> String {
        let count = if change == Change::Servers { 4 } else { 3 };
        let weight = if change == Change::Weights { 3 } else { 1 };
        let (http, tcp) = (list(&self.servers.http[..count], weight), list(&self.servers.tcp[..count], weight));
        let keys = if change == Change::Timeouts { "retries = 1\nresponse_timeout = \"20s\"" } else { "" };
        let address = if self.passed { String::new() } else { format!("address = \"{}\"", self.http) };
        let more = match change {
            Change::Site => format!("[site.\"other.example\"]\nto = [\"{}\"]", self.servers.http[3]),
            Change::Listener => format!("[listen.more]\naddress = \"{}\"", self.more),
            _ => String::new(),
        };
        let tls = self.tls.as_ref().map_or_else(String::new, |(address, certificate)| {
            let directory = certificate.directory.display();
            format!(
                "[listen.https]\naddress = \"{address}\"\ntls = true\n\
                 [site.\"{HOST}\"]\nto = \"farm\"\ntls = \"{directory}\"\nhttps_redirect = false\n"
            )
        });
        format!(
            "[log]\naccess = \"errors+slow\"\n[worker]\nthreads = 2\n\
             [listen.http]\n{address}\nh2c = true\n[tcp.relay]\nlisten = \"{}\"\nto = \"bytes\"\n\
             [site.\"*\"]\nto = \"farm\"\n[pool.farm]\nservers = [{http}]\n{keys}\n\
             [pool.bytes]\nservers = [{tcp}]\n{keys}\n{more}\n{tls}",
            self.tcp,
        )
    }

    pub fn door(&self) -> Door {
        let tls = self.tls.as_ref().map(|(address, certificate)| certificate.at(*address));
        Door { http: self.http, host: HOST.to_owned(), tcp: self.tcp, tls }
    }

    /// No request reached the servers more than once.
    #[track_caller]
    pub fn assert_served_once(&self) {
        assert_eq!(self.servers.served_twice(), 0, "requests came to the servers twice");
    }
}

/// The servers as a list in TOML; the first one has this weight.
fn list(servers: &[SocketAddr], weight: u32) -> String {
    let entry = |(number, address): (usize, &SocketAddr)| match number {
        0 => format!("{{ address = \"{address}\", weight = {weight} }}"),
        _ => format!("\"{address}\""),
    };
    servers.iter().enumerate().map(entry).collect::<Vec<_>>().join(", ")
}
