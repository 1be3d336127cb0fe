//! A configuration as things with keys, each value in the words of the file. Every field is named here, so that none
//! that is added can be forgotten.

use figment::value::Tag;

use super::super::spot::Spot;
use super::super::units::{show_duration, show_size};
use super::super::{
    Access, Balance, Check, CheckKind, Config, Drain, Listener, Log, Memory, Pool, Server, ServerAddress, Site, Tcp,
    Worker,
};

/// A key with its value, if it has one.
pub(super) type Key = (&'static str, Option<String>);

/// A table.
pub(super) struct Thing {
    /// As its header in the file.
    pub(super) path: String,
    /// What it is.
    pub(super) noun: &'static str,
    /// What there is to say of a new one.
    pub(super) about: String,
    pub(super) keys: Vec<Key>,
    pub(super) servers: Vec<Member>,
}

/// A server.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) keys: Vec<Key>,
}

/// Everything that a configuration has.
pub(super) fn things(config: &Config) -> Vec<Thing> {
    let Config { listeners, sites, pools, tcp, log: journal, drain: end, worker: process } = config;
    let mut things: Vec<Thing> = listeners.iter().map(listener).collect();
    things.extend(sites.iter().map(|one| site(config, one)));
    things.extend(tcp.iter().map(|one| relay(config, one)));
    things.extend((0..pools.len()).map(|index| pool(config, index)));
    things.extend([log(journal), drain(end), worker(process)]);
    things
}

fn path(kind: &str, name: &str) -> String {
    Spot::root().key(kind, Tag::Default).key(name, Tag::Default).to_string()
}

fn table(path: String, noun: &'static str, about: String, keys: Vec<Key>) -> Thing {
    Thing { path, noun, about, keys, servers: Vec::new() }
}

fn key(name: &'static str, value: impl ToString) -> Key {
    (name, Some(value.to_string()))
}

fn listener(listener: &Listener) -> Thing {
    let Listener {
        name,
        address,
        max_connections,
        header_timeout,
        idle_timeout,
        body_timeout,
        write_timeout,
        half_close_timeout,
        max_head,
        max_target,
        max_fields,
        trusted_proxies,
    } = listener;
    let trusted: Vec<_> = trusted_proxies.iter().map(ToString::to_string).collect();
    let keys = vec![
        ("address", address.as_ref().map(ToString::to_string)),
        key("max_connections", max_connections),
        key("header_timeout", show_duration(*header_timeout)),
        key("idle_timeout", show_duration(*idle_timeout)),
        key("body_timeout", show_duration(*body_timeout)),
        key("write_timeout", show_duration(*write_timeout)),
        ("half_close_timeout", half_close_timeout.map(show_duration)),
        key("max_head", show_size(*max_head as u64)),
        key("max_target", show_size(*max_target as u64)),
        key("max_fields", max_fields),
        key("trusted_proxies", format!("[{}]", trusted.join(", "))),
    ];
    table(path("listen", name), "listener", place(address.as_ref()), keys)
}

fn place(address: Option<&super::super::Address>) -> String {
    address.map_or_else(|| "on the socket that systemd passes".to_owned(), |address| format!("at {address}"))
}

fn site(config: &Config, site: &Site) -> Thing {
    let Site { host, pool, max_body } = site;
    let path = path("site", &host.to_string());
    let to = destination(config, &path, *pool);
    let about = format!("to {to}");
    table(path, "site", about, vec![key("to", to), key("max_body", show_size(*max_body))])
}

fn relay(config: &Config, tcp: &Tcp) -> Thing {
    let Tcp { name, address, pool, max_connections } = tcp;
    let path = path("tcp", name);
    let to = destination(config, &path, *pool);
    let about = format!("{}, to {to}", place(address.as_ref()));
    let keys = vec![
        ("listen", address.as_ref().map(ToString::to_string)),
        key("to", to),
        key("max_connections", max_connections),
    ];
    table(path, "listener", about, keys)
}

/// What `to` of the table at `path` says.
fn destination(config: &Config, path: &str, pool: usize) -> String {
    if path_of_pool(config, pool) == path {
        return "its own servers".to_owned();
    }
    config.pools.get(pool).map(|pool| pool.name.clone()).unwrap_or_default()
}

/// The table in which the keys of a pool stand: its own, or that of the site or TCP listener whose name it has.
fn path_of_pool(config: &Config, index: usize) -> String {
    let name = &config.pools[index].name;
    let site = config.sites.iter().find(|site| site.pool == index && site.host.to_string() == *name);
    let tcp = config.tcp.iter().find(|tcp| tcp.pool == index && tcp.name == *name);
    match (site, tcp) {
        (Some(_), _) => path("site", name),
        (None, Some(_)) => path("tcp", name),
        (None, None) => path("pool", name),
    }
}

