//! `segue connections`: the client connections that are open, and the closing of one.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use ipnet::IpNet;

use super::admin::{CallError, call, failed, print_json, segment};
use super::servers::resolve;
use super::table::{aligned, or_dash};
use super::{RunDir, print};
use crate::admin::connections::ConnectionsView;
use crate::config::client_network;
use crate::control::connections::{ConnectionId, ConnectionStatus, ExchangeStatus};
use crate::observe::{Plain, Plural};

/// Arguments of `segue connections`.
#[derive(Args, Debug)]
pub struct ConnectionsArguments {
    #[command(flatten)]
    run_dir: RunDir,
    /// Print JSON: the answer of the admin API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wanted: FilterOptions,
    /// The oldest so many, 1000 at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u32,
    /// Close this one, with what is open on it
    #[arg(long, value_name = "ID", conflicts_with_all = ["limit", "client", "listener", "site", "pool", "server", "older", "busy", "idle"])]
    close: Option<ConnectionId>,
    /// Why it is closed, for the journal
    #[arg(long, value_name = "TEXT", requires = "close")]
    reason: Option<String>,
}

/// Which connections.
#[derive(Args, Debug)]
struct FilterOptions {
    /// Those of this client: an address, or a network as 10.0.0.0/8
    #[arg(long, value_name = "ADDRESS", value_parser = client_network)]
    client: Option<IpNet>,
    /// Those of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Those with an open exchange of this site, by the HOST of its table
    #[arg(long, value_name = "HOST")]
    site: Option<String>,
    /// Those with an open exchange with a server of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Those with an open exchange with this server: as the configuration has it, or POOL/SERVER
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Those that were accepted so long ago at least, as in --older 5m
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    older: Option<Duration>,
    /// Those that do not wait for their next request
    #[arg(long, conflicts_with = "idle")]
    busy: bool,
    /// Those that wait for their next request
    #[arg(long)]
    idle: bool,
}

/// Prints the connections, or closes one.
#[must_use]
pub fn run(arguments: ConnectionsArguments) -> ExitCode {
    let run_dir = arguments.run_dir.path();
    if let Some(id) = arguments.close {
        let reason = arguments.reason.map(|reason| format!("?reason={}", segment(&reason))).unwrap_or_default();
        return match call(&run_dir, Method::DELETE, &format!("/v1/connections/{id}{reason}"), None) {
            Ok(answer) if arguments.json => print_json(&answer),
            Ok(answer) => said(&answer),
            Err(fault) => failed(&fault),
        };
    }
    let query = match arguments.wanted.query(arguments.limit) {
        Ok(query) => query,
        Err(why) => {
            eprintln!("segue: {why}");
            return ExitCode::FAILURE;
        }
    };
    let answer = match call(&run_dir, Method::GET, &format!("/v1/connections?{query}"), None) {
        Ok(answer) if arguments.json => return print_json(&answer),
        Ok(answer) => answer,
        Err(fault) => return failed(&fault),
    };
    match serde_json::from_slice::<ConnectionsView>(&answer) {
        Ok(view) if view.matched == 0 && view.silent.is_empty() => {
            eprintln!("segue: no such connection is open");
            // perhaps there is no such server
            match arguments.wanted.server.map(|server| resolve(&run_dir, &server)) {
                Some(Err(fault)) => failed(&fault),
                _ => ExitCode::SUCCESS,
            }
        }
        Ok(view) => page(&view),
        Err(fault) => failed(&CallError::Broken(fault.to_string())),
    }
}

