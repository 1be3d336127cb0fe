//! "Did you mean": close spellings, the words that other proxies use, and what this version does not do yet.

use figment::value::Value;

use super::problem::Problem;
use super::report::quoted;
use super::spot::Spot;

/// The candidate that is spelled most like `given`, if one is close enough to be meant.
#[must_use]
pub fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_ascii_lowercase().replace('-', "_");
    let score = |candidate: &&str| strsim::jaro_winkler(&given, &candidate.to_ascii_lowercase().replace('-', "_"));
    candidates
        .into_iter()
        .map(|candidate| (score(&candidate), candidate))
        .filter(|(score, _)| *score > 0.84)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}

/// What is wrong with a key that the table at `spot` does not have, and what to write instead.
#[must_use]
pub fn for_unknown_key(spot: &Spot, key: &str, value: &Value, known: &[&str]) -> (String, String) {
    let kind = spot.path.first().map(|_| {
        Spot {
            path: spot.path[..1].to_vec(),
            ..spot.clone()
        }
        .to_string()
    });
    let kind = kind.unwrap_or_default();
    if LATER.contains(&key) {
        let message = format!("`{key}` is not supported in this version");
        return (message, later(key).to_owned());
    }
    if value.as_dict().is_some() && spot.path.len() == 2 {
        return (
            format!("`[{spot}]` has no table `{key}`"),
            format!(
                "if dots are part of the name, put it in quotes: `[{kind}.{}]`",
                quoted(&dotted(spot, key, value))
            ),
        );
    }
    let message = format!("unknown key `{}` in `[{spot}]`", key.escape_debug());
    let foreign = FOREIGN_KEYS.iter().find(|(table, words, _)| {
        (*table == kind || table.is_empty()) && words.contains(&key.to_ascii_lowercase().as_str())
    });
    if let Some((_, _, instead)) = foreign.filter(|(_, _, instead)| known_word(instead, known)) {
        return (message, format!("write {instead} instead"));
    }
    if let Some(close) = closest(key, known.iter().copied()) {
        return (message, format!("did you mean `{close}`?"));
    }
    (message, format!("it can have {}", list(known)))
}

/// What is wrong with a name at the top of the file, and what to write instead.
#[must_use]
pub fn for_unknown_table(name: &str, known: &[&str]) -> (String, String) {
    if LATER.contains(&name) {
        return (
            format!("`{name}` is not supported in this version"),
            later(name).to_owned(),
        );
    }
    let message = format!("unknown table `{}`", name.escape_debug());
    let lower = name.to_ascii_lowercase();
    if let Some((_, instead)) = FOREIGN_TABLES.iter().find(|(words, _)| words.contains(&lower.as_str())) {
        return (message, format!("write {instead}"));
    }
    match closest(name, known.iter().copied()) {
        Some(close) => (message, format!("did you mean `{close}`?")),
        None => (message, format!("the tables are {}", list(known))),
    }
}

/// Says how a table with a name is written.
pub fn explain_unnamed(problem: &mut Problem, kind: &str) {
    problem.help(match kind {
        "site" => "write `[site.\"app.example.com\"]`, or `[site.\"*\"]` for every host".to_owned(),
        kind => format!("write `[{kind}.NAME]`, with a name that you pick"),
    });
}

/// The key that stands for `words`, the start of a line of another proxy's configuration.
#[must_use]
pub fn for_foreign_line(line: &str) -> Option<&'static str> {
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    let lower = words.join(" ").to_ascii_lowercase();
    let first = words.first()?.to_ascii_lowercase();
    let keys = FOREIGN_KEYS.iter().map(|(_, words, instead)| (*words, *instead));
    // The first word of a line is a table there more often than a key.
    let all: Vec<(&[&str], &str)> = FOREIGN_TABLES.iter().copied().chain(keys).collect();
    let standing_for = |word: &str| {
        all.iter()
            .find(|(words, _)| words.contains(&word))
            .map(|(_, instead)| *instead)
    };
    standing_for(&lower).or_else(|| standing_for(&first))
}

/// `a`, `b` and `c`
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "no keys".to_owned(),
    }
}

