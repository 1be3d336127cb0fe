//! The pools of a configuration: those with a table of their own, and those whose servers are written in place.

use std::collections::{BTreeMap, HashMap};

use super::file::WrittenTables;
use super::problem::quoted;
use super::problems::Problems;
use super::schema::Keys as _;
use super::servers::{CheckKind, Destination, ServerSettings};
use super::spot::{Spot, in_toml};
use super::tables::PoolSettings;
use super::{address, suggest};

/// Every pool by its name, and which tables use it.
pub struct Pools<'a> {
    by_name: BTreeMap<String, Draft<'a>>,
    /// Every `to` names a pool that exists. Otherwise a pool that seems unused may be the one that a wrong name means.
    resolved: bool,
}

struct Draft<'a> {
    servers: &'a [ServerSettings],
    policy: &'a PoolSettings,
    /// The table that it is written in.
    table: &'a Spot,
    /// The key of the list of servers.
    list: &'static str,
    /// The kinds of the tables that send to it.
    users: Vec<&'a str>,
}

impl<'a> Pools<'a> {
    /// Finds the pools, and reports names without a pool.
    pub fn collect(written: &'a WrittenTables, problems: &mut Problems<'_>) -> Self {
        let named = written.pool.iter().map(|(name, (table, (pool, policy)))| {
            (name.clone(), Draft { servers: &pool.servers, policy, table, list: "servers", users: Vec::new() })
        });
        let mut pools = Self { by_name: named.collect(), resolved: problems.complete };
        let sites = written.site.iter().map(|(host, (table, (site, policy)))| {
            let name = address::host_pattern(host).map_or_else(|_| host.clone(), |host| host.to_string());
            (name, &site.to, policy, table)
        });
        let tcp = written.tcp.iter().map(|(name, (table, (tcp, policy)))| (name.clone(), &tcp.to, policy, table));
        for (name, to, policy, table) in sites.chain(tcp) {
            let Some(spot) = problems.good(table, "to") else {
                pools.resolved = false;
                continue;
            };
            match (to, pools.by_name.get(&name)) {
                (Destination::Pool(pool), _) => pools.refer(pool, &spot, table, problems),
                (Destination::Servers(servers), None) => {
                    let users = vec![table.kind()];
                    pools.by_name.insert(name, Draft { servers, policy, table, list: "to", users });
                }
                // Two sites share a name only when they share a host, which has a problem of its own.
                (_, Some(other)) if table.kind() == "site" && other.table.kind() == "site" => {}
                (_, Some(other)) => {
                    let name = quoted(&name);
                    let message = format!("the servers here make a pool named {name}, and there is one already");
                    let help = "give one of them another name, or let both use one `[pool.NAME]`";
                    problems.clash(table, message, (other.table, "this has the same name"), help);
                }
            }
        }
        for (table, (tcp, _)) in written.tcp.values() {
            let spot = problems.spot(table, "sni").unwrap_or_else(|| table.clone());
            for (_, pool) in tcp.sni.iter().flat_map(|sni| &sni.0) {
                pools.use_named(pool, &spot, table, problems);
            }
        }
        pools
    }

    /// Reports what is wrong inside each pool, and pools that no table uses.
    pub fn check(&self, problems: &mut Problems<'_>) {
        for (name, draft) in &self.by_name {
            draft.check_servers(name, problems);
            draft.check_check(name, problems);
            draft.check_tls(problems);
            draft.check_http2(name, problems);
            if draft.users.is_empty() && self.resolved {
                let message = format!("nothing uses the pool `{}`", name.escape_debug());
                let help = format!("write `to = {}` in a `[site.\"HOST\"]` or a `[tcp.NAME]`", quoted(name));
                problems.warning(draft.table, message, help);
            }
        }
    }

    /// The index in [`Pools::build`] of the pool that `to` in the table of this name stands for.
    pub fn index(&self, to: &Destination, table: &str) -> Option<usize> {
        let name = if let Destination::Pool(name) = to { name } else { table };
        self.by_name.keys().position(|known| known == name)
    }

