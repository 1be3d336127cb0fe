//! The configuration as a person writes it: every table, every key, its default and its documentation.
//!
//! The doc-comments here are the text of segue.toml(5), and the values after `=` the defaults, everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::Report;
use super::servers::{ServerEntry, To};
use super::sockets::KeepAlive;
use super::spot::Spot;
use super::suggest;
use super::table::Fallback::{Empty, Number, Required, Text, Truth, Unset};
use super::table::{Form, Given, Keys, Table, table};
use super::values::{Size, Whole};
use super::words::LATER;
use super::{Access, Address, Balance, CheckKind, Memory, TrustedProxy};
use figment::value::{Dict, Value};

table! {
    /// A listener: a named socket that speaks HTTP, and its settings. When systemd passes a socket whose
    /// `FileDescriptorName=` is NAME, that one is used, and `address` is not bound.
    ///
    /// The listener `http`, for the socket of `proxy-http.socket`, is there without being written. Where that unit is
    /// masked (`systemctl mask --now proxy-http.socket`, and a restart of the service), it is left out as long as there is
    /// another listener.
    ListenTable "[listen.NAME]" {
        /// Where to listen when systemd passes no socket of this name: `":8080"` for every address of the machine,
        /// `"127.0.0.1:8080"`, `"[::1]:8080"`, or `"unix:/run/segue/NAME.sock"`,
        /// to which only root and the user of the service can connect (for others: a socket unit with `SocketMode=`).
        address: Address = Unset("the socket that systemd passes"),
        /// Client connections open at once. For one more the connection is closed that has been idle longest; while none
        /// is idle, it waits in the backlog of the kernel.
        max_connections: Whole<1, 10_000_000> = Number(65_536),
        /// From the first byte of a request head to its last. After it: 408.
        header_timeout: Duration = Text("10s"),
        /// How long a client connection may stay open without a request.
        idle_timeout: Duration = Text("60s"),
        /// The longest silence inside a request body. After it: 408.
        body_timeout: Duration = Text("30s"),
        /// How long a response may wait for a client that does not read it.
        write_timeout: Duration = Text("60s"),
        /// How long an exchange goes on after the client closed its sending side. Such a client has left, as a rule, and
        /// without this key the exchange ends and the server is free at once. With it clients that close their sending
        /// side and wait for the answer get it, as `nc -N` does; those that have left are noticed as much later.
        half_close_timeout: Duration = Unset("such a client has left"),
        /// The largest request head. Above it: 431.
        max_head: Size<1024, 1_048_576> = Text("32KiB"),
        /// The longest request target (path and query). Above it: 414. A target goes to the server byte for byte. Every
        /// visible character of ASCII but `#` may stand in it, also those that RFC 3986 has percent-encoded, as `"`, `<`,
        /// `>`, `{`, `|` and `}`, because browsers and curl send them. With a blank, a control character or any other
        /// byte it is a 400.
        max_target: Size<64, 1_048_576> = Text("8KiB"),
        /// The most header fields in one request. Above it: 431.
        max_fields: Whole<1, 1000> = Number(100),
        /// Networks of proxies in front of this one whose `X-Forwarded-For`, `-Proto` and `-Host` are believed, as in
        /// `["10.0.0.0/8"]`. `"unix"` is whatever connects to the unix socket of this listener, such as a TLS terminator on
        /// this machine. Where they name no client, `Forwarded` and `X-Real-IP` do. From all other peers these fields are
        /// replaced.
        trusted_proxies: Vec<Given<TrustedProxy>> = Empty,
    }
}

table! {
    /// A site: the host that clients ask for, and where its requests go. HOST is a host name, `*.example.com` for
    /// every name below it, or `*` for everything that no other site answers. It stands in quotes.
    ///
    /// When `to` is a list of servers, the keys of `[pool.NAME]` other than `servers` can stand here too.
    SiteTable "[site.\"HOST\"]" {
        /// The name of a `[pool.NAME]`, or a list of servers as in `servers` of a pool.
        to: To = Required("[\"10.0.0.11:80\"]"),
        /// The largest request body. Above it: 413.
        max_body: Size<0, 1_125_899_906_842_624> = Text("10GiB"),
    }
}