/// A hint that names a key is only good in a table that has this key; the others hold everywhere.
fn known_word(instead: &str, known: &[&str]) -> bool {
    let named = instead
        .strip_prefix('`')
        .and_then(|rest| rest.split(['`', ' ']).next())
        .unwrap_or_default();
    named.is_empty() || !named.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') || known.contains(&named)
}

/// The name that somebody meant who wrote `[site.app.example.com]` without quotes.
fn dotted(spot: &Spot, key: &str, value: &Value) -> String {
    let mut name = format!("{}.{key}", spot.name());
    let mut inner = value;
    while let Some(dict) = inner.as_dict()
        && let [(key, value)] = dict.iter().collect::<Vec<_>>()[..]
        && value.as_dict().is_some()
    {
        name.push('.');
        name.push_str(key);
        inner = value;
    }
    name
}

/// Words that the design knows and this version does not.
const LATER: [&str; 19] = [
    "tls",
    "certificate",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl",
    "http2",
    "http3",
    "route",
    "routes",
    "proxy_protocol",
    "queue",
    "sticky",
    "slow_start",
    "eject",
    "admin",
    "dashboard",
    "stats",
    "metrics",
    "cache",
];

fn later(key: &str) -> &'static str {
    match key {
        "tls" | "certificate" | "ssl_certificate" | "ssl_certificate_key" | "ssl" => {
            "sites are served as plain HTTP; take the key out, and let something in front of Segue end TLS"
        }
        "admin" | "dashboard" | "stats" | "metrics" => "take it out; `segue status` shows the state",
        _ => "take it out",
    }
}

/// Names of tables in other proxies, and what stands for them.
const FOREIGN_TABLES: [(&[&str], &str); 9] = [
    (
        &["backend", "backends", "upstream", "upstreams", "cluster", "pools"],
        "`[pool.NAME]` with `servers`",
    ),
    (
        &["frontend", "listener", "listeners", "entrypoints", "bind"],
        "`[listen.NAME]` with `address`, and `[site.\"HOST\"]` with `to`",
    ),
    (
        &["server", "servers", "vhost", "host", "hosts", "sites", "virtualhost"],
        "`[site.\"HOST\"]` with `to`",
    ),
    (
        &["reverse_proxy", "proxy_pass", "default_backend", "use_backend"],
        "`to = \"POOL\"` in `[site.\"HOST\"]`",
    ),
    (
        &["global", "workers", "nbproc", "nbthread", "events"],
        "`[worker]` with `threads` and `max_connections`",
    ),
    (
        &["defaults", "http"],
        "these keys in `[listen.NAME]` and `[pool.NAME]`, where they belong",
    ),
    (&["logging", "logs", "access_log"], "`[log]` with `access`"),
    (&["stream", "tcp_proxy", "mode"], "`[tcp.NAME]` with `listen` and `to`"),
    (
        &["shutdown", "reload", "graceful"],
        "`[drain]` with `timeout` and `stop_timeout`",
    ),
];

