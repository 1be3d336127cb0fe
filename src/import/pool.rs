//! Backends as pools.

use std::collections::BTreeSet;
use std::time::Duration;

use super::globals::Globals;
use super::proxy::CfgProxy;
use super::report::{Fate, ImportReport};
use super::server::ServerLine;
use super::time::time as read_time;
use super::toml::{WrittenTable, list, text, time};
use crate::config::{HostPattern, host_pattern, server_address};

/// What a pool has from the frontends that use it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolUse {
    /// The port that clients come to, for servers that have none of their own.
    pub port: Option<u16>,
    /// The shortest silence that a client may keep, for tunnels.
    pub client_timeout: Option<Duration>,
    /// Whether anything leads to it.
    pub is_used: bool,
}

/// The table of a backend; says what becomes of its servers. None when no server is left, or none that takes requests.
#[must_use]
pub fn pool(proxy: &CfgProxy, globals: &Globals, used: PoolUse, report: &mut ImportReport) -> Option<WrittenTable> {
    let mut table = WrittenTable::named("pool", &proxy.name);
    let mut seen = BTreeSet::new();
    let mut lists = [Vec::new(), Vec::new()];
    let mut takes_requests = false;
    // of two with one address the one that takes requests is kept
    let mut servers: Vec<&ServerLine> = proxy.servers.iter().collect();
    servers.sort_by_key(|server| server.weight() == 0);
    for server in servers {
        let Some(address) = whole_address(server, used.port, report) else { continue };
        let written = format!("{}{address}", if proxy.http { server.scheme() } else { tcp_scheme(server) });
        if !seen.insert(written.clone()) {
            report.note(
                server.line,
                Fate::Differently,
                format!("{written} is in the pool already; give that one a weight"),
            );
            continue;
        }
        let (fate, rest) = if used.is_used { (Fate::Kept, "") } else { (Fate::Differently, ", which is a comment") };
        let out = if server.has("disabled") { ", with weight = 0" } else { "" };
        report.note(server.line, fate, format!("a server of {}{rest}{out}", table.header()));
        takes_requests |= server.weight() > 0;
        let is_weighted = server.weight() != 1;
        let element = match is_weighted {
            true => format!("{{ address = {}, weight = {} }}", text(&written), server.weight()),
            false => text(&written),
        };
        lists[usize::from(server.has("backup"))].push(element);
    }
    let [mut servers, mut backup] = lists;
    if servers.is_empty() {
        // HAProxy uses them when it has no others, which is always
        std::mem::swap(&mut servers, &mut backup);
    }
    if servers.is_empty() || used.is_used && !takes_requests {
        return None;
    }
    table.set("servers", list(&servers));
    if !backup.is_empty() {
        table.set("backup", list(&backup));
    }
    if backup.len() > 1 && !proxy.options.contains("allbackups") {
        let later = proxy.servers.iter().filter(|server| server.has("backup")).skip(1);
        later.for_each(|server| report.note(server.line, Fate::Differently, "all of `backup` are used at once"));
    }
    if proxy.balance.as_deref().is_some_and(|balance| ["leastconn", "random"].contains(&balance)) {
        table.set("balance", "\"least-connections\"");
    }
    checks(proxy, &mut table, report);
    attempts(proxy, used, &mut table);
    connections(proxy, &mut table, report);
    tls(proxy, globals, &mut table, report);
    Some(table)
}

/// The address with its port.
fn whole_address(server: &ServerLine, port: Option<u16>, report: &mut ImportReport) -> Option<String> {
    let written = server.address.as_str();
    // `https://` may go without a port, and then it is another one
    let is_whole = |address: &str| server_address(address).is_ok();
    let digits = |address: &str| address.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
    if is_whole(written) && (written.starts_with("unix:") || digits(written)) {
        return Some(written.to_owned());
    }
    let bracketed = written.rsplit_once(':').map(|(host, port)| format!("[{host}]:{port}"));
    if let Some(address) = bracketed.filter(|address| is_whole(address) && written.matches(':').count() > 1) {
        return Some(address);
    }
    let with_port = port.map(|port| format!("{}:{port}", written.trim_end_matches(':')));
    if let Some(address) = with_port.filter(|address| is_whole(address)) {
        let sentence = format!("{address}: without a port it is the one that clients come to");
        report.note(server.line, Fate::Kept, sentence);
        return Some(address);
    }
    let sentence = format!("{written} is no address with a port: write HOST:PORT into the pool");
    report.note(server.line, Fate::Unsupported, sentence);
    None
}

