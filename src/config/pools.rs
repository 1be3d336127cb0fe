//! The pools of a configuration: those with a table of their own, and those whose servers are written in place.

use std::collections::{BTreeMap, HashMap};

use figment::value::Tag;

use super::file::WrittenTables;
use super::problem::quoted;
use super::problems::Problems;
use super::schema::Keys as _;
use super::servers::{CheckKind, Destination, ServerSettings};
use super::spot::Spot;
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
    sites: usize,
    tcp: usize,
}

/// A site or a TCP listener that sends to a pool.
struct User<'a> {
    /// The name of its pool, when the servers are written in place.
    name: String,
    to: &'a Destination,
    policy: &'a PoolSettings,
    table: &'a Spot,
    sites: usize,
    tcp: usize,
}

impl<'a> Pools<'a> {
    /// Finds the pools, and reports names without a pool.
    pub fn collect(written: &'a WrittenTables, problems: &mut Problems<'_>) -> Self {
        let named = written.pool.iter().map(|(name, pool)| {
            let (servers, policy) = &pool.table;
            let (servers, table) = (servers.servers.as_slice(), &pool.spot);
            (name.clone(), Draft { servers, policy, table, list: "servers", sites: 0, tcp: 0 })
        });
        let mut pools = Self { by_name: named.collect(), resolved: problems.complete };
        for user in users(written) {
            match (problems.good(user.table, "to"), user.to) {
                (None, _) => pools.resolved = false,
                (Some(to), Destination::Pool(name)) => pools.refer(name, &to, &user, problems),
                (Some(_), Destination::Servers(servers)) => pools.add(servers, user, problems),
            }
        }
        pools
    }

    /// Reports what is wrong inside each pool, and pools that no table uses.
    pub fn check(&self, problems: &mut Problems<'_>) {
        for (name, draft) in &self.by_name {
            draft.check_servers(name, problems);
            draft.check_check(name, problems);
            if draft.sites + draft.tcp == 0 && self.resolved {
                let message = format!("nothing uses the pool `{}`", name.escape_debug());
                let help = format!("write `to = {}` in a `[site.\"HOST\"]` or a `[tcp.NAME]`", quoted(name));
                problems.warning(draft.table, message, help);
            }
        }
    }

    /// The index in [`Pools::build`] of the pool that `to` in the table of this name stands for.
    #[must_use]
    pub fn index(&self, to: &Destination, table: &str) -> Option<usize> {
        let name = if let Destination::Pool(name) = to { name } else { table };
        self.by_name.keys().position(|known| known == name)
    }

    /// The pools, in the order of their names.
    #[must_use]
    pub fn build(&self) -> Vec<PoolSettings> {
        let build = |(name, draft): (&String, &Draft<'_>)| {
            let backup = draft.policy.backup.iter().map(|server| ServerSettings { backup: true, ..server.clone() });
            PoolSettings {
                name: name.clone(),
                path: Spot::root().key(draft.table.kind(), Tag::Default).key(name, Tag::Default).to_string(),
                servers: draft.servers.iter().cloned().chain(backup).collect(),
                ..draft.policy.clone()
            }
        };
        self.by_name.iter().map(build).collect()
    }

    fn refer(&mut self, name: &str, to: &Spot, user: &User<'a>, problems: &mut Problems<'_>) {
        for key in PoolSettings::SCHEMA.keys {
            if let Some(spot) = problems.good(user.table, key.name) {
                let message = format!("`{}` is a key of the pool, and `to` names one", key.name);
                let help = format!("write it below `[pool.{}]`", toml_edit::Key::new(name).display_repr());
                problems.error(&spot.at_key(), message, help);
            }
        }
        if let Some(draft) = self.by_name.get_mut(name) {
            draft.sites += user.sites;
            draft.tcp += user.tcp;
            return;
        }
        self.resolved = false;
        if problems.complete {
            let help = self.help_for_unknown(name);
            problems.error(to, format!("there is no pool {}", quoted(name)), help);
        }
    }

    fn help_for_unknown(&self, name: &str) -> String {
        if address::server(name).is_ok() || name.contains("://") {
            let address = name.split_once("://").map_or(name, |(_, rest)| rest.trim_end_matches('/'));
            return format!("if this is a server, write `to = [{}]`", quoted(address));
        }
        let servers: Vec<_> = name.split([',', ' ']).filter(|part| !part.is_empty()).collect();
        if servers.len() > 1 && servers.iter().all(|server| address::server(server).is_ok()) {
            let servers: Vec<_> = servers.into_iter().map(quoted).collect();
            return format!("if these are servers, write `to = [{}]`", servers.join(", "));
        }
        match suggest::closest(name, self.by_name.keys().map(String::as_str)) {
            Some(close) => format!("did you mean {}?", quoted(close)),
            None => format!("add `[pool.{}]` with its `servers`", toml_edit::Key::new(name).display_repr()),
        }
    }

