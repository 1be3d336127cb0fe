//! Frontends for HTTP as listeners and sites.

use std::collections::{BTreeMap, BTreeSet};

use super::bind::{is_every, is_wider};
use super::field;
use super::globals::Globals;
use super::host::{Truth, wider};
use super::outcome::RouteOutcome;
use super::proxy::{CfgProxy, LONGEST_NAME};
use super::report::{Fate, ImportReport};
use super::rule::{AccessRule, RuleAction};
use super::socket::{FrontendSocket, LeftOutSocket, certificates, client_keys, regions};
use super::toml::{WrittenTable, text, time};
use crate::config::{Address, HostPattern, overlap};

/// Where nothing answers: what comes to a host that is not to be served goes there.
pub const CLOSED: &str = "127.0.0.1:9";

/// What is said of a line whose site would be as the one around it.
const WITHOUT_IT: &str = "its requests come to this backend without it";

/// The tables of all frontends for HTTP.
#[derive(Debug, Default)]
pub struct HttpTables {
    /// In the order in which they are written.
    pub tables: Vec<WrittenTable>,
    /// The backends that are served, each with the ports that lead to it.
    pub pools: BTreeMap<String, BTreeSet<u16>>,
    /// The addresses that are taken, each with the header of its listener.
    pub addresses: Vec<(Address, String)>,
    /// The sockets that are left out.
    pub left_out: Vec<LeftOutSocket>,
    /// The names of listeners that are taken.
    pub names: BTreeSet<String>,
    /// The lines of the sections that have a listener.
    pub sections: BTreeSet<usize>,
    /// Whether port 80 is that of systemd alone, and has to be closed.
    pub port_80_is_open: bool,
}

/// Writes listeners and sites; says what becomes of the lines that decide about them.
#[must_use]
pub fn http(all: &[CfgProxy], globals: &Globals, only: &[String], report: &mut ImportReport) -> HttpTables {
    let regions = regions(all);
    let wanted = |proxy: &&CfgProxy| proxy.is_frontend() && proxy.http && is_wanted(proxy, only);
    let sockets: Vec<FrontendSocket<'_>> =
        all.iter().filter(wanted).flat_map(|proxy| FrontendSocket::of(proxy, all, &regions)).collect();
    let mut taken: Vec<&FrontendSocket<'_>> = Vec::new();
    let mut out: Vec<(&FrontendSocket<'_>, String)> = Vec::new();
    for socket in sockets.iter().filter(|socket| socket.serves()) {
        match taken.iter().find(|other| !socket.agrees(other, globals)) {
            None => taken.push(socket),
            Some(other) => out.push((socket, differs(socket, other))),
        }
    }
    let has_tls = taken.iter().any(|socket| socket.kind.tls);
    for socket in sockets.iter().filter(|socket| !socket.serves()) {
        let why = match socket.only_redirects() {
            true if has_tls && taken.iter().all(|other| socket.agrees(other, globals)) => {
                taken.push(socket);
                continue;
            }
            true => "clients are sent to HTTPS here, and no listener speaks TLS".to_owned(),
            false if socket.routes.values().all(|route| *route == RouteOutcome::Refused { line: None }) => {
                "no server is behind it".to_owned()
            }
            false => "nothing that can be said is served here".to_owned(),
        };
        out.push((socket, why));
    }
    let mut writer = HttpWriter { found: HttpTables::default(), written: BTreeSet::new(), globals, report };
    writer.listeners(&taken);
    writer.sites(&regions, &taken);
    writer.left_out(&out, &taken);
    writer.rules(all, &taken);
    writer.found
}

/// Whether a frontend is to be imported.
#[must_use]
pub fn is_wanted(proxy: &CfgProxy, only: &[String]) -> bool {
    !proxy.disabled && (only.is_empty() || only.contains(&proxy.name))
}

fn differs(socket: &FrontendSocket<'_>, other: &FrontendSocket<'_>) -> String {
    format!(
        "sites are for all listeners, and {} serves others than {} does: make it a second proxy by `segue import --only {}`",
        socket.proxy.name, other.proxy.name, socket.proxy.name
    )
}

struct HttpWriter<'a> {
    found: HttpTables,
    written: BTreeSet<HostPattern>,
    globals: &'a Globals,
    report: &'a mut ImportReport,
}

