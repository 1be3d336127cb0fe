//! `segue servers`, and what sets something for a server: `segue drain`, `maint`, `ready` and `weight`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::admin::{CallError, call, failed, print_json, segment};
use super::table::{aligned, or_dash};
use super::{RunDir, print};
use crate::admin::servers::{PoolView, SHOWN, ServerList, ServerView, listed};
use crate::observe::Plain;

/// Arguments of `segue servers`.
#[derive(Args, Debug)]
pub struct ServersArguments {
    #[command(flatten)]
    run_dir: RunDir,
    /// Print JSON: the answer of the admin API
    #[arg(long)]
    json: bool,
    /// The servers of this pool alone
    pool: Option<String>,
}

/// Arguments of `segue drain` and `segue maint`.
#[derive(Args, Debug)]
pub struct StateArguments {
    #[command(flatten)]
    target: ServerArguments,
    /// Undo it by itself after this time, as in --for 30m
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    lasts: Option<Duration>,
}

/// Arguments of `segue ready`.
#[derive(Args, Debug)]
pub struct ReadyArguments {
    #[command(flatten)]
    target: ServerArguments,
}

/// Arguments of `segue weight`.
#[derive(Args, Debug)]
pub struct WeightArguments {
    #[command(flatten)]
    target: ServerArguments,
    /// From 0 to 1000; or `configured`, the weight in the configuration
    #[arg(value_parser = weight)]
    weight: Weight,
    /// Undo it by itself after this time, as in --for 30m
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    lasts: Option<Duration>,
}

/// A server, and why something is set for it.
#[derive(Args, Debug)]
struct ServerArguments {
    #[command(flatten)]
    run_dir: RunDir,
    /// Print JSON: the answer of the admin API
    #[arg(long)]
    json: bool,
    /// Why, for the journal and for `segue servers`
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The server as the configuration has it, or POOL/SERVER where several pools have it
    server: String,
}

/// A weight, none for that of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(Option<u32>);

/// Prints the servers.
#[must_use]
pub fn run(arguments: ServersArguments) -> ExitCode {
    let ServersArguments { run_dir, json, pool } = arguments;
    let query = pool.map(|pool| format!("?pool={}", segment(&pool))).unwrap_or_default();
    match call(&run_dir.path(), Method::GET, &format!("/v1/servers{query}"), None) {
        Ok(answer) if json => print_json(&answer),
        Ok(answer) => match serde_json::from_slice::<ServerList>(&answer) {
            Ok(list) => print(&page(&list)),
            Err(fault) => failed(&CallError::Broken(fault.to_string())),
        },
        Err(fault) => failed(&fault),
    }
}

/// `segue drain`.
#[must_use]
pub fn drain(arguments: StateArguments) -> ExitCode {
    set(arguments.target, json!({ "state": "drain" }), arguments.lasts)
}

/// `segue maint`.
#[must_use]
pub fn maint(arguments: StateArguments) -> ExitCode {
    set(arguments.target, json!({ "state": "maint" }), arguments.lasts)
}

/// `segue ready`.
#[must_use]
pub fn ready(arguments: ReadyArguments) -> ExitCode {
    set(arguments.target, json!({ "state": "ready" }), None)
}

/// `segue weight`.
#[must_use]
pub fn set_weight(arguments: WeightArguments) -> ExitCode {
    let WeightArguments { target, weight: Weight(weight), lasts } = arguments;
    set(target, json!({ "weight": weight }), lasts)
}

/// Sets `wanted` for the server, and says what holds.
fn set(target: ServerArguments, mut wanted: Value, lasts: Option<Duration>) -> ExitCode {
    let ServerArguments { run_dir, json: as_json, reason, server } = target;
    let run_dir = run_dir.path();
    let (pool, server) = match resolve(&run_dir, &server) {
        Ok(found) => found,
        Err(fault) => return failed(&fault),
    };
    if let Some(reason) = reason {
        wanted["reason"] = reason.into();
    }
    if let Some(lasts) = lasts {
        wanted["for"] = humantime::format_duration(lasts).to_string().into();
    }
    let path = format!("/v1/pools/{}/servers/{}", segment(&pool), segment(&server));
    match call(&run_dir, Method::POST, &path, Some(&wanted)) {
        Ok(answer) if as_json => print_json(&answer),
        Ok(answer) => said(&serde_json::from_slice(&answer).unwrap_or_default(), lasts),
        Err(fault) => failed(&fault),
    }
}