/// Names of keys in other proxies: the table they are looked for in (empty: any), the words, what stands for them.
const FOREIGN_KEYS: [(&str, &[&str], &str); 30] = [
    (
        "",
        &[
            "connect timeout",
            "timeout connect",
            "timeout_connect",
            "contimeout",
            "proxy_connect_timeout",
            "dial_timeout",
        ],
        "`connect_timeout`",
    ),
    (
        "",
        &[
            "timeout server",
            "timeout_server",
            "srvtimeout",
            "proxy_read_timeout",
            "response_header_timeout",
            "server_timeout",
            "read_timeout",
        ],
        "`response_timeout`",
    ),
    ("", &["timeout tunnel", "timeout_tunnel"], "`tunnel_timeout`"),
    (
        "",
        &[
            "timeout client",
            "timeout_client",
            "clitimeout",
            "keepalive_timeout",
            "timeout http-keep-alive",
            "client_timeout",
        ],
        "`idle_timeout`",
    ),
    (
        "",
        &["timeout http-request", "client_header_timeout", "read_header_timeout"],
        "`header_timeout`",
    ),
    ("", &["client_body_timeout", "request_timeout"], "`body_timeout`"),
    ("", &["send_timeout", "timeout write"], "`write_timeout`"),
    (
        "",
        &["timeout check", "timeout_check", "health_timeout"],
        "`check_timeout`",
    ),
    ("", &["inter", "interval", "health_interval"], "`check_interval`"),
    (
        "",
        &["maxconn", "worker_connections", "max_conns", "limit"],
        "`max_connections`",
    ),
    (
        "",
        &[
            "httpchk",
            "option httpchk",
            "health_check",
            "healthcheck",
            "health_uri",
            "http-check",
        ],
        "`check = \"GET /path\"`",
    ),
    (
        "",
        &[
            "lb_policy",
            "lb",
            "algorithm",
            "policy",
            "load_balancing",
            "least_conn",
            "lb_algorithm",
        ],
        "`balance`",
    ),
    ("", &["max_fails", "unhealthy_threshold", "failures"], "`fall`"),
    ("", &["passes", "healthy_threshold"], "`rise`"),
    (
        "",
        &[
            "retry",
            "tries",
            "proxy_next_upstream_tries",
            "max_retries",
            "try_count",
        ],
        "`retries`",
    ),
    ("", &["option redispatch", "proxy_next_upstream"], "`redispatch`"),
    (
        "",
        &["keepalive", "max_idle_conns", "pool-max-conn", "keepalive_connections"],
        "`keep_alive_connections`",
    ),
    ("", &["pool-purge-delay", "keepalive_idle"], "`keep_alive`"),
    (
        "pool",
        &[
            "server",
            "upstream",
            "upstreams",
            "targets",
            "target",
            "hosts",
            "address",
            "addresses",
            "members",
        ],
        "`servers = [\"10.0.0.11:80\"]`",
    ),
    ("pool", &["option httpchk", "option"], "`check`"),
    (
        "site",
        &[
            "server",
            "servers",
            "backend",
            "pool",
            "upstream",
            "upstreams",
            "default_backend",
            "use_backend",
            "proxy_pass",
            "reverse_proxy",
            "target",
            "proxy",
        ],
        "`to`",
    ),
    (
        "tcp",
        &[
            "server",
            "servers",
            "backend",
            "pool",
            "upstream",
            "upstreams",
            "default_backend",
            "proxy_pass",
            "target",
        ],
        "`to`",
    ),
    (
        "site",
        &[
            "client_max_body_size",
            "max_size",
            "request_body",
            "body_limit",
            "max_body_size",
        ],
        "`max_body`",
    ),
    (
        "site",
        &["server_name", "host", "hosts", "domain", "domains"],
        "the host into the header: `[site.\"HOST\"]`",
    ),
    (
        "site",
        &["listen", "bind", "address", "port"],
        "`[listen.NAME]` with `address`",
    ),
    ("listen", &["bind", "listen", "port", "addr", "socket"], "`address`"),
    ("tcp", &["bind", "address", "port", "addr"], "`listen`"),
    (
        "listen",
        &["set_real_ip_from", "trusted", "proxies", "forwarded_from"],
        "`trusted_proxies`",
    ),
    (
        "listen",
        &[
            "large_client_header_buffers",
            "max_header_size",
            "max_header_bytes",
            "max_header_list_size",
        ],
        "`max_head`",
    ),
    (
        "worker",
        &["nbproc", "nbthread", "worker_processes", "processes", "workers", "cpus"],
        "`threads`",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_spellings_are_found_and_far_ones_are_not() {
        let known = ["connect_timeout", "response_timeout", "retries", "servers"];
        assert_eq!(closest("conect_timeout", known), Some("connect_timeout"));
        assert_eq!(closest("retrys", known), Some("retries"));
        assert_eq!(closest("connect-timeout", known), Some("connect_timeout"));
        assert_eq!(closest("colour", known), None);
    }

    #[test]
    fn lines_of_other_proxies_are_recognised() {
        assert_eq!(for_foreign_line("timeout connect 5s"), Some("`connect_timeout`"));
        assert_eq!(for_foreign_line("backend web"), Some("`[pool.NAME]` with `servers`"));
        assert_eq!(for_foreign_line("to = web-farm"), None);
    }
}
