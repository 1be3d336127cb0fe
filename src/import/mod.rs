//! The configuration of HAProxy as one of Segue: TOML, and a report on every line of the input.
//!
//! `section` reads the file, with `line` for its words; `keyword` knows what becomes of each keyword. A frontend or backend
//! is a `proxy`. What it does with requests is told for each host by `outcome`, from its `rule`s and their `condition`s.
//! `http`, `tcp` and `pool` write what can be said. What depends on anything that cannot be said is left out: nothing is
//! served to clients that HAProxy would have refused.

mod bind;
mod check;
mod condition;
mod error;
mod field;
mod globals;
mod host;
mod http;
mod keyword;
mod line;
mod outcome;
mod page;
mod pool;
mod proxy;
mod report;
mod rule;
mod section;
mod server;
mod socket;
mod tcp;
mod time;
mod toml;

use std::collections::{BTreeMap, BTreeSet};

use self::http::HttpTables;
use self::pool::PoolUse;
use self::proxy::CfgProxy;
use self::report::{Fate, ImportReport};
use self::section::{CfgSection, sections, with_defaults};
use self::tcp::TcpTables;
use self::toml::WrittenTable;
use crate::config::format_of;

pub use self::error::ImportError;
use self::globals::Globals;

/// What was made of a file.
#[derive(Debug)]
pub struct Imported {
    /// The configuration.
    pub toml: String,
    /// What became of each line, a line each, and a summary.
    pub report: String,
    /// Whether everything could be said.
    pub complete: bool,
}

/// What an import is given beside the file.
#[derive(Clone, Copy)]
pub struct ImportOptions<'o> {
    /// Of its frontends these, where there are any.
    pub only: &'o [String],
    /// The variables of the process.
    pub variable: &'o dyn Fn(&str) -> Option<String>,
    /// Makes the hash of a password.
    pub hash: &'o dyn Fn(&str) -> Option<String>,
}

/// Imports a haproxy.cfg, named `name` in what is said.
///
/// # Errors
/// When the file is none, or nothing can be made of it.
pub fn import(
    name: &str,
    bytes: &[u8],
    ImportOptions { only, variable: environment, hash }: ImportOptions<'_>,
) -> Result<Imported, ImportError> {
    if bytes.contains(&0) {
        return Err(ImportError::Binary);
    }
    // a comment may be in any encoding
    let text = String::from_utf8_lossy(bytes);
    let mut report = ImportReport::default();
    let read = sections(text.strip_prefix('\u{feff}').unwrap_or(&text), environment, &mut report);
    let is_ours = matches!(&read, Ok(sections) if sections.iter().any(CfgSection::is_of_haproxy));
    if !is_ours && let Some(format) = format_of(&text).filter(|format| !format.ends_with("HAProxy")) {
        return Err(ImportError::Another { format });
    }
    let sections = read?;
    if !is_ours {
        return Err(ImportError::NoSection);
    }
    let whole = with_defaults(&sections);
    let globals = Globals::read(&sections, &mut report);
    let mut proxies: Vec<CfgProxy> =
        whole.iter().filter(|one| one.is_proxy()).map(|one| CfgProxy::read(one, &mut report)).collect();
    without_doubles(&mut proxies, &mut report);
    if let Some(unknown) = only.iter().find(|name| !proxies.iter().any(|one| one.is_frontend() && one.name == **name)) {
        return Err(ImportError::NoFrontend(unknown.clone()));
    }
    let mut http = http::http(&proxies, &globals, only, &mut report);
    let taken = (&mut http.addresses, &mut http.names);
    let mut tcp = tcp::tcp(&proxies, &globals, only, taken, &mut report);
    http.left_out.iter().for_each(|socket| socket.say_what_takes_it(&http.addresses, &mut http.tables, &mut report));
    tcp.left_out.iter().for_each(|socket| socket.say_what_takes_it(&http.addresses, &mut tcp.tables, &mut report));
    let pools = pools(&proxies, &globals, &http, &tcp, &mut report);
    headers(&sections, &proxies, &http, &tcp, &mut report);
    others(&sections, &mut report);
    let sentence = "left out, as the section is disabled";
    leave_out(&sections, proxies.iter().filter(|proxy| proxy.disabled), Fate::Kept, sentence, &mut report);
    if !only.is_empty() {
        let is_used = |proxy: &CfgProxy| {
            let served =
                if proxy.http { http.pools.contains_key(&proxy.name) } else { tcp.pools.contains_key(&proxy.name) };
            served || proxy.is_frontend() && http::is_wanted(proxy, only) || proxy.kind == "defaults"
        };
        let unused = proxies.iter().filter(|proxy| !is_used(proxy));
        leave_out(&sections, unused, Fate::Differently, "left out, as --only says", &mut report);
    }
    let page = page::page(&sections, &http.tables.iter().filter_map(WrittenTable::host).collect::<Vec<_>>(), hash);
    let tables = process(&proxies, &globals).into_iter().chain(http.tables).chain(tcp.tables).chain(pools).chain(page);
    let complete = !report.lost();
    let mut toml = introduction(name, http.port_80_is_open, complete);
    tables.for_each(|table| toml = std::mem::take(&mut toml) + "\n" + &table.render());
    Ok(Imported { toml, report: report.render(name), complete })
}