    /// The pools, in the order of their names.
    pub fn build(&self) -> Vec<PoolSettings> {
        let build = |(name, draft): (&String, &Draft<'_>)| {
            let backup = draft.policy.backup.iter().map(|server| ServerSettings { backup: true, ..server.clone() });
            PoolSettings {
                name: name.clone(),
                path: Spot::table(draft.table.kind(), name).to_string(),
                servers: draft.servers.iter().cloned().chain(backup).collect(),
                ..draft.policy.clone()
            }
        };
        self.by_name.iter().map(build).collect()
    }

    /// Notes that `to` of a table names a pool, and reports keys of the table that belong to it.
    fn refer(&mut self, name: &str, to: &Spot, table: &'a Spot, problems: &mut Problems<'_>) {
        for key in PoolSettings::SCHEMA.keys {
            if let Some(spot) = problems.good(table, key.name) {
                let message = format!("`{}` is a key of the pool, and `to` names one", key.name);
                problems.error(&spot.at_key(), message, format!("write it below `[pool.{}]`", in_toml(name)));
            }
        }
        self.use_named(name, to, table, problems);
    }

    /// Notes that a table uses the pool of this name.
    fn use_named(&mut self, name: &str, to: &Spot, table: &'a Spot, problems: &mut Problems<'_>) {
        match self.by_name.get_mut(name) {
            Some(draft) => draft.users.push(table.kind()),
            None => {
                self.resolved = false;
                if problems.complete {
                    problems.error(to, format!("there is no pool {}", quoted(name)), self.help_for_unknown(name));
                }
            }
        }
    }

    fn help_for_unknown(&self, name: &str) -> String {
        let servers: Vec<_> = name.split([',', ' ']).filter(|part| !part.is_empty()).collect();
        let is_url = name.contains("://") && servers.len() == 1;
        if is_url || !servers.is_empty() && servers.iter().all(|server| address::server(server).is_ok()) {
            let plain = |server: &&str| {
                quoted(server.split_once("://").map_or(*server, |(_, rest)| rest.trim_end_matches('/')))
            };
            let list = servers.iter().map(plain).collect::<Vec<_>>().join(", ");
            let these = if servers.len() == 1 { "this is a server" } else { "these are servers" };
            return format!("if {these}, write `to = [{list}]`");
        }
        match suggest::closest(name, self.by_name.keys().map(String::as_str)) {
            Some(close) => format!("did you mean {}?", quoted(close)),
            None => format!("add `[pool.{}]` with its `servers`", in_toml(name)),
        }
    }
}

