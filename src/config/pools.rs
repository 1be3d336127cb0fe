//! The pools of a configuration: those with a table of their own, and those whose servers are written in place.

use std::collections::{BTreeMap, HashMap};

use super::check::{value, whole};
use super::file::{File, Policy};
use super::report::{Report, quoted};
use super::servers::{ServerEntry, To};
use super::spot::Spot;
use super::table::{Given, Keys};
use super::{Check, CheckKind, Pool, Server, address, suggest};

/// Every pool by its name, with who uses it.
pub struct Drafts<'a> {
    by_name: BTreeMap<String, Draft<'a>>,
    /// Every `to` leads somewhere; else a pool that seems unused may be meant by one that does not.
    resolved: bool,
}

struct Draft<'a> {
    /// The list and where it is; none when it could not be understood.
    servers: Option<(&'a [Given<ServerEntry>], &'a Spot)>,
    policy: &'a Policy,
    spot: &'a Spot,
    uses: Uses,
}

#[derive(Clone, Copy, Default)]
struct Uses {
    sites: usize,
    tcp: usize,
}

/// A site or a TCP listener that sends to a pool.
struct User<'a> {
    /// The name of its pool, when the servers are written in place.
    name: String,
    to: Option<&'a Given<To>>,
    policy: &'a Policy,
    spot: &'a Spot,
    uses: Uses,
}

impl<'a> Drafts<'a> {
    /// Finds the pools, and reports names that lead to none.
    pub fn collect(file: &'a File, report: &mut Report<'_>) -> Self {
        let named = file.pool.iter().map(|(name, pool)| {
            let (table, policy) = &pool.table;
            let servers = table.servers.as_ref().map(|given| (given.value.as_slice(), &given.spot));
            let draft = Draft { servers, policy, spot: &pool.spot, uses: Uses::default() };
            (name.clone(), draft)
        });
        let mut drafts = Self { by_name: named.collect(), resolved: report.complete };
        for user in users(file) {
            let Some(to) = user.to else {
                drafts.resolved = false;
                continue;
            };
            match &to.value {
                To::Pool(name) => drafts.refer(name, &to.spot, &user, report),
                To::Servers(servers) => drafts.add((servers, &to.spot), &user, report),
            }
        }
        drafts
    }

    /// Reports what is wrong inside each pool, and pools that nobody uses.
    pub fn check(&self, report: &mut Report<'_>) {
        for (name, draft) in &self.by_name {
            draft.check_servers(name, report);
            draft.check_check(name, report);
            if draft.uses.sites + draft.uses.tcp == 0 && self.resolved {
                report
                    .warning(draft.spot, format!("nothing uses the pool `{}`", name.escape_debug()))
                    .help(format!("write `to = {}` in a `[site.\"HOST\"]` or a `[tcp.NAME]`", quoted(name)));
            }
        }
    }

    /// The place of a pool in [`Drafts::build`].
    #[must_use]
    pub fn index(&self, name: &str) -> Option<usize> {
        self.by_name.keys().position(|known| known == name)
    }

    /// The pools, in the order of their names.
    #[must_use]
    pub fn build(&self) -> Option<Vec<Pool>> {
        self.by_name.iter().map(|(name, draft)| draft.build(name)).collect()
    }

