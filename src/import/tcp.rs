//! Frontends that relay bytes as TCP listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::globals::Globals;
use super::host::wider;
use super::http::{CLOSED, accept_proxy, free_name, is_wanted};
use super::outcome::{RouteOutcome, patterns};
use super::proxy::CfgProxy;
use super::report::{Fate, ImportReport};
use super::socket::{FrontendSocket, LeftOutSocket, certificates, client_keys};
use super::toml::{WrittenTable, text};
use crate::config::{Address, HostPattern, overlap};

/// The tables of all frontends that relay bytes.
#[derive(Debug, Default)]
pub struct TcpTables {
    /// In the order in which they are written.
    pub tables: Vec<WrittenTable>,
    /// The sockets that are left out.
    pub left_out: Vec<LeftOutSocket>,
    /// The lines of the sections that have a listener.
    pub sections: BTreeSet<usize>,
    /// The backends that are used, each with the ports that lead to it and the shortest silence of clients.
    pub pools: BTreeMap<String, (BTreeSet<u16>, Option<Duration>)>,
    /// The name of the pool without a server that answers.
    closed: String,
    needs_closed: bool,
}

/// Writes TCP listeners; `addresses` and `names` are those that are taken.
#[must_use]
pub fn tcp(
    all: &[CfgProxy],
    globals: &Globals,
    only: &[String],
    (addresses, names): (&mut Vec<(Address, String)>, &mut BTreeSet<String>),
    report: &mut ImportReport,
) -> TcpTables {
    let mut backends = all.iter().filter(|one| one.is_backend()).map(|one| one.name.clone()).collect();
    let mut found = TcpTables { closed: free_name("closed", None, &mut backends), ..TcpTables::default() };
    for proxy in all.iter().filter(|proxy| proxy.is_frontend() && !proxy.http && is_wanted(proxy, only)) {
        let backends = all.iter().filter(|one| one.is_backend() && !one.http);
        let regions = patterns(std::iter::once(proxy).chain(backends));
        for socket in FrontendSocket::of(proxy, all, &regions) {
            let is_taken = addresses.iter().find(|(taken, _)| overlap(taken, &socket.address));
            let why = match is_taken {
                Some((taken, _)) => Some(format!("{taken} is taken by another listener")),
                None if !socket.serves() => Some("no server is known that every connection may go to".to_owned()),
                None => None,
            };
            let name = free_name(&proxy.name, socket.kind.port, names);
            let mut table = WrittenTable::named("tcp", &name);
            table.comments.push(format!("line {}: {} {}", socket.bind.line, proxy.kind, proxy.name));
            table.set("listen", text(&socket.address.to_string()));
            for route in socket.routes.values() {
                say_why(route, report);
            }
            if let Some(why) = why {
                table.left_out = true;
                found.left_out.push(LeftOutSocket::of(&socket, found.tables.len()));
                table.comments.push(format!("left out: {why}"));
                report.note(socket.bind.line, Fate::Unsupported, format!("it is left out: {why}"));
            } else {
                let header = table.header().to_owned();
                addresses.push((socket.address.clone(), header.clone()));
                found.sections.insert(proxy.line);
                report.note(
                    socket.bind.line,
                    Fate::Kept,
                    format!("{header} listen = {}", text(&socket.address.to_string())),
                );
                fill(&socket, globals, &mut table, &mut found, report);
            }
            found.tables.push(table);
        }
    }
    if found.needs_closed {
        let mut table = WrittenTable::named("pool", &found.closed);
        table.comments.push("HAProxy closes these connections: nothing listens there".to_owned());
        table.set("servers", format!("[{}]", text(CLOSED)));
        found.tables.push(table);
    }
    found
}

fn fill(
    socket: &FrontendSocket<'_>,
    globals: &Globals,
    table: &mut WrittenTable,
    found: &mut TcpTables,
    report: &mut ImportReport,
) {
    let (proxy, bind) = (socket.proxy, socket.bind);
    let pool =
        |region: &HostPattern| socket.routes.get(region).and_then(RouteOutcome::pool).unwrap_or(found.closed.as_str());
    table.set("to", text(pool(&HostPattern::Any)));
    // without a name of its own, a region has the pool of the narrowest one around it
    let is_own = |region: &&HostPattern| {
        wider(region, |one| socket.routes.contains_key(one)).is_some_and(|outer| pool(&outer) != pool(region))
    };
    let others = socket.routes.keys().filter(is_own);
    let sni: Vec<_> = others.map(|region| format!("{} = {}", text(&region.to_string()), text(pool(region)))).collect();
    if !sni.is_empty() {
        table.set("sni", format!("{{ {} }}", sni.join(", ")));
    }
    found.needs_closed |= socket.routes.values().any(|route| route.pool().is_none());
    for (region, route) in &socket.routes {
        if let RouteOutcome::Pool { name, line } = route {
            let (ports, silence) = found.pools.entry(name.clone()).or_default();
            ports.extend(socket.kind.port);
            *silence = [*silence, proxy.timeout("client")].into_iter().flatten().min();
            let key = if *region == HostPattern::Any { "to".to_owned() } else { format!("sni {region}") };
            report.note(*line, Fate::Kept, format!("{} {key} = {}", table.header(), text(name)));
        }
    }
    if socket.kind.tls {
        table.set_if("tls", certificates(std::iter::once(bind), globals));
        client_keys(bind, globals).into_iter().for_each(|(key, value)| table.set(key, value));
    }
    let own = bind.option("maxconn").and_then(|number| number.parse::<u64>().ok());
    if let Some(each) = own.or(proxy.max_connections) {
        table.set("max_connections", each.saturating_mul(globals.processes).clamp(1, 10_000_000).to_string());
    }
    accept_proxy(bind.has("accept-proxy"), bind.line, table, report);
}

fn say_why(route: &RouteOutcome, report: &mut ImportReport) {
    match route {
        RouteOutcome::Unknown { line, .. } => {
            let sentence = "it cannot be said here for all connections, so those that it may be about are closed";
            report.note(*line, Fate::Unsupported, sentence);
        }
        RouteOutcome::Refused { line: Some(line) } => {
            report.note(*line, Fate::Kept, "these connections are closed");
        }
        _ => {}
    }
}