table! {
    /// A pool: a named set of equal servers with one way to share the requests among them.
    PoolTable "[pool.NAME]" {
        /// The servers. Each is an address with a port (`"10.0.0.11:80"`, `"[2001:db8::11]:80"`,
        /// `"app.internal:80"`, `"unix:/run/app.sock"`), or a table
        /// `{ address = "10.0.0.11:80", weight = 2 }`.
        ///
        /// A name that has several addresses is one server: connections go to the address that answered last, and to the
        /// others when that one does not, within `connect_timeout`.
        servers: Vec<Given<ServerEntry>> = Required("[\"10.0.0.11:80\", \"10.0.0.12:80\"]"),
    }
}

table! {
    /// How a pool treats its servers.
    Policy "[pool.NAME]" {
        /// Servers, written like `servers`, that are used only when no other server is up.
        backup: Vec<Given<ServerEntry>> = Empty,
        /// How the next server is picked: in turn by weight, or the one with the fewest open requests for its weight.
        balance: Balance = Text("round-robin"),
        /// The active health request, sent to every server: `"HEAD /index.php"` (healthy is an answer of 2xx or
        /// 3xx), or `"connect"` (healthy is an accepted connection).
        check: CheckKind = Unset("none is sent, and real traffic alone shows that a server is down: see max_fails"),
        /// The `Host` field of the check.
        check_host: String = Unset("the address of the server"),
        /// From the start of one check to the start of the next.
        check_interval: Duration = Text("2s"),
        /// For connecting and for the whole answer to a check.
        check_timeout: Duration = Text("2s"),
        /// Good checks in a row that make a server up.
        rise: Whole<1, 1000> = Number(2),
        /// Bad checks in a row that make a server down.
        fall: Whole<1, 1000> = Number(3),
        /// Connections in a row that fail (refused, not opened in time, closed before an answer) until the server is
        /// ejected, with a check or without: it takes no requests, as long as another server of the pool can. After a second
        /// a connection to it is tried; each one that fails doubles the time to the next. 0: no server is ever ejected.
        max_fails: Whole<0, 1000> = Number(3),
        /// The longest time from one trial of an ejected server to the next.
        max_ejection: Duration = Text("60s"),
        /// How often a request is tried again after a failed attempt, when that is safe: nothing of it was sent, or its
        /// method is idempotent and its body can be sent again.
        retries: Whole<0, 100> = Number(3),
        /// Whether a retry goes to another server where there is one.
        redispatch: bool = Truth(true),
        /// The time to open a connection to a server: to whichever of its addresses takes one, with the wait for a place in
        /// the queue of a unix socket.
        connect_timeout: Duration = Text("5s"),
        /// From the end of the request, or its last progress, to the head of the response, and the longest silence
        /// inside the response body. Before the head: 504.
        response_timeout: Duration = Text("50s"),
        /// The longest silence inside a tunnel (WebSocket and other upgrades, TCP), both directions together. Once one
        /// side has closed its sending side it is no more than 60 seconds.
        tunnel_timeout: Duration = Text("1h"),
        /// How long an idle connection to a server is kept for the next request. Less than the server keeps it.
        keep_alive: Duration = Text("4s"),
        /// Idle connections kept for each server, by each thread. 0 keeps none. A connection on which a server
        /// authenticates its client (NTLM, Negotiate) does not count: it is kept for this client connection alone.
        keep_alive_connections: Whole<0, 100_000> = Number(128),
    }
}