/// HTTP/2 is none of the business of a relay.
fn tcp_scheme(server: &ServerLine) -> &'static str {
    if server.tls() { "https://" } else { "" }
}

/// Whether it is a host, perhaps with a port.
fn is_host(text: &str) -> bool {
    server_address(text).is_ok() && !text.contains('/') || is_host_name(text)
}

/// Whether it is a host name or an IP address.
fn is_host_name(text: &str) -> bool {
    host_pattern(text).is_ok_and(|host| matches!(host, HostPattern::Exact(_)))
        || text.parse::<std::net::IpAddr>().is_ok()
}

fn checks(proxy: &CfgProxy, table: &mut WrittenTable, report: &mut ImportReport) {
    let checked: Vec<_> = proxy.servers.iter().filter(|server| server.has("check")).collect();
    if checked.is_empty() {
        for line in &proxy.check.lines {
            report.note(*line, Fate::Differently, "no server line of the backend says `check`, so none is checked");
        }
        return;
    }
    for server in proxy.servers.iter().filter(|server| !server.has("check")) {
        report.note(server.line, Fate::Differently, "it is checked too, as the others of its pool are");
    }
    let mut kind = proxy.check.request.as_ref().map(|(method, path)| format!("{method} {path}"));
    if kind.is_some() && checked.iter().any(|server| server.has("port") || server.has("addr")) {
        kind = None;
        let sentence = "check = \"connect\" in its place, for the request is for another port: servers that only it tells apart \
                        all count as up";
        proxy.check.lines.iter().for_each(|line| report.note(*line, Fate::Unsupported, sentence));
    }
    table.set("check", text(kind.as_deref().unwrap_or("connect")));
    if kind.is_some() {
        let host = proxy.check.host.as_deref();
        table.set_if("check_host", host.filter(|host| is_host(host)).map(text));
        if host.is_some_and(|host| !is_host(host)) {
            let sentence = "Host of the check: it is no host name, and is left out";
            proxy.check.lines.iter().for_each(|line| report.note(*line, Fate::Unsupported, sentence));
        }
    }
    let interval = common(&checked, "inter", "2000", report).and_then(|inter| read_time(&inter, "ms"));
    let interval = interval.filter(|time| !time.is_zero()).unwrap_or(TWO_SECONDS);
    let timeout = proxy.timeout("check").unwrap_or(interval);
    for (key, value, default) in [("check_interval", interval, TWO_SECONDS), ("check_timeout", timeout, TWO_SECONDS)] {
        table.set_if(key, (value != default).then(|| time(value)));
    }
    for (key, default) in [("rise", 2), ("fall", 3)] {
        let number = common(&checked, key, &default.to_string(), report).and_then(|number| number.parse::<u32>().ok());
        table.set_if(
            key,
            number.filter(|number| *number != default && (1..=1000).contains(number)).map(|it| it.to_string()),
        );
    }
}

const TWO_SECONDS: Duration = Duration::from_secs(2);

/// The value of an option that is one for the whole pool: that of the first server. `default` is that of HAProxy.
fn common(servers: &[&ServerLine], option: &str, default: &str, report: &mut ImportReport) -> Option<String> {
    let value = |server: &ServerLine| server.option(option).unwrap_or(default).to_owned();
    let first = servers.first().and_then(|server| server.option(option));
    let whole = first.unwrap_or(default);
    for server in servers.iter().filter(|server| value(server) != whole) {
        let sentence = format!("{option} is one for the whole pool, as the first server of it has it");
        report.note(server.line, Fate::Differently, sentence);
    }
    first.map(str::to_owned)
}

