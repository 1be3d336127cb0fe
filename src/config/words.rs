//! The words of other proxies, and what stands for them here.

/// Keys and tables that are not supported in this version.
pub const LATER: [&str; 37] = [
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
    "headers",
    "header",
    "add_header",
    "request_headers",
    "response_headers",
    "redirect",
    "rewrite",
    "auth",
    "basic_auth",
    "rate_limit",
    "gzip",
    "compress",
    "compression",
    "location",
    "path",
    "paths",
    "root",
    "include",
];

/// What to do about one of [`LATER`].
#[must_use]
pub fn later(key: &str) -> &'static str {
    match key {
        "tls" | "certificate" | "ssl_certificate" | "ssl_certificate_key" | "ssl" => {
            "sites are served as plain HTTP; take the key out, and let something in front of Segue end TLS"
        }
        "include" => "take it out; the files of conf.d beside the main file, `conf.d/*.toml`, are read after it",
        "admin" | "dashboard" | "stats" | "metrics" => "take it out; `segue status` shows the state",
        _ => "take it out",
    }
}

/// Names of tables in other proxies, and what stands for them.
pub const FOREIGN_TABLES: [(&[&str], &str); 10] = [
    (&["server", "servers"], "`servers` in `[pool.NAME]`, or `[site.\"HOST\"]` for what nginx calls a server"),
    (&["backend", "backends", "upstream", "upstreams", "cluster", "pools"], "`[pool.NAME]` with `servers`"),
    (
        &["frontend", "listener", "listeners", "entrypoints", "bind"],
        "`[listen.NAME]` with `address`, and `[site.\"HOST\"]` with `to`",
    ),
    (&["vhost", "host", "hosts", "sites", "virtualhost"], "`[site.\"HOST\"]` with `to`"),
    (&["reverse_proxy", "proxy_pass", "default_backend", "use_backend"], "`to = \"POOL\"` in `[site.\"HOST\"]`"),
    (&["global", "workers", "nbproc", "nbthread", "events"], "`[worker]` with `threads` and `max_connections`"),
    (&["defaults", "http"], "these keys in `[listen.NAME]` and `[pool.NAME]`, where they belong"),
    (&["logging", "logs", "access_log"], "`[log]` with `access`"),
    (&["stream", "tcp_proxy", "mode"], "`[tcp.NAME]` with `listen` and `to`"),
    (&["shutdown", "reload", "graceful"], "`[drain]` with `timeout` and `stop_timeout`"),
];

/// Names of keys in other proxies: the table they are looked for in (empty: any), the words, what stands for them.
pub const FOREIGN_KEYS: [(&str, &[&str], &str); 35] = [
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
    ("listen", &["timeout", "timeouts"], "`header_timeout`, `idle_timeout`, `body_timeout` or `write_timeout`"),
    ("", &["timeout", "timeouts"], "`connect_timeout` or `response_timeout`"),
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
    ("", &["timeout http-request", "client_header_timeout", "read_header_timeout"], "`header_timeout`"),
    ("", &["client_body_timeout", "request_timeout"], "`body_timeout`"),
    ("", &["send_timeout", "timeout write"], "`write_timeout`"),
    ("", &["timeout check", "timeout_check", "health_timeout"], "`check_timeout`"),
    ("", &["inter", "interval", "health_interval"], "`check_interval`"),
    ("", &["maxconn", "worker_connections", "max_conns", "limit"], "`max_connections`"),
    (
        "",
        &["httpchk", "option httpchk", "health_check", "healthcheck", "health_uri", "http-check"],
        "`check = \"GET /path\"`",
    ),
    ("", &["lb_policy", "lb", "algorithm", "policy", "load_balancing", "least_conn", "lb_algorithm"], "`balance`"),
    ("", &["unhealthy_threshold", "failures"], "`fall`"),
    ("", &["consecutive_gateway_failure", "consecutive_5xx", "error-limit", "unhealthy_request_count"], "`max_fails`"),
    ("", &["fail_timeout", "max_ejection_time", "fail_duration"], "`max_ejection`"),
    ("", &["passes", "healthy_threshold"], "`rise`"),
    ("", &["retry", "tries", "proxy_next_upstream_tries", "max_retries", "try_count"], "`retries`"),
    ("", &["option redispatch", "proxy_next_upstream"], "`redispatch`"),
    ("", &["keepalive", "max_idle_conns", "pool-max-conn", "keepalive_connections"], "`keep_alive_connections`"),
    ("", &["pool-purge-delay", "keepalive_idle"], "`keep_alive`"),
    (
        "pool",
        &["server", "upstream", "upstreams", "targets", "target", "hosts", "address", "addresses", "members"],
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
        &["server", "servers", "backend", "pool", "upstream", "upstreams", "default_backend", "proxy_pass", "target"],
        "`to`",
    ),
    ("site", &["client_max_body_size", "max_size", "request_body", "body_limit", "max_body_size"], "`max_body`"),
    ("site", &["server_name", "host", "hosts", "domain", "domains"], "the host into the header: `[site.\"HOST\"]`"),
    ("site", &["listen", "bind", "address", "port"], "`[listen.NAME]` with `address`"),
    ("listen", &["bind", "listen", "port", "addr", "socket"], "`address`"),
    ("tcp", &["bind", "address", "port", "addr"], "`listen`"),
    ("listen", &["set_real_ip_from", "trusted", "proxies", "forwarded_from"], "`trusted_proxies`"),
    (
        "listen",
        &["large_client_header_buffers", "max_header_size", "max_header_bytes", "max_header_list_size"],
        "`max_head`",
    ),
    (
        "",
        &[
            "so_keepalive",
            "option tcpka",
            "option clitcpka",
            "option srvtcpka",
            "tcp_keepalive",
            "proxy_socket_keepalive",
        ],
        "`tcp_keep_alive` of `[worker]`",
    ),
    ("worker", &["nbproc", "nbthread", "worker_processes", "processes", "workers", "cpus"], "`threads`"),
];