/// Disables each backend, and each frontend, that has the name of one before it.
fn without_doubles(proxies: &mut [CfgProxy], report: &mut ImportReport) {
    let mut seen = BTreeSet::new();
    for proxy in proxies.iter_mut().filter(|proxy| proxy.kind != "defaults" && !proxy.disabled) {
        let is_new = !proxy.is_backend() || seen.insert((true, proxy.name.clone()));
        if !(is_new && (!proxy.is_frontend() || seen.insert((false, proxy.name.clone())))) {
            proxy.disabled = true;
            report.note(proxy.line, Fate::Unsupported, "a section before it has this name, which HAProxy refuses");
        }
    }
}

fn introduction(name: &str, port_80_is_open: bool, complete: bool) -> String {
    let mut text = format!("# Made of {name} by `segue import`. Look at it with `segue check` before it serves.\n");
    if !complete {
        text += "# Not everything could be said: see the report, which went to standard error.\n";
    }
    if port_80_is_open {
        text += "# The package opens port 80 for all sites, and this file does not want it:\n\
                 # systemctl mask --now proxy-http.socket\n";
    }
    text
}

/// The tables of backends that are used; those of the others as comments.
fn pools(
    proxies: &[CfgProxy],
    globals: &Globals,
    http: &HttpTables,
    tcp: &TcpTables,
    report: &mut ImportReport,
) -> Vec<WrittenTable> {
    let mut found = Vec::new();
    for proxy in proxies.iter().filter(|one| one.is_backend() && !one.servers.is_empty()) {
        let none = BTreeSet::new();
        let (ports, client_timeout) = match (http.pools.get(&proxy.name), tcp.pools.get(&proxy.name)) {
            (Some(ports), _) if proxy.http => (ports, None),
            (_, Some((ports, silence))) if !proxy.http => (ports, *silence),
            _ => (&none, None),
        };
        let is_named =
            if proxy.http { http.pools.contains_key(&proxy.name) } else { tcp.pools.contains_key(&proxy.name) };
        // one that is disabled may have the name of another
        let is_used = is_named && !proxy.disabled;
        let port = if ports.len() == 1 { ports.first().copied() } else { None };
        let table = pool::pool(proxy, globals, PoolUse { port, client_timeout, is_used }, report);
        let mut table = table.unwrap_or_else(|| {
            let mut closed = WrittenTable::named("pool", &proxy.name);
            closed.comments.push("closed: no server of it can be said, and nothing listens there".to_owned());
            closed.set("servers", format!("[{}]", toml::text(http::CLOSED)));
            closed
        });
        table.comments.push(format!("line {}: {} {}", proxy.line, proxy.kind, proxy.name));
        if !is_used {
            table.left_out = true;
            table.comments.push("left out: nothing that could be said leads to it".to_owned());
        }
        found.push(table);
    }
    found
}