table! {
    /// A TCP listener: relays bytes between clients and a pool, without looking at them. NAME is the
    /// `FileDescriptorName=` of its socket unit, if it has one.
    ///
    /// When `to` is a list of servers, the keys of `[pool.NAME]` other than `servers` can stand here too.
    TcpTable "[tcp.NAME]" {
        /// Where to listen when systemd passes no socket of this name, written like `address` of `[listen.NAME]`.
        listen: Address = Unset("the socket that systemd passes"),
        /// The name of a `[pool.NAME]`, or a list of servers as in `servers` of a pool.
        to: To = Required("[\"10.0.0.31:5432\"]"),
        /// Client connections open at once. For one more the connection is closed that has been idle longest; while none
        /// is idle, it waits in the backlog of the kernel.
        max_connections: Whole<1, 10_000_000> = Number(65_536),
    }
}

table! {
    /// What is written to the journal.
    LogTable "[log]" {
        /// Which exchanges: `"all"`; `"errors+slow"` for those that failed or were slow; `"sample:1%"` for these and a
        /// share of the rest; `"off"` for none.
        access: Access = Text("all"),
        /// From this duration on an exchange counts as slow.
        slow: Duration = Text("1s"),
        /// Whether connections that end without a request are written too. They are counted in any case.
        empty_connections: bool = Truth(false),
        /// Records a second, at most, of requests that were refused or answered without any server: a client makes as
        /// many of them as it likes. The others are counted by the reason, and the journal says how many there were.
        refused_rate: Whole<1, 1_000_000> = Number(100),
        /// How many of them may come at once.
        refused_burst: Whole<1, 1_000_000> = Number(1000),
        /// Records a second, at most, of all other exchanges. Those of successes make way first. The others are counted
        /// too.
        rate: Whole<1, 1_000_000> = Unset("no bound"),
        /// How many of them may come at once.
        burst: Whole<1, 1_000_000> = Number(1000),
        /// Whether records have the `User-Agent` of the request.
        user_agent: bool = Truth(false),
        /// Whether records have the `Referer` of the request, without the values of its query.
        referer: bool = Truth(false),
        /// Whether the client gets the request id too, in the field `X-Request-Id` of each response. One that the server
        /// gave stays.
        request_id_in_response: bool = Truth(false),
    }
}

table! {
    /// How a generation ends.
    DrainTable "[drain]" {
        /// After a reload: how long the old generation may take for exchanges that are open, and for connections that
        /// cannot move to the new one. What is open then is cut. Everything else moves at once.
        timeout: Duration = Text("10m"),
        /// At stop and restart: the same, shorter, because nobody accepts meanwhile.
        stop_timeout: Duration = Text("5s"),
        /// Generations that live at once, at most: one serves, one is what can be gone back to, one is being made, the
        /// others finish. A reload that would be one too many has the oldest finish first, and waits for it.
        generations: Whole<3, 16> = Number(4),
        /// The memory that all generations but the serving one may use together: a share of what the service may use,
        /// or a size. Above it the oldest that finishes has to make room.
        memory: Memory = Text("50%"),
        /// How long a generation may take that has to make room. What is open then is cut.
        hurry_timeout: Duration = Text("30s"),
    }
}

table! {
    /// What one worker may use.
    WorkerTable "[worker]" {
        /// Threads that serve.
        threads: Whole<1, 1024> = Unset("one for each CPU that the unit may use"),
        /// After so long without a byte on a TCP connection, to a client or to a server, the kernel asks the other end whether
        /// it is still there, and again four times in as long; when nothing is answered the connection is over (TCP
        /// keep-alive). So one whose other end is gone without a word ends after twice this time, tunnels too. What was sent
        /// and not acknowledged has a time of its own: `net.ipv4.tcp_retries2`. `"off"`: never.
        tcp_keep_alive: KeepAlive = Text("60s"),
        /// Client connections open at once, all listeners together; never more than two thirds of the limit of open
        /// files, so that there is room for connections to servers.
        max_connections: Whole<1, 10_000_000> = Unset("as many as the limit of open files allows"),
    }
}