impl HttpWriter<'_> {
    fn listeners(&mut self, taken: &[&FrontendSocket<'_>]) {
        let mut kept: Vec<&FrontendSocket<'_>> = Vec::new();
        for (index, socket) in taken.iter().enumerate() {
            let others = taken.iter().enumerate().filter(|(other, _)| *other != index);
            let wider = others.map(|(other, one)| (other < index, one)).find(|(earlier, one)| {
                overlap(&one.address, &socket.address)
                    && (is_wider(&one.address, &socket.address) || *earlier && one.address == socket.address)
            });
            let Some((_, wider)) = wider else {
                kept.push(socket);
                continue;
            };
            let (fate, sentence) = match wider.kind.tls == socket.kind.tls {
                true => (Fate::Differently, format!("{} takes {} too", wider.address, socket.address)),
                false => (Fate::Unsupported, format!("{} takes it, and one of the two has no TLS", wider.address)),
            };
            self.report.note(socket.bind.line, fate, sentence);
        }
        let on_80 = kept.iter().position(|socket| !socket.kind.tls && is_port_80(&socket.address));
        let http = on_80.or_else(|| kept.iter().position(|socket| !socket.kind.tls));
        let https = kept.iter().position(|socket| socket.kind.tls && socket.kind.port == Some(443));
        self.found.port_80_is_open = on_80.is_none() && http.is_some();
        self.found.names.extend(["http", "https"].map(str::to_owned));
        let has_both = [true, false].iter().all(|four| {
            let mut of_80 = taken.iter().filter(|socket| is_port_80(&socket.address));
            of_80.any(|socket| is_every(&socket.address, *four) || socket.bind.has("v4v6"))
        });
        let of_80 = if has_both { Fate::Kept } else { Fate::Differently };
        for (index, socket) in kept.iter().enumerate() {
            let name = match Some(index) {
                at if at == http => "http".to_owned(),
                at if at == https => "https".to_owned(),
                _ => free_name(&socket.proxy.name, socket.kind.port, &mut self.found.names),
            };
            let table = self.listener(&name, socket, (Some(index) == on_80).then_some(of_80));
            self.found.sections.insert(socket.proxy.line);
            self.found.addresses.push((socket.address.clone(), table.header().to_owned()));
            self.found.tables.push(table);
        }
    }

    fn listener(&mut self, name: &str, socket: &FrontendSocket<'_>, of_systemd: Option<Fate>) -> WrittenTable {
        let (proxy, bind) = (socket.proxy, socket.bind);
        let mut table = WrittenTable::named("listen", name);
        table.comments.push(format!("line {}: {} {}", bind.line, proxy.kind, proxy.name));
        let header = table.header().to_owned();
        if let Some(fate) = of_systemd {
            let sentence = format!("{header}: port 80 is that of proxy-http.socket, for IPv4 and IPv6");
            self.report.note(bind.line, fate, sentence);
        } else {
            table.set("address", text(&socket.address.to_string()));
            let sentence = format!("{header} address = {}", text(&socket.address.to_string()));
            self.report.note(bind.line, Fate::Kept, sentence);
        }
        if name == "http" && of_systemd.is_none() {
            let sentence = "port 80 of the package has to be closed: `systemctl mask --now proxy-http.socket`";
            self.report.note(bind.line, Fate::Kept, sentence);
        }
        if socket.kind.tls {
            table.set("tls", "true");
            let alpn = bind.option("alpn").unwrap_or("h2,http/1.1");
            table.set_if("h2", (!alpn.split(',').any(|one| one == "h2")).then(|| "false".to_owned()));
        } else if bind.option("proto") == Some("h2") {
            table.set("h2c", "true");
        }
        self.limits(socket, &mut table);
        table
    }

    /// Timeouts of clients, connections, and the PROXY protocol.
    fn limits(&mut self, socket: &FrontendSocket<'_>, table: &mut WrittenTable) {
        let (proxy, bind) = (socket.proxy, socket.bind);
        let client = proxy.timeout("client");
        let head = proxy.timeout("http-request").or(client);
        let idle = proxy.timeout("http-keep-alive").or(head);
        for (key, value, default) in [
            ("header_timeout", head, 10),
            ("idle_timeout", idle, 60),
            ("body_timeout", client, 30),
            ("write_timeout", client, 60),
        ] {
            table.set_if(key, value.filter(|value| value.as_secs_f64() != f64::from(default)).map(time));
        }
        let own = bind.option("maxconn").and_then(|number| number.parse::<u64>().ok());
        if let Some(each) = own.or(proxy.max_connections) {
            let all = each.saturating_mul(self.globals.processes).clamp(1, 10_000_000);
            table.set("max_connections", all.to_string());
        }
        accept_proxy(bind.has("accept-proxy"), bind.line, table, self.report);
    }

    fn sites(&mut self, regions: &BTreeSet<HostPattern>, taken: &[&FrontendSocket<'_>]) {
        let stays_plain =
            |region: &HostPattern| taken.iter().any(|socket| !socket.kind.tls && is_served(socket, region));
        let routes = regions.iter().map(|region| (region, (served(region, taken), stays_plain(region))));
        let routes: BTreeMap<&HostPattern, (Option<&str>, bool)> = routes.collect();
        let has_tls = taken.iter().any(|socket| socket.kind.tls);
        for (region, (pool, stays_plain)) in &routes {
            let unknown = taken.iter().find_map(|socket| match socket.routes.get(*region) {
                Some(RouteOutcome::Unknown { line, pool }) => Some((*line, pool.clone())),
                _ => None,
            });
            let mut table = WrittenTable::site(&region.to_string());
            let outer = wider(region, |one| routes.contains_key(one)).and_then(|outer| routes.get(&outer).copied());
            match pool {
                // a site with the same backend differs all the same where one of the two is not served without TLS
                Some(pool) if outer == Some((Some(pool), *stays_plain)) => continue,
                Some(pool) => {
                    table.set("to", text(pool));
                    self.use_pool(pool, taken);
                    self.written.insert((*region).clone());
                    if has_tls {
                        self.tls_keys(taken, *stays_plain, &mut table);
                    }
                }
                None => {
                    if let Some((line, pool)) = &unknown {
                        let mut comment = table.clone();
                        comment.left_out = true;
                        let sentence = format!("left out: line {line} decides what it serves, and cannot be said here");
                        comment.comments.push(sentence);
                        comment.set("to", text(pool.as_deref().unwrap_or("…")));
                        self.found.tables.push(comment);
                    }
                    if outer.is_none_or(|(pool, _)| pool.is_none()) {
                        continue;
                    }
                    let sentence = "closed: another site would serve this host otherwise, and nothing listens there";
                    table.comments.push(sentence.to_owned());
                    table.set("to", format!("[{}]", text(CLOSED)));
                }
            }
            self.found.tables.push(table);
        }
    }

    fn use_pool(&mut self, pool: &str, taken: &[&FrontendSocket<'_>]) {
        let leads = |socket: &&&FrontendSocket<'_>| socket.routes.values().any(|route| route.pool() == Some(pool));
        let ports = taken.iter().filter(leads).filter_map(|socket| socket.kind.port);
        self.found.pools.entry(pool.to_owned()).or_default().extend(ports);
    }

    fn tls_keys(&mut self, taken: &[&FrontendSocket<'_>], stays_plain: bool, table: &mut WrittenTable) {
        table.set_if("tls", certificates(taken.iter().map(|socket| socket.bind), self.globals));
        let client =
            taken.iter().filter(|socket| socket.kind.tls).map(|socket| client_keys(socket.bind, self.globals)).next();
        for (key, value) in client.unwrap_or_default() {
            table.set(key, value);
        }
        if stays_plain {
            table.set("https_redirect", "false");
        }
        let hsts = taken.iter().filter(|socket| socket.kind.tls).find_map(|socket| socket.proxy.hsts.as_deref());
        table.set_if("hsts", hsts.and_then(field::hsts));
    }

    fn left_out(&mut self, out: &[(&FrontendSocket<'_>, String)], taken: &[&FrontendSocket<'_>]) {
        for (socket, why) in out {
            let mut table = WrittenTable::named("listen", &socket.proxy.name);
            table.left_out = true;
            table.comments.push(format!("left out, line {}: {why}", socket.bind.line));
            let unknown = socket.routes.iter().filter_map(|(region, route)| match route {
                RouteOutcome::Unknown { line, pool } => {
                    let pool = pool.as_deref().unwrap_or("a backend");
                    Some(format!(
                        "line {line} decides which requests for {region} go to {pool}, and cannot be said here"
                    ))
                }
                _ => None,
            });
            table.comments.extend(unknown);
            table.set("address", text(&socket.address.to_string()));
            self.found.left_out.push(LeftOutSocket::of(socket, self.found.tables.len()));
            self.found.tables.push(table);
            self.report.note(socket.bind.line, Fate::Unsupported, format!("it is left out: {why}"));
            for route in socket.routes.values() {
                self.say_why(route);
            }
        }
        let routes = taken.iter().flat_map(|socket| socket.routes.values());
        routes.for_each(|route| self.say_why(route));
    }

    /// Says at a line that something is left out of its doing.
    fn say_why(&mut self, route: &RouteOutcome) {
        if let RouteOutcome::Unknown { line, pool } = route {
            let what = pool.as_ref().map_or("what it decides about", |pool| pool.as_str());
            let sentence = format!(
                "it cannot be said here for all requests, so {what} is left out for the hosts that it may be about"
            );
            self.report.note(*line, Fate::Unsupported, sentence);
        }
    }

    /// Says of rules for a backend that its requests come to it anyhow, or that they are those of certificate authorities.
    fn rules_without_effect(&mut self, taken: &[&FrontendSocket<'_>]) {
        for socket in taken {
            for rule in &socket.proxy.rules {
                let RuleAction::Use(name) = &rule.action else { continue };
                let comes_anyhow = |(region, route): (&HostPattern, &RouteOutcome)| {
                    route.pool() == Some(name) || rule.condition.on(region, socket.kind) == Truth::No
                };
                if !self.report.has(rule.line) && rule.condition.is_of_challenges() {
                    let sentence =
                        "challenges are answered here for sites with tls = \"auto\", and go to the servers of others";
                    self.report.note(rule.line, Fate::Differently, sentence);
                } else if !self.report.has(rule.line) && socket.routes.iter().all(comes_anyhow) {
                    self.report.note(rule.line, Fate::Kept, WITHOUT_IT);
                }
            }
        }
    }

    /// Says where a rule is for hosts that no client means too, such as `example.com.other.test`.
    fn odd_hosts(&mut self, taken: &[&FrontendSocket<'_>]) {
        for socket in taken {
            let is_use = |rule: &&AccessRule| matches!(rule.action, RuleAction::Use(_));
            for rule in socket.proxy.rules.iter().filter(is_use) {
                let truth = rule.condition.on(&HostPattern::Any, socket.kind);
                if truth == Truth::Hardly && !rule.condition.is_of_challenges() {
                    let sentence = "a host that only has this name in it, as in NAME.other.test, is not meant here";
                    self.report.note(rule.line, Fate::Differently, sentence);
                }
            }
        }
    }

    /// Says what became of the rules that send requests somewhere.
    fn rules(&mut self, all: &[CfgProxy], taken: &[&FrontendSocket<'_>]) {
        for socket in taken {
            for (region, route) in &socket.routes {
                match route {
                    RouteOutcome::Pool { name, line } if self.written.contains(region) => {
                        let sentence = format!("[site.{}] to = {}", text(&region.to_string()), text(name));
                        self.report.note(*line, Fate::Kept, sentence);
                    }
                    RouteOutcome::Refused { line: Some(line) } => {
                        let sentence = format!("no site serves {region}");
                        self.report.note(*line, Fate::Kept, sentence);
                    }
                    _ => {}
                }
            }
        }
        for route in taken.iter().flat_map(|socket| socket.routes.values()) {
            if let RouteOutcome::Pool { line, .. } = route
                && !self.report.has(*line)
            {
                self.report.note(*line, Fate::Kept, WITHOUT_IT);
            }
        }
        self.rules_without_effect(taken);
        self.odd_hosts(taken);
        let has_tls = taken.iter().any(|socket| socket.kind.tls);
        for rule in all.iter().flat_map(|proxy| &proxy.rules) {
            let is_here = taken.iter().any(|socket| socket.proxy.rules.iter().any(|one| one.line == rule.line));
            if rule.action == RuleAction::ToHttps && has_tls && is_here {
                self.report.note(rule.line, Fate::Kept, "https_redirect of the sites with TLS, which is 308");
            }
        }
    }
}

/// The header of the PROXY protocol: HAProxy takes it from any peer, and segue from those that are trusted.
pub fn accept_proxy(wanted: bool, line: usize, table: &mut WrittenTable, report: &mut ImportReport) {
    if wanted {
        table.set("accept_proxy", "true");
        table.set("trusted_proxies", "[]    # write the networks of the proxies, as in [\"10.0.0.0/8\"]");
        let sentence = "accept_proxy: no peer is believed until you write trusted_proxies of the listener";
        report.note(line, Fate::Unsupported, sentence);
    }
}

/// `base`, or that with the port or a number, until no other listener has it.
pub fn free_name(base: &str, port: Option<u16>, names: &mut BTreeSet<String>) -> String {
    // a name is that of a descriptor too, which has no colon, and has room for a number
    let plain = |letter: char| if letter.is_ascii_graphic() && letter != ':' { letter } else { '-' };
    let base: String = base.chars().map(plain).take(LONGEST_NAME - 30).collect();
    let with_port = port.map(|port| format!("{base}-{port}"));
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let mut all = std::iter::once(base.clone()).chain(with_port).chain(numbered);
    let name = all.find(|name| !names.contains(name)).unwrap_or_default();
    names.insert(name.clone());
    name
}

fn is_port_80(address: &Address) -> bool {
    (is_every(address, true) || is_every(address, false))
        && matches!(address, Address::Ip(address) if address.port() == 80)
}

fn is_served(socket: &FrontendSocket<'_>, region: &HostPattern) -> bool {
    socket.routes.get(region).is_some_and(|route| route.pool().is_some())
}

fn served<'a>(region: &HostPattern, taken: &[&'a FrontendSocket<'_>]) -> Option<&'a str> {
    taken.iter().find_map(|socket| socket.routes.get(region)?.pool())
}