    fn refer(&mut self, name: &str, to: &Spot, user: &User<'a>, report: &mut Report<'_>) {
        for spot in user.policy.spots() {
            report
                .error(&spot.clone().at_key(), format!("`{}` is a key of the pool, and `to` names one", spot.name()))
                .help(format!("write it below `[pool.{}]`", toml_edit::Key::new(name).display_repr()));
        }
        if let Some(draft) = self.by_name.get_mut(name) {
            draft.uses.sites += user.uses.sites;
            draft.uses.tcp += user.uses.tcp;
            return;
        }
        self.resolved = false;
        if report.complete {
            let help = self.help_for_unknown(name);
            report.error(to, format!("there is no pool {}", quoted(name))).help(help);
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

    fn add(&mut self, servers: (&'a [Given<ServerEntry>], &'a Spot), user: &User<'a>, report: &mut Report<'_>) {
        let User { name, policy, spot, uses, .. } = user;
        if let Some(other) = self.by_name.get(name) {
            // Two sites share a name only when they share a host, which is said already.
            if spot.kind() == "site" && other.spot.kind() == "site" {
                return;
            }
            let message = format!("the servers here make a pool named {}, and there is one already", quoted(name));
            report
                .clash(spot, message, other.spot, "this has the same name")
                .help("give one of them another name, or let both use one `[pool.NAME]`");
            return;
        }
        self.by_name.insert(name.clone(), Draft { servers: Some(servers), policy, spot, uses: *uses });
    }
}

impl Draft<'_> {
    fn check_servers(&self, name: &str, report: &mut Report<'_>) {
        let Some((servers, spot)) = self.servers else { return };
        if servers.is_empty() && !report.complete {
            return; // they may stand in a line that is no TOML
        }
        if servers.is_empty() {
            report
                .error(spot, format!("the pool {} has no servers", quoted(name)))
                .help(format!("write `{} = [\"10.0.0.11:80\"]`", spot.name()));
            return;
        }
        let mut seen = HashMap::new();
        for server in servers.iter().chain(self.backup()) {
            if let Some(first) = seen.insert(&server.value.address, &server.spot) {
                let message =
                    format!("the server {} is in the pool {} twice", quoted(&server.value.name), quoted(name));
                report
                    .clash(&server.spot, message, first, "here it is too")
                    .help("take one out; for a greater share write `{ address = \"…\", weight = 2 }`");
            }
        }
        if servers.iter().chain(self.backup()).all(|server| server.value.weight == 0) {
            report
                .error(
                    spot,
                    format!("every server of the pool {} has the weight 0: none would take a request", quoted(name)),
                )
                .help("give at least one of them a weight of 1 or more");
        }
    }

    fn check_check(&self, name: &str, report: &mut Report<'_>) {
        let Policy { check, check_host, check_interval, check_timeout, rise, fall, .. } = self.policy;
        let http = check.as_ref().filter(|check| matches!(check.value, CheckKind::Http { .. }));
        if let Some(check) = http
            && self.uses.sites == 0
            && self.uses.tcp > 0
        {
            report
                .warning(&check.spot, format!("the pool {} is used for TCP only, and its check is HTTP", quoted(name)))
                .help("unless its servers speak HTTP, write `check = \"connect\"`");
        }
        if let Some(host) = check_host {
            if !address::is_host_field(&host.value) {
                let message = format!("`check_host` must be a host name, not {}", quoted(&host.value));
                report.error(&host.spot, message).help("write for example `check_host = \"app.example.com\"`");
            } else if check.is_some() && http.is_none() {
                report.warning(&host.spot, "`check_host` means nothing to a check that only connects");
            }
        }
        // Nor where there is a check that is not understood, which was said.
        if check.is_some() || !report.complete || report.was_about(self.spot, "check") {
            return;
        }
        let timing = [spot(check_host), spot(check_interval), spot(check_timeout), spot(rise), spot(fall)];
        for spot in timing.into_iter().flatten() {
            if report.is_given(spot) {
                report
                    .warning(&spot.clone().at_key(), format!("`{}` means nothing without `check`", spot.name()))
                    .help("write for example `check = \"GET /healthz\"` beside it");
            }
        }
    }

    fn build(&self, name: &str) -> Option<Pool> {
        let policy = self.policy;
        let (servers, _) = self.servers?;
        let server = |server: &Given<ServerEntry>, backup| {
            let ServerEntry { name, address, weight } = server.value.clone();
            Server { name, address, weight, backup }
        };
        let active = servers.iter().map(|given| server(given, false));
        let backup = self.backup().iter().map(|given| server(given, true));
        Some(Pool {
            name: name.to_owned(),
            servers: active.chain(backup).collect(),
            balance: value(&policy.balance)?,
            check: match value(&policy.check) {
                Some(kind) => Some(self.build_check(kind)?),
                None => None,
            },
            max_fails: whole(&policy.max_fails)?,
            max_ejection: value(&policy.max_ejection)?,
            retries: whole(&policy.retries)?,
            redispatch: value(&policy.redispatch)?,
            connect_timeout: value(&policy.connect_timeout)?,
            response_timeout: value(&policy.response_timeout)?,
            tunnel_timeout: value(&policy.tunnel_timeout)?,
            keep_alive: value(&policy.keep_alive)?,
            keep_alive_connections: whole(&policy.keep_alive_connections)?,
        })
    }

    fn build_check(&self, mut kind: CheckKind) -> Option<Check> {
        if let CheckKind::Http { host, .. } = &mut kind {
            *host = value(&self.policy.check_host);
        }
        Some(Check {
            kind,
            interval: value(&self.policy.check_interval)?,
            timeout: value(&self.policy.check_timeout)?,
            rise: whole(&self.policy.rise)?,
            fall: whole(&self.policy.fall)?,
        })
    }

    fn backup(&self) -> &[Given<ServerEntry>] {
        self.policy.backup.as_ref().map(|given| given.value.as_slice()).unwrap_or_default()
    }
}

/// Every table with a `to`.
fn users(file: &File) -> impl Iterator<Item = User<'_>> {
    let sites = file.site.iter().map(|(host, site)| {
        let (table, policy) = &site.table;
        let name = address::host_pattern(host).map_or_else(|_| host.clone(), |host| host.to_string());
        User { name, to: table.to.as_ref(), policy, spot: &site.spot, uses: Uses { sites: 1, tcp: 0 } }
    });
    let tcp = file.tcp.iter().map(|(name, tcp)| {
        let (table, policy) = &tcp.table;
        let uses = Uses { sites: 0, tcp: 1 };
        User { name: name.clone(), to: table.to.as_ref(), policy, spot: &tcp.spot, uses }
    });
    sites.chain(tcp)
}

fn spot<T>(given: &Option<Given<T>>) -> Option<&Spot> {
    given.as_ref().map(|given| &given.spot)
}