/// Whether `key` is true or false, in whatever table.
#[must_use]
pub fn is_truth(key: &str) -> bool {
    let mut keys = TABLES.iter().flat_map(|table| table.keys);
    keys.any(|known| known.name == key && (known.form)() == <bool as Form>::describe())
}

/// The names that can stand at the top of the file.
pub const TOP: [&str; 7] = ["site", "pool", "tcp", "listen", "log", "drain", "worker"];

/// Every table that has keys.
const TABLES: [&Table; 8] = [
    &SiteTable::TABLE,
    &PoolTable::TABLE,
    &Policy::TABLE,
    &TcpTable::TABLE,
    &ListenTable::TABLE,
    &LogTable::TABLE,
    &DrainTable::TABLE,
    &WorkerTable::TABLE,
];

/// The listener that there is without being written: a new port must not be the end of port 80.
pub const IMPLICIT_LISTENER: &str = "http";

/// Everything that was written, understood key by key; what could not be is missing and reported.
#[derive(Debug)]
pub struct File {
    /// `[listen.NAME]` by name.
    pub listen: BTreeMap<String, Named<ListenTable>>,
    /// `[site."HOST"]` by host as written, each with the keys of a pool written in place.
    pub site: BTreeMap<String, Named<(SiteTable, Policy)>>,
    /// `[pool.NAME]` by name.
    pub pool: BTreeMap<String, Named<(PoolTable, Policy)>>,
    /// `[tcp.NAME]` by name, each with the keys of a pool written in place.
    pub tcp: BTreeMap<String, Named<(TcpTable, Policy)>>,
    /// `[log]`
    pub log: LogTable,
    /// `[drain]`
    pub drain: DrainTable,
    /// `[worker]`
    pub worker: WorkerTable,
}

/// A table with a name that the user picked.
#[derive(Debug)]
pub struct Named<T> {
    /// Its keys.
    pub table: T,
    /// Where its header is.
    pub spot: Spot,
}

impl File {
    /// Reads the merged tables, defaults included; reports unknown keys and values of the wrong form.
    #[must_use]
    pub fn read(root: &Dict, report: &mut Report<'_>) -> Self {
        for (key, value) in root.iter().filter(|(key, _)| !TOP.contains(&key.as_str())) {
            let (message, help) = match value.as_dict() {
                None if !LATER.contains(&key.as_str()) => suggest::for_key_at_the_top(key, &TOP, &TABLES),
                _ => suggest::for_unknown_table(key, &TOP),
            };
            report.error(&Spot::root().key(key, value.tag()).at_key(), message).help(help);
        }
        let site_keys = [&SiteTable::TABLE, &Policy::TABLE];
        let pool_keys = [&PoolTable::TABLE, &Policy::TABLE];
        let tcp_keys = [&TcpTable::TABLE, &Policy::TABLE];
        Self {
            listen: named(root, "listen", &[&ListenTable::TABLE], report, ListenTable::read),
            site: named(root, "site", &site_keys, report, |dict, spot, report| {
                (SiteTable::read(dict, spot, report), Policy::read(dict, spot, report))
            }),
            pool: named(root, "pool", &pool_keys, report, |dict, spot, report| {
                (PoolTable::read(dict, spot, report), Policy::read(dict, spot, report))
            }),
            tcp: named(root, "tcp", &tcp_keys, report, |dict, spot, report| {
                (TcpTable::read(dict, spot, report), Policy::read(dict, spot, report))
            }),
            log: single(root, "log", &LogTable::TABLE, report, LogTable::read),
            drain: single(root, "drain", &DrainTable::TABLE, report, DrainTable::read),
            worker: single(root, "worker", &WorkerTable::TABLE, report, WorkerTable::read),
        }
    }
}