fn pool(config: &Config, index: usize) -> Thing {
    let Pool {
        name: _,
        servers,
        balance,
        check,
        max_fails,
        max_ejection,
        retries,
        redispatch,
        connect_timeout,
        response_timeout,
        tunnel_timeout,
        keep_alive,
        keep_alive_connections,
    } = &config.pools[index];
    let mut keys = vec![key(
        "balance",
        match balance {
            Balance::RoundRobin => "round-robin",
            Balance::LeastConnections => "least-connections",
        },
    )];
    keys.extend(of_check(check.as_ref()));
    keys.extend([
        key("max_fails", max_fails),
        key("max_ejection", show_duration(*max_ejection)),
        key("retries", retries),
        key("redispatch", redispatch),
        key("connect_timeout", show_duration(*connect_timeout)),
        key("response_timeout", show_duration(*response_timeout)),
        key("tunnel_timeout", show_duration(*tunnel_timeout)),
        key("keep_alive", show_duration(*keep_alive)),
        key("keep_alive_connections", keep_alive_connections),
    ]);
    let about = match servers.len() {
        1 => "with 1 server".to_owned(),
        many => format!("with {many} servers"),
    };
    let servers = servers.iter().map(member).collect();
    Thing { path: path_of_pool(config, index), noun: "pool", about, keys, servers }
}

/// How often and how is asked has no say in a pool without a check.
fn of_check(check: Option<&Check>) -> Vec<Key> {
    let Some(Check { kind, interval, timeout, rise, fall }) = check else {
        return vec![("check", None)];
    };
    let (asked, host) = match kind {
        CheckKind::Connect => ("connect".to_owned(), None),
        CheckKind::Http { method, path, host } => (format!("{method} {path}"), host.clone()),
    };
    vec![
        key("check", asked),
        ("check_host", host),
        key("check_interval", show_duration(*interval)),
        key("check_timeout", show_duration(*timeout)),
        key("rise", rise),
        key("fall", fall),
    ]
}

fn member(server: &Server) -> Member {
    let Server { name, address, weight, backup } = server;
    let address = match address {
        ServerAddress::Fixed(address) => address.to_string(),
        ServerAddress::Name { host, port } => format!("{host}:{port}"),
    };
    Member { name: name.clone(), keys: vec![key("address", address), key("weight", weight), key("backup", backup)] }
}

fn log(log: &Log) -> Thing {
    let Log { access, slow, empty_connections, refused, others, user_agent, referer, request_id_in_response } = log;
    let access = match access {
        Access::All => "all".to_owned(),
        Access::ErrorsAndSlow => "errors+slow".to_owned(),
        Access::Sample(parts) => format!("sample:{}", percent(*parts)),
        Access::Off => "off".to_owned(),
    };
    let keys = vec![
        key("access", access),
        key("slow", show_duration(*slow)),
        key("empty_connections", empty_connections),
        key("refused_rate", refused.per_second),
        key("refused_burst", refused.burst),
        ("rate", others.map(|others| others.per_second.to_string())),
        ("burst", others.map(|others| others.burst.to_string())),
        key("user_agent", user_agent),
        key("referer", referer),
        key("request_id_in_response", request_id_in_response),
    ];
    table("log".to_owned(), "log", String::new(), keys)
}

fn drain(drain: &Drain) -> Thing {
    let Drain { timeout, stop_timeout, generations, memory, hurry_timeout } = drain;
    let memory = match memory {
        Memory::Size(bytes) => show_size(*bytes),
        Memory::Share(parts) => percent(*parts),
    };
    let keys = vec![
        key("timeout", show_duration(*timeout)),
        key("stop_timeout", show_duration(*stop_timeout)),
        key("generations", generations),
        key("memory", memory),
        key("hurry_timeout", show_duration(*hurry_timeout)),
    ];
    table("drain".to_owned(), "drain", String::new(), keys)
}

fn worker(worker: &Worker) -> Thing {
    let Worker { threads, tcp_keep_alive, max_connections } = worker;
    let keys = vec![
        ("threads", threads.map(|threads| threads.to_string())),
        key("tcp_keep_alive", tcp_keep_alive.map_or_else(|| "off".to_owned(), show_duration)),
        ("max_connections", max_connections.map(|connections| connections.to_string())),
    ];
    table("worker".to_owned(), "worker", String::new(), keys)
}

/// Parts of a million as a share.
fn percent(parts: u32) -> String {
    let (whole, rest) = (parts / 10_000, parts % 10_000);
    match rest {
        0 => format!("{whole}%"),
        rest => format!("{whole}.{}%", format!("{rest:04}").trim_end_matches('0')),
    }
}