    fn add(&mut self, servers: &'a [ServerSettings], user: User<'a>, problems: &mut Problems<'_>) {
        let User { name, policy, table, sites, tcp, .. } = user;
        if let Some(other) = self.by_name.get(&name) {
            // Two sites share a name only when they share a host, which has a problem of its own.
            if table.kind() == "site" && other.table.kind() == "site" {
                return;
            }
            let message = format!("the servers here make a pool named {}, and there is one already", quoted(&name));
            let help = "give one of them another name, or let both use one `[pool.NAME]`";
            problems.clash(table, message, (other.table, "this has the same name"), help);
            return;
        }
        self.by_name.insert(name, Draft { servers, policy, table, list: "to", sites, tcp });
    }
}

impl Draft<'_> {
    fn check_servers(&self, name: &str, problems: &mut Problems<'_>) {
        // In a file with syntax errors an empty list may have lost its servers with a line that is no TOML.
        let Some(list) = problems.good(self.table, self.list).filter(|_| problems.complete || !self.servers.is_empty())
        else {
            return;
        };
        if self.servers.is_empty() {
            let message = format!("the pool {} has no servers", quoted(name));
            let help = format!("write `{} = [\"10.0.0.11:80\"]`", self.list);
            problems.error(&list, message, help);
            return;
        }
        let backup = problems.good(self.table, "backup");
        let in_list = |spot: &Spot, index| spot.index(index, spot.tag);
        let active = self.servers.iter().enumerate().map(|(index, server)| (server, in_list(&list, index)));
        let backup = backup.iter().flat_map(|spot| {
            self.policy.backup.iter().enumerate().map(move |(index, server)| (server, in_list(spot, index)))
        });
        let all: Vec<_> = active.chain(backup).collect();
        let mut seen = HashMap::new();
        for (server, spot) in &all {
            if let Some(first) = seen.insert(&server.address, spot) {
                let message = format!("the server {} is in the pool {} twice", quoted(&server.name), quoted(name));
                let help = "take one out; for a greater share write `{ address = \"…\", weight = 2 }`";
                problems.clash(spot, message, (first, "here it is too"), help);
            }
        }
        if all.iter().all(|(server, _)| server.weight == 0) {
            let message =
                format!("every server of the pool {} has the weight 0: none would take a request", quoted(name));
            problems.error(&list, message, "give at least one of them a weight of 1 or more");
        }
    }

    fn check_check(&self, name: &str, problems: &mut Problems<'_>) {
        let PoolSettings { check, check_host, .. } = self.policy;
        if let Some(spot) = problems.good(self.table, "check")
            && matches!(check, Some(CheckKind::Http { .. }))
            && self.sites == 0
            && self.tcp > 0
        {
            let message = format!("the pool {} is used for TCP only, and its check is HTTP", quoted(name));
            let help = "unless its servers speak HTTP, write `check = \"connect\"`";
            problems.warning(&spot, message, help);
        }
        if let Some(host) = check_host
            && let Some(spot) = problems.spot(self.table, "check_host")
        {
            if !address::is_host_field(host) {
                let message = format!("`check_host` must be a host name, not {}", quoted(host));
                problems.error(&spot, message, "write for example `check_host = \"app.example.com\"`");
            } else if matches!(check, Some(CheckKind::Connect)) {
                problems.warning(&spot, "`check_host` means nothing to a check that only connects", "take it out");
            }
        }
        // A check that is not understood has its problem already.
        if check.is_some() || !problems.complete || problems.are_about(self.table, "check") {
            return;
        }
        for key in ["check_host", "check_interval", "check_timeout", "rise", "fall"] {
            if let Some(spot) = problems.good(self.table, key) {
                let message = format!("`{key}` means nothing without `check`");
                let help = "write for example `check = \"GET /healthz\"` beside it";
                problems.warning(&spot.at_key(), message, help);
            }
        }
    }
}

/// Every table with a `to`.
fn users(written: &WrittenTables) -> impl Iterator<Item = User<'_>> {
    let sites = written.site.iter().map(|(host, site)| {
        let (table, policy) = &site.table;
        let name = address::host_pattern(host).map_or_else(|_| host.clone(), |host| host.to_string());
        User { name, to: &table.to, policy, table: &site.spot, sites: 1, tcp: 0 }
    });
    let tcp = written.tcp.iter().map(|(name, tcp)| {
        let (table, policy) = &tcp.table;
        User { name: name.clone(), to: &table.to, policy, table: &tcp.spot, sites: 0, tcp: 1 }
    });
    sites.chain(tcp)
}