/// The defaults of everything that `root` names: what is merged under the files.
#[must_use]
pub fn defaults(root: &Dict) -> Dict {
    let mut defaults = Dict::new();
    for (name, table) in [("log", LogTable::TABLE), ("drain", DrainTable::TABLE), ("worker", WorkerTable::TABLE)] {
        defaults.insert(name.to_owned(), Value::from(table.defaults()));
    }
    for kind in ["listen", "site", "pool", "tcp"] {
        let Some(tables) = root.get(kind).and_then(Value::as_dict) else {
            continue;
        };
        let given = tables.iter().filter_map(|(name, table)| Some((name, table.as_dict()?)));
        let all: Dict = given.map(|(name, table)| (name.clone(), Value::from(defaults_of(kind, table)))).collect();
        defaults.insert(kind.to_owned(), Value::from(all));
    }
    let relays = root.get("tcp").is_some_and(|tcp| tcp.find_ref(IMPLICIT_LISTENER).is_some());
    if !relays && root.get("listen").is_none_or(|listen| listen.as_dict().is_some()) {
        let mut listen = defaults.remove("listen").and_then(Value::into_dict).unwrap_or_default();
        listen.entry(IMPLICIT_LISTENER.to_owned()).or_insert_with(|| Value::from(ListenTable::TABLE.defaults()));
        defaults.insert("listen".to_owned(), Value::from(listen));
    }
    defaults
}

/// The defaults of one named table; a site has those of a pool only when its servers are written in place.
fn defaults_of(kind: &str, table: &Dict) -> Dict {
    let own = match kind {
        "listen" => ListenTable::TABLE,
        "site" => SiteTable::TABLE,
        "tcp" => TcpTable::TABLE,
        _ => PoolTable::TABLE,
    };
    let mut defaults = own.defaults();
    let in_place = table.get("to").is_some_and(|to| to.as_array().is_some());
    if kind == "pool" || (kind != "listen" && in_place) {
        defaults.extend(Policy::TABLE.defaults());
    }
    defaults
}

fn named<T>(
    root: &Dict,
    kind: &str,
    tables: &[&Table],
    report: &mut Report<'_>,
    read: impl Fn(&Dict, &Spot, &mut Report<'_>) -> T,
) -> BTreeMap<String, Named<T>> {
    let Some(value) = root.get(kind) else {
        return BTreeMap::new();
    };
    let kind = Spot::root().key(kind, value.tag());
    let Some(dict) = value.as_dict() else {
        suggest::explain_unnamed(report.wrong(&kind.clone().at_key(), value, "a table of named tables"), kind.name());
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    for (name, value) in dict {
        let spot = kind.key(name, value.tag());
        if value.as_array().is_some_and(|list| list.iter().any(|one| one.as_dict().is_some())) {
            report
                .error(&spot.clone().at_key(), format!("`{spot}` must be a table, not a list of tables"))
                .help(format!("write `[{spot}]`, with single brackets"));
            continue;
        }
        let Some(dict) = value.as_dict() else {
            // `[pool]` with `servers` below it: the name is missing, not the key wrong.
            let mut at = spot.clone().at_key();
            at.tag = value.tag();
            suggest::explain_unnamed(
                report.error(&at, format!("`{name}` must stand in a table with a name of its own")),
                kind.name(),
            );
            continue;
        };
        report.unknown_keys(dict, &spot, tables);
        let table = read(dict, &spot, report);
        all.insert(name.clone(), Named { table, spot: spot.at_key() });
    }
    all
}

fn single<T>(
    root: &Dict,
    name: &str,
    table: &Table,
    report: &mut Report<'_>,
    read: impl Fn(&Dict, &Spot, &mut Report<'_>) -> T,
) -> T {
    let nothing = Dict::new();
    let Some(value) = root.get(name) else {
        return read(&nothing, &Spot::root(), report);
    };
    let spot = Spot::root().key(name, value.tag());
    let dict = report.table(&spot, value).unwrap_or(&nothing);
    report.unknown_keys(dict, &spot, &[table]);
    read(dict, &spot, report)
}