impl FilterOptions {
    /// As the admin API wants it.
    ///
    /// # Errors
    /// What contradicts itself.
    fn query(&self, limit: u32) -> Result<String, String> {
        let (pool, server) = match (self.server.as_deref().map(pool_and_server), self.pool.as_deref()) {
            (Some((Some(one), _)), Some(other)) if one != other => {
                return Err(format!("--server names pool {one}, and --pool {other}"));
            }
            (Some((pool, server)), other) => (pool.or(other), Some(server)),
            (None, pool) => (pool, None),
        };
        let state = if self.busy { Some("busy") } else { self.idle.then_some("idle") };
        let text = |value: Option<&str>| value.map(str::to_owned);
        let pairs = [
            ("client", self.client.map(|client| client.to_string())),
            ("listener", text(self.listener.as_deref())),
            ("site", text(self.site.as_deref())),
            ("pool", text(pool)),
            ("server", text(server)),
            ("older", self.older.map(|older| humantime::format_duration(older).to_string())),
            ("state", text(state)),
            ("limit", Some(limit.to_string())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", segment(&value?))));
        Ok(pairs.collect::<Vec<_>>().join("&"))
    }
}

/// `POOL/SERVER` taken apart; the name of a server may have slashes of its own, behind a colon.
fn pool_and_server(written: &str) -> (Option<&str>, &str) {
    match written.split_once('/') {
        Some((pool, server)) if !pool.contains(':') => (Some(pool), server),
        _ => (None, written),
    }
}

fn said(answer: &[u8]) -> ExitCode {
    match serde_json::from_slice::<ConnectionStatus>(answer) {
        Ok(closed) => print(&format!("{} of {} is closed, {} open on it\n", closed.id, client(&closed), closed.open)),
        Err(fault) => failed(&CallError::Broken(fault.to_string())),
    }
}

const HEADER: [&str; 8] = ["ID", "CLIENT", "LISTENER", "TLS", "AGE", "IDLE", "OPEN", "OLDEST"];

fn page(view: &ConnectionsView) -> ExitCode {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(view.connections.iter().map(row));
    let code = print(&aligned(&rows));
    let more = view.matched.saturating_sub(view.connections.len() as u64);
    if more > 0 {
        eprintln!("segue: and {}; --limit shows more", Plural(more, "younger connection"));
    }
    for generation in &view.silent {
        eprintln!("segue: generation {generation} did not say all: it was too slow, or is of a version that cannot");
    }
    code
}

fn row(one: &ConnectionStatus) -> [String; HEADER.len()] {
    [
        one.id.to_string(),
        client(one),
        Plain(&one.listener).to_string(),
        or_dash(one.tls.as_ref().map(|tls| Plain(tls).to_string())),
        time(one.age_ms),
        or_dash(one.idle_ms.map(time)),
        one.open.to_string(),
        or_dash(one.exchanges.first().map(exchange)),
    ]
}

fn client(one: &ConnectionStatus) -> String {
    one.client.map_or_else(|| "unix".to_owned(), |client| client.to_string())
}

/// `GET app.example.com/events to web-farm/10.0.0.11:80, 50s`.
fn exchange(one: &ExchangeStatus) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let what = match &one.method {
        None => "tcp".to_owned(),
        Some(method) => {
            let site = text(&one.site);
            let host = if site == "*" { "" } else { &site };
            let kind = if one.kind == "upgrade" { "upgrade " } else { "" };
            format!("{kind}{method} {host}{}", text(&one.path))
        }
    };
    let to = one.server.as_ref().map(|server| format!(" to {}/{server}", text(&one.pool))).unwrap_or_default();
    Plain(&format!("{what}{to}, {}", time(one.age_ms))).to_string()
}

/// Of the units of a time the two largest.
fn time(millis: u64) -> String {
    let seconds = millis / 1000;
    let rounded = match seconds {
        0 => return format!("{millis}ms"),
        1..3_600 => seconds,
        3_600..86_400 => seconds / 60 * 60,
        _ => seconds / 3_600 * 3_600,
    };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_connection_is_one_line_with_its_oldest_exchange() {
        let one: ConnectionStatus = serde_json::from_value(json!({
            "id": "12-0-345", "generation": 13, "client": "10.0.0.7:51234", "listener": "http", "tls": null,
            "age_ms": 3_725_000, "idle_ms": null, "open": 2,
            "exchanges": [{
                "kind": "exchange", "protocol": "http/1.1", "method": "GET", "path": "/events", "site": "app.test",
                "pool": "farm", "server": "10.0.0.11:80", "age_ms": 900
            }]
        }))
        .expect("a connection");
        let line = "12-0-345 10.0.0.7:51234 http - 1h 2m - 2 GET app.test/events to farm/10.0.0.11:80, 900ms";
        assert_eq!(row(&one).join(" "), line);
    }

    #[test]
    fn a_server_may_be_written_with_its_pool() {
        assert_eq!(pool_and_server("farm/10.0.0.11:80"), (Some("farm"), "10.0.0.11:80"));
        assert_eq!(pool_and_server("https://a:443"), (None, "https://a:443"));
        assert_eq!(pool_and_server("farm/https://a:443"), (Some("farm"), "https://a:443"));
        assert_eq!((time(90_061_000), time(59_999)), ("1day 1h".to_owned(), "59s".to_owned()));
    }
}