fn said(answer: &Value, lasts: Option<Duration>) -> ExitCode {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    let (state, weight) = (text("state"), text("weight"));
    let value = if weight.is_empty() { state.to_owned() } else { format!("weight {weight}") };
    let lasts = lasts.map(|lasts| format!(" for {}", humantime::format_duration(lasts))).unwrap_or_default();
    let open = answer.get("open").and_then(Value::as_u64).unwrap_or_default();
    if let Some(note) = answer.get("note").and_then(Value::as_str) {
        eprintln!("note: {}", Plain(note));
    }
    print(&format!("{}/{}: {}{lasts}; {open} open\n", Plain(text("pool")), Plain(text("server")), Plain(&value)))
}

/// The pool and the server that are meant.
pub(super) fn resolve(run_dir: &Path, written: &str) -> Result<(String, String), CallError> {
    let answer = call(run_dir, Method::GET, "/v1/servers", None)?;
    let list: ServerList = serde_json::from_slice(&answer).map_err(|fault| CallError::Broken(fault.to_string()))?;
    find(&list, written).map_err(CallError::Refused)
}

/// The one server that is written so.
fn find(list: &ServerList, written: &str) -> Result<(String, String), String> {
    match &meant(list, written)[..] {
        [(pool, server)] => Ok((pool.name.clone(), server.status.name.clone())),
        [] => Err(missing(list, written)),
        several => {
            let names: Vec<_> =
                several.iter().map(|(pool, server)| format!("{}/{}", pool.name, server.status.name)).collect();
            Err(format!("{written} is several servers: say which, {}", names.join(" or ")))
        }
    }
}

/// Every server that may be meant.
pub(super) fn meant<'a>(list: &'a ServerList, written: &str) -> Vec<(&'a PoolView, &'a ServerView)> {
    let all = || list.pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| (pool, server)));
    let is_server = |server: &ServerView| !server.status.removed && server.status.name == written;
    let with_pool = |pool: &PoolView, server: &ServerView| {
        written.strip_prefix(&pool.name).and_then(|rest| rest.strip_prefix('/')) == Some(&server.status.name)
    };
    // a name without its port will do where only one server has it
    let is_host = |server: &ServerView| {
        !server.status.removed && server.status.name.rsplit_once(':').is_some_and(|(host, _)| host == written)
    };
    let mut found: Vec<_> = all().filter(|(pool, server)| is_server(server) || with_pool(pool, server)).collect();
    if found.is_empty() {
        found = all().filter(|(_, server)| is_host(server)).collect();
    }
    found
}

/// That there is no such server, and which are like it.
pub(super) fn missing(list: &ServerList, written: &str) -> String {
    if let Some(pool) = list.pools.iter().find(|pool| written.starts_with(&format!("{}/", pool.name))) {
        let names: Vec<_> = pool.servers.iter().map(|server| server.status.name.as_str()).collect();
        let server = &written[pool.name.len() + 1..];
        return format!("no server {server} in pool {}; it has {}", pool.name, few(&names));
    }
    let names: Vec<_> =
        list.pools.iter().flat_map(|pool| &pool.servers).map(|server| server.status.name.as_str()).collect();
    let near = names.iter().map(|name| (strsim::jaro_winkler(name, written), *name));
    let near = near.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(likeness, _)| *likeness > 0.85);
    match near {
        Some((_, name)) => format!("no server {written}; did you mean {name}?"),
        None => format!("no server {written}; there is {}", few(&names)),
    }
}

/// The first names, and the command that shows all.
fn few(names: &[&str]) -> String {
    let more = if names.len() > SHOWN { ": segue servers" } else { "" };
    listed(names.iter().copied()) + more
}

const HEADER: [&str; 9] = ["POOL", "SERVER", "STATE", "SINCE", "WEIGHT", "OPEN", "TOTAL", "ERRORS", "LAST CHECK"];

fn page(list: &ServerList) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(list.pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| row(pool, server))));
    let why = list.pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| why(pool, server)));
    let why: String = why.collect();
    aligned(&rows) + if why.is_empty() { "" } else { "\n" } + &why
}

fn row(pool: &PoolView, server: &ServerView) -> [String; HEADER.len()] {
    let one = &server.status;
    let set = |field: &str| one.admin.iter().find(|set| set.field == field);
    let (state, since) = match (set("state"), &one.ejected) {
        (Some(set), _) => (set.value.clone(), &set.since),
        (None, _) if one.removed => ("removed".to_owned(), &one.health.since),
        (None, Some(ejected)) if one.health.state == "up" => ("ejected".to_owned(), &ejected.since),
        (None, _) => (one.health.state.clone(), &one.health.since),
    };
    let weight = set("weight").map(|set| format!("{} (of {})", set.value, one.weight));
    let check = one
        .health
        .check
        .as_ref()
        .map(|check| format!("{} in {} ms", Plain(&check.result), (check.took_us + 500) / 1000));
    [
        Plain(&pool.name).to_string(),
        Plain(&one.name).to_string() + if one.backup { " (backup)" } else { "" },
        Plain(&state).to_string(),
        Plain(since).to_string(),
        weight.unwrap_or_else(|| one.weight.to_string()),
        one.open_attempts.to_string(),
        server.attempts.to_string(),
        server.errors.to_string(),
        or_dash(check),
    ]
}