/// What concerns the whole service.
fn process(proxies: &[CfgProxy], globals: &Globals) -> Vec<WrittenTable> {
    let frontends = || proxies.iter().filter(|proxy| proxy.is_frontend() && !proxy.disabled);
    let has = |option: &str| frontends().any(|proxy| proxy.options.contains(option));
    let mut worker = WrittenTable::new("worker");
    worker.set_if("threads", globals.threads.map(|threads| threads.to_string()));
    worker.set_if("max_connections", globals.max_connections.map(|connections| connections.to_string()));
    let mut log = WrittenTable::new("log");
    log.set_if("access", has("dontlog-normal").then(|| "\"errors+slow\"".to_owned()));
    for (option, key) in
        [("no dontlognull", "empty_connections"), ("log user-agent", "user_agent"), ("log referer", "referer")]
    {
        log.set_if(key, has(option).then(|| "true".to_owned()));
    }
    let mut tls = WrittenTable::new("tls");
    let keys = frontends().flat_map(|proxy| &proxy.binds).find_map(|bind| bind.option("tls-ticket-keys"));
    tls.set_if("ticket_keys", keys.map(toml::text));
    [worker, log, tls].into_iter().filter(|table| !table.is_empty()).collect()
}

/// Says what becomes of the lines that begin sections.
fn headers(
    sections: &[CfgSection],
    proxies: &[CfgProxy],
    http: &HttpTables,
    tcp: &TcpTables,
    report: &mut ImportReport,
) {
    let by_line: BTreeMap<usize, &CfgProxy> = proxies.iter().map(|proxy| (proxy.line, proxy)).collect();
    for section in sections {
        let Some(proxy) = by_line.get(&section.line).filter(|_| section.kind != "defaults") else {
            let (fate, sentence) =
                match (section.kind.as_str(), keyword::keyword("section", std::slice::from_ref(&section.kind))) {
                    ("global", _) => (Fate::Kept, "for the whole service"),
                    ("defaults", _) => (Fate::Kept, "its lines are those of each section below it"),
                    (_, Some(known)) => (known.fate, known.sentence),
                    (_, None) => (Fate::Unsupported, "there is no such section"),
                };
            report.note(section.line, fate, sentence);
            continue;
        };
        let is_used =
            http.pools.contains_key(&proxy.name) && proxy.http || tcp.pools.contains_key(&proxy.name) && !proxy.http;
        let (fate, sentence) = match () {
            () if proxy.is_backend() && is_used => (Fate::Kept, format!("[pool.{}]", toml::key(&proxy.name))),
            () if proxy.is_backend() && proxy.binds.is_empty() => {
                (Fate::Differently, "no frontend that is served leads to it: its pool is a comment".to_owned())
            }
            () if http.sections.contains(&proxy.line) => (Fate::Kept, "listeners and sites".to_owned()),
            () if tcp.sections.contains(&proxy.line) => (Fate::Kept, "TCP listeners".to_owned()),
            () => (Fate::Unsupported, "it is left out: see its lines of bind".to_owned()),
        };
        report.note(section.line, fate, sentence);
    }
}

/// Says of all lines of sections that they are not wanted.
fn leave_out<'a>(
    sections: &[CfgSection],
    proxies: impl Iterator<Item = &'a CfgProxy>,
    fate: Fate,
    sentence: &str,
    report: &mut ImportReport,
) {
    let lines: BTreeSet<usize> = proxies.map(|proxy| proxy.line).collect();
    for section in sections.iter().filter(|section| lines.contains(&section.line)) {
        for line in section.directives.iter().map(|one| one.line).chain([section.line]) {
            report.replace(line, fate, sentence);
        }
    }
}

/// Says what becomes of the lines about which nothing was said.
fn others(sections: &[CfgSection], report: &mut ImportReport) {
    for section in sections {
        let of_section = keyword::keyword("section", std::slice::from_ref(&section.kind));
        for directive in section.directives.iter().filter(|one| one.line > 0) {
            if report.has(directive.line) {
                continue;
            }
            let (fate, sentence) = match (of_section, keyword::keyword("proxy", &directive.words)) {
                (Some(known), _) => (known.fate, known.sentence),
                (None, Some(known)) if known.guards => (known.fate, known.sentence),
                (None, Some(_)) => (Fate::Unsupported, "it is left out, with the requests that it is for"),
                (None, None) => (Fate::Unsupported, "no keyword of HAProxy, as far as is known here"),
            };
            report.note(directive.line, fate, sentence);
        }
    }
}