impl Draft<'_> {
    fn check_servers(&self, name: &str, problems: &mut Problems<'_>) {
        let Some(list) = problems.good(self.table, self.list) else { return };
        if self.servers.is_empty() {
            // In a file with syntax errors an empty list may have lost its servers with a line that is no TOML.
            if problems.complete {
                let message = format!("the pool {} has no servers", quoted(name));
                problems.error(&list, message, format!("write `{} = [\"10.0.0.11:80\"]`", self.list));
            }
            return;
        }
        let lists = [(Some(list.clone()), self.servers), (problems.good(self.table, "backup"), &self.policy.backup)];
        let mut seen = HashMap::new();
        for (list, servers) in lists {
            for (index, server) in servers.iter().enumerate().filter(|_| list.is_some()) {
                let spot = list.as_ref().map_or_else(Spot::root, |list| list.index(index));
                if let Some(first) = seen.insert((server.scheme, &server.address), spot.clone()) {
                    let message = format!("the server {} is in the pool {} twice", quoted(&server.name), quoted(name));
                    let help = "take one out; for a greater share write `{ address = \"…\", weight = 2 }`";
                    problems.clash(&spot, message, (&first, "here it is too"), help);
                }
            }
        }
        if self.all_servers().all(|server| server.weight == 0) {
            let pool = quoted(name);
            let message = format!("every server of the pool {pool} has the weight 0: none would take a request");
            problems.error(&list, message, "give at least one of them a weight of 1 or more");
        }
    }

    fn all_servers(&self) -> impl Iterator<Item = &ServerSettings> {
        self.servers.iter().chain(&self.policy.backup)
    }

    /// What servers of HTTP/2 cannot have.
    fn check_http2(&self, name: &str, problems: &mut Problems<'_>) {
        let Some(server) = self.all_servers().find(|server| server.scheme.is_http2()) else { return };
        let prefix = server.scheme.prefix();
        if self.users.contains(&"tcp") {
            let message = format!("the pool {} is used for TCP, and a server of it says `{prefix}`", quoted(name));
            let help = "write the address alone: what passes through a TCP listener is not looked at";
            problems.error_at(self.table, self.list, message, help);
        }
        if self.policy.send_proxy.is_some()
            && let Some(spot) = problems.good(self.table, "send_proxy")
        {
            let one = "`send_proxy` tells of one client for each connection";
            let message = format!("{one}, and a connection to `{prefix}` has several");
            problems.error(&spot.at_key(), message, "take it out: X-Forwarded-For has the client of each request");
        }
    }

    fn check_check(&self, name: &str, problems: &mut Problems<'_>) {
        let PoolSettings { check, check_host, .. } = self.policy;
        let is_only_tcp = !self.users.is_empty() && self.users.iter().all(|kind| *kind == "tcp");
        if matches!(check, Some(CheckKind::Http { .. })) && is_only_tcp {
            let message = format!("the pool {} is used for TCP only, and its check is HTTP", quoted(name));
            let help = "unless its servers speak HTTP, write `check = \"connect\"`";
            problems.warning_at(self.table, "check", message, help);
        }
        match check_host {
            Some(host) if !address::is_host_field(host) => {
                let message = format!("`check_host` must be a host name, not {}", quoted(host));
                let help = "write for example `check_host = \"app.example.com\"`";
                problems.error_at(self.table, "check_host", message, help);
            }
            Some(_) if matches!(check, Some(CheckKind::Connect)) => {
                let message = "`check_host` means nothing to a check that only connects";
                problems.warning_at(self.table, "check_host", message, "take it out");
            }
            _ => {}
        }
        if matches!(check, Some(CheckKind::Grpc { .. })) && !self.all_servers().all(|server| server.scheme.is_http2()) {
            let message = format!("the pool {} has a server without HTTP/2, which gRPC needs", quoted(name));
            let help = "write `h2://` before the address of each server, or `h2s://` with TLS";
            problems.error_at(self.table, "check", message, help);
        }
        // A check that is not understood has its problem already.
        if check.is_none() && problems.complete && !problems.are_about(self.table, "check") {
            for key in ["check_host", "check_interval", "check_timeout", "rise", "fall"] {
                let help = "write for example `check = \"GET /healthz\"` beside it";
                problems.means_nothing(self.table, key, "without `check`", help);
            }
        }
    }

    /// The keys for servers that speak TLS.
    fn check_tls(&self, problems: &mut Problems<'_>) {
        let has_tls = self.all_servers().any(|server| server.scheme.is_tls());
        if !has_tls && problems.complete && !problems.are_about(self.table, self.list) {
            for key in ["tls_ca", "tls_server_name", "tls_certificate", "tls_verify"] {
                let help = "take it out, or write \"https://\" or \"h2s://\" before the address of the server";
                problems.means_nothing(self.table, key, "without a server that speaks TLS", help);
            }
            return;
        }
        if let Some(name) = self.policy.tls_server_name.as_ref().filter(|name| !is_server_name(name)) {
            let message = format!("{} is neither a host name nor an IP address", quoted(name));
            let help = "write the name that the certificate of the server has, without a port";
            problems.error_at(self.table, "tls_server_name", message, help);
        }
        if !self.policy.tls_verify {
            let message = "no certificate of a server is looked at: whatever answers at its address can read and \
                           change all";
            let help = "take it out, and name the authority of the servers with `tls_ca`";
            problems.warning_at(self.table, "tls_verify", message, help);
            let help = "take `tls_verify = false` out";
            problems.means_nothing(self.table, "tls_ca", "while no certificate is looked at", help);
        }
    }
}

/// Whether a certificate can be for it.
fn is_server_name(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
        || address::is_host_name(name) && name.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'.')
}