/// A line for each thing that an operator set, and for what keeps the server from requests otherwise.
fn why(pool: &PoolView, server: &ServerView) -> String {
    let one = &server.status;
    let name = format!("{}/{}", Plain(&pool.name), Plain(&one.name));
    let mut lines: Vec<String> = one.admin.iter().map(|set| set.words()).collect();
    if one.health.state != "up" {
        let reason = one.health.history.last().map_or("-", |last| &last.reason);
        lines.push(format!("{}, {reason}", one.health.state));
    }
    lines.extend(one.ejected.as_ref().map(|it| format!("ejected, {}; tried again at {}", it.reason, it.until)));
    lines.into_iter().map(|line| format!("{name}: {}\n", Plain(&line))).collect()
}

fn time(text: &str) -> Result<Duration, String> {
    match super::duration(text)? {
        Duration::ZERO => Err("there must be some time; write for example \"30m\"".to_owned()),
        time => Ok(time),
    }
}

fn weight(text: &str) -> Result<Weight, String> {
    match (text, text.parse::<u32>()) {
        ("configured", _) => Ok(Weight(None)),
        (_, Ok(weight)) if weight <= 1000 => Ok(Weight(Some(weight))),
        _ => Err("write a whole number from 0 to 1000, or \"configured\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> ServerList {
        let server =
            |name: &str| json!({ "name": name, "state": "up", "since": "S", "weight": 1, "attempts": 3, "errors": 1 });
        let mut drained = server("10.0.0.12:80");
        drained["admin"] = json!([
            { "field": "state", "value": "drain", "uid": 0, "command": "segue", "since": "T", "until": "U", "reason": "disk" },
            { "field": "weight", "value": "5", "uid": 0, "command": "segue", "since": "T" },
        ]);
        let pools = json!([
            { "name": "web-farm", "servers": [server("10.0.0.11:80"), drained] },
            { "name": "api", "servers": [server("10.0.0.11:80"), server("https://app.internal:443")] },
        ]);
        let pools: Vec<PoolView> = pools
            .as_array()
            .expect("pools")
            .iter()
            .map(|pool| PoolView {
                name: pool["name"].as_str().expect("a name").to_owned(),
                servers: serde_json::from_value(pool["servers"].clone()).expect("servers"),
                ..PoolView::default()
            })
            .collect();
        ServerList { generation: Some(1), pools }
    }

    #[test]
    fn a_server_is_found_by_its_name_with_its_pool_or_without_its_port() {
        let found = |written| find(&list(), written);
        let pair = |pool: &str, server: &str| Ok((pool.to_owned(), server.to_owned()));
        assert_eq!(found("10.0.0.12:80"), pair("web-farm", "10.0.0.12:80"));
        assert_eq!(found("10.0.0.12"), pair("web-farm", "10.0.0.12:80"));
        assert_eq!(found("api/10.0.0.11:80"), pair("api", "10.0.0.11:80"));
        assert_eq!(found("api/https://app.internal:443"), pair("api", "https://app.internal:443"));
        let fault = |written| found(written).expect_err("none");
        assert_eq!(
            fault("10.0.0.11:80"),
            "10.0.0.11:80 is several servers: say which, web-farm/10.0.0.11:80 or api/10.0.0.11:80"
        );
        assert_eq!(
            fault("web-farm/10.0.0.13:80"),
            "no server 10.0.0.13:80 in pool web-farm; it has 10.0.0.11:80, 10.0.0.12:80"
        );
        assert!(fault("10.0.0.12:81").ends_with("did you mean 10.0.0.12:80?"));
        assert!(fault("x").starts_with("no server x; there is 10.0.0.11:80"));
    }

    #[test]
    fn what_is_set_is_shown_with_the_user_and_the_reason() {
        let text = page(&list());
        let drained = text.lines().find(|line| line.contains("10.0.0.12:80")).expect("a line");
        let cells: Vec<_> = drained.split_whitespace().collect();
        assert_eq!(cells, ["web-farm", "10.0.0.12:80", "drain", "T", "5", "(of", "1)", "0", "3", "1", "-"]);
        assert!(text.contains("web-farm/10.0.0.12:80: drain by uid 0 (segue) since T until U: disk\n"), "{text}");
    }
}