fn attempts(proxy: &CfgProxy, used: PoolUse, table: &mut WrittenTable) {
    table.set_if("retries", proxy.retries.filter(|retries| *retries != 3).map(|retries| retries.to_string()));
    if !proxy.options.contains("redispatch") {
        table.set("redispatch", "false");
    }
    let shown = |name: &str, default: Duration| proxy.timeout(name).filter(|time| *time != default).map(time);
    table.set_if("connect_timeout", shown("connect", Duration::from_secs(5)));
    let tunnel = proxy.timeout("tunnel");
    if proxy.http {
        table.set_if("response_timeout", shown("server", Duration::from_secs(50)));
        table.set_if("tunnel_timeout", tunnel.map(time));
    } else {
        let silence = [used.client_timeout, proxy.timeout("server")].into_iter().flatten().min();
        table.set_if("tunnel_timeout", tunnel.or(silence).map(time));
    }
}

fn connections(proxy: &CfgProxy, table: &mut WrittenTable, report: &mut ImportReport) {
    let has = |names: &[&str]| names.iter().any(|name| proxy.options.contains(*name));
    if proxy.http && has(&["http-server-close", "httpclose", "forceclose"]) {
        table.set("keep_alive_connections", "0");
    }
    if proxy.http && has(&["accept-invalid-http-response", "accept-unsafe-violations-in-http-response"]) {
        table.set("lenient", "true");
    }
    let header = |server: &ServerLine| match server.options.keys().any(|option| option.starts_with("send-proxy-v2")) {
        true => Some("\"v2\""),
        false => server.has("send-proxy").then_some("\"v1\""),
    };
    let Some(first) = proxy.servers.iter().find_map(header) else { return };
    let is_http2 = |server: &ServerLine| proxy.http && server.scheme().starts_with("h2");
    if proxy.servers.iter().any(is_http2) {
        let sentence = "no header of the PROXY protocol goes to servers of HTTP/2: X-Forwarded-For has the client";
        proxy.servers.iter().for_each(|server| report.note(server.line, Fate::Unsupported, sentence));
        return;
    }
    for server in proxy.servers.iter().filter(|server| header(server) != Some(first)) {
        let sentence = format!("send_proxy = {first} is for all servers of the pool: this one has to expect it too");
        report.note(server.line, Fate::Unsupported, sentence);
    }
    table.set("send_proxy", first);
}

fn tls(proxy: &CfgProxy, globals: &Globals, table: &mut WrittenTable, report: &mut ImportReport) {
    let servers: Vec<_> = proxy.servers.iter().filter(|server| server.tls()).collect();
    if servers.is_empty() {
        return;
    }
    let trusts = |server: &ServerLine| match server.option("verify") {
        Some(verify) => verify == "none",
        None => globals.trusts_servers,
    };
    let of_ca = |path: &str| text(&Globals::below(globals.ca_base.as_ref(), path));
    let authorities = common(&servers, "ca-file", "", report).filter(|path| path != "@system-ca");
    table.set_if("tls_ca", authorities.as_deref().map(of_ca));
    let all_trusted = servers.iter().all(|server| trusts(server));
    for server in servers.iter().filter(|server| trusts(server) && !all_trusted) {
        report.note(server.line, Fate::Differently, "its certificate is looked at, as those of the others are");
    }
    // `sni str(NAME)` is a name for all requests; any other expression is one for each
    let mut names = BTreeSet::new();
    for server in &servers {
        let sni = server.option("sni");
        let fixed = sni.and_then(|sni| sni.strip_prefix("str(")?.strip_suffix(')'));
        if sni.is_some() && fixed.is_none() {
            report.note(
                server.line,
                Fate::Unsupported,
                "sni: a server is asked for one name, as tls_server_name has it",
            );
        }
        let name = server.option("verifyhost").or(fixed);
        names.insert(name.map(str::to_owned));
        if name.is_none() && !trusts(server) {
            let sentence = "its certificate has to be for the host of its address too, or for tls_server_name";
            report.note(server.line, Fate::Differently, sentence);
        }
    }
    match names.len() {
        1 => {
            let name = names.pop_first().flatten().filter(|name| is_host_name(name));
            table.set_if("tls_server_name", name.as_deref().map(text));
        }
        _ => servers.iter().for_each(|server| {
            report.note(server.line, Fate::Unsupported, "tls_server_name is one for the whole pool: it is left out");
        }),
    }
    let certificate = common(&servers, "crt", "", report);
    let path = |path: &String| text(&Globals::below(globals.crt_base.as_ref(), path));
    table.set_if("tls_certificate", certificate.as_ref().map(path));
    if all_trusted {
        table.set("tls_verify", "false");
    }
}
