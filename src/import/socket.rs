//! The sockets of HTTP frontends, and which of them can be listeners of one configuration.
//!
//! Sites are for all listeners. So two sockets can be in one configuration when they do the same with every host, or when
//! one speaks TLS and the other, without, serves none of what is served there.

use std::collections::{BTreeMap, BTreeSet};

use super::bind::{Bind, is_wider};
use super::condition::SocketKind;
use super::globals::Globals;
use super::outcome::{RouteOutcome, outcome, patterns};
use super::proxy::CfgProxy;
use super::report::{Fate, ImportReport};
use super::toml::{WrittenTable, text};
use crate::config::{Address, HostPattern, overlap};

/// One socket of a frontend.
#[derive(Clone, Debug)]
pub struct FrontendSocket<'a> {
    /// Whose it is.
    pub proxy: &'a CfgProxy,
    /// The line that opens it.
    pub bind: &'a Bind,
    /// Where it is.
    pub address: Address,
    /// What it is.
    pub kind: SocketKind,
    /// What becomes of requests.
    pub routes: BTreeMap<HostPattern, RouteOutcome>,
}

impl<'a> FrontendSocket<'a> {
    /// The sockets of one frontend, with what becomes of `regions` there.
    pub fn of(
        proxy: &'a CfgProxy,
        all: &'a [CfgProxy],
        regions: &'a BTreeSet<HostPattern>,
    ) -> impl Iterator<Item = Self> {
        let sockets = proxy.binds.iter().flat_map(|bind| bind.addresses.iter().map(move |address| (bind, address)));
        sockets.map(move |(bind, address)| {
            let port = if let Address::Ip(address) = address { Some(address.port()) } else { None };
            let kind = SocketKind { tls: bind.has("ssl"), port, http: proxy.http };
            let route = |region: &HostPattern| {
                let found = outcome(proxy, all, region, kind);
                let barred = bind.barred || kind.tls && !bind.has("crt");
                match found {
                    RouteOutcome::Pool { name, .. } if barred => {
                        RouteOutcome::Unknown { line: bind.line, pool: Some(name) }
                    }
                    found => found,
                }
            };
            let routes = regions.iter().map(|region| (region.clone(), route(region))).collect();
            Self { proxy, bind, address: address.clone(), kind, routes }
        })
    }

    /// Whether anything is served here.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.routes.values().any(|route| route.pool().is_some())
    }

    /// Whether clients are only sent to HTTPS here.
    #[must_use]
    pub fn only_redirects(&self) -> bool {
        !self.serves() && self.routes.values().any(|route| *route == RouteOutcome::ToHttps)
    }

    /// Whether both can be listeners of one configuration.
    #[must_use]
    pub fn agrees(&self, other: &Self, globals: &Globals) -> bool {
        let same = |region: &HostPattern| match (self.route(region), other.route(region)) {
            (Some(one), Some(another)) => one == another,
            (None, None) => true,
            (Some(_), None) => self.kind.tls && !other.kind.tls,
            (None, Some(_)) => other.kind.tls && !self.kind.tls,
        };
        let clients =
            !self.kind.tls || !other.kind.tls || client_keys(self.bind, globals) == client_keys(other.bind, globals);
        clients && self.routes.keys().all(same)
    }

    fn route(&self, region: &HostPattern) -> Option<&str> {
        self.routes.get(region)?.pool()
    }
}

/// A socket that is no listener of the configuration.
#[derive(Clone, Debug)]
pub struct LeftOutSocket {
    line: usize,
    address: Address,
    table: usize,
}

impl LeftOutSocket {
    /// Of a socket; `table` is the place of its comment among the tables.
    #[must_use]
    pub fn of(socket: &FrontendSocket<'_>, table: usize) -> Self {
        Self { line: socket.bind.line, address: socket.address.clone(), table }
    }

    /// Says that a listener with more addresses has its requests, when one of `taken` does.
    pub fn say_what_takes_it(
        &self,
        taken: &[(Address, String)],
        tables: &mut [WrittenTable],
        report: &mut ImportReport,
    ) {
        let takes = |other: &Address| overlap(other, &self.address) && !is_wider(&self.address, other);
        let Some((_, header)) = taken.iter().find(|(other, _)| takes(other)) else { return };
        let sentence =
            format!("what is sent to {} comes to {header} now: give that the addresses that are its own", self.address);
        tables[self.table].comments.push(sentence.clone());
        report.note(self.line, Fate::Unsupported, sentence);
    }
}

/// The hosts that any frontend for HTTP, or its backends, tell apart.
#[must_use]
pub fn regions(all: &[CfgProxy]) -> BTreeSet<HostPattern> {
    patterns(all.iter().filter(|proxy| proxy.http && !proxy.disabled && proxy.kind != "defaults"))
}

/// What clients have to show, as keys of a site or a TCP listener.
#[must_use]
pub fn client_keys(bind: &Bind, globals: &Globals) -> Vec<(&'static str, String)> {
    let (Some(verify), Some(ca)) = (bind.verify(), bind.option("ca-file")) else { return Vec::new() };
    let path = |path: &str| text(&Globals::below(globals.ca_base.as_ref(), path));
    let mut keys = vec![("client_ca", path(ca))];
    keys.extend(bind.option("crl-file").map(|crl| ("client_crl", path(crl))));
    if verify == "optional" {
        keys.push(("client_verify", "\"optional\"".to_owned()));
    }
    keys
}

/// The certificates of `bind` lines as `tls` of a site: a path, or a list.
#[must_use]
pub fn certificates<'a>(binds: impl Iterator<Item = &'a Bind>, globals: &Globals) -> Option<String> {
    let mut paths: Vec<String> = Vec::new();
    for path in binds.filter(|bind| bind.has("ssl")).filter_map(|bind| bind.options.get("crt")).flatten() {
        let path = Globals::below(globals.crt_base.as_ref(), path);
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let mut texts = paths.iter().map(|path| text(path));
    match texts.len() {
        0 | 1 => texts.next(),
        _ => Some(format!("[{}]", texts.collect::<Vec<_>>().join(", "))),
    }
}
