//! The configuration as it is written: its tables by their names, read key by key.

use std::collections::BTreeMap;

use figment::value::{Dict, Tag, Value};

use super::problem::found;
use super::problems::Problems;
use super::schema::{Keys, unknown_keys};
use super::spot::Spot;
use super::suggest;
use super::tables::{
    AcmeSettings, DrainSettings, ListenerSettings, LogSettings, PoolServers, PoolSettings, SiteSettings, TcpSettings,
    TlsSettings, WorkerSettings, names, owners, schemas,
};

/// Everything that was written; a key that is missing or could not be understood has its default.
#[derive(Debug)]
pub struct WrittenTables {
    /// `[listen.NAME]`
    pub listen: Named<ListenerSettings>,
    /// `[site."HOST"]`, each with the keys of a pool written in place.
    pub site: Named<(SiteSettings, PoolSettings)>,
    /// `[pool.NAME]`
    pub pool: Named<(PoolServers, PoolSettings)>,
    /// `[tcp.NAME]`, each with the keys of a pool written in place.
    pub tcp: Named<(TcpSettings, PoolSettings)>,
    /// `[tls]`
    pub tls: TlsSettings,
    /// `[acme]`, with its header.
    pub acme: (Spot, AcmeSettings),
    /// `[log]`
    pub log: LogSettings,
    /// `[drain]`
    pub drain: DrainSettings,
    /// `[worker]`
    pub worker: WorkerSettings,
}

/// Tables by the names that the user picked, each with its header and its keys.
pub type Named<T> = BTreeMap<String, (Spot, T)>;

/// The listener that exists without being written: a table for another port must not close port 80.
pub const IMPLICIT_LISTENER: &str = "http";

/// The listener that exists without being written as soon as a site has a certificate: it speaks TLS on port 443.
pub const IMPLICIT_TLS_LISTENER: &str = "https";

/// Adds `tls = true` to the table of [`IMPLICIT_TLS_LISTENER`], and the table itself where it is missing; unless no site
/// has a certificate, or another listener speaks TLS.
pub fn add_implicit_tls_listener(root: &mut Dict) {
    let sites = root.get("site").and_then(Value::as_dict);
    let has_certificate = sites.is_some_and(|sites| sites.values().any(|site| site.find_ref("tls").is_some()));
    let relays = root.get("tcp").is_some_and(|tcp| tcp.find_ref(IMPLICIT_TLS_LISTENER).is_some());
    let listen = root.entry("listen".to_owned()).or_insert_with(|| Value::from(Dict::new()));
    let Value::Dict(_, listen) = listen else { return };
    let speaks_tls = |value: &Value| value.find_ref("tls").is_some_and(|tls| tls.to_bool() != Some(false));
    let another = listen.iter().any(|(name, value)| name != IMPLICIT_TLS_LISTENER && speaks_tls(value));
    if has_certificate && !relays && !another {
        let https = listen.entry(IMPLICIT_TLS_LISTENER.to_owned()).or_insert_with(|| Value::from(Dict::new()));
        if let Value::Dict(_, https) = https {
            https.entry("tls".to_owned()).or_insert_with(|| Value::from(true));
        }
    }
}

/// Adds the table of [`IMPLICIT_LISTENER`] to the tables, unless a listener of this name is there.
pub fn add_implicit_listener(root: &mut Dict) {
    let relays = root.get("tcp").is_some_and(|tcp| tcp.find_ref(IMPLICIT_LISTENER).is_some());
    let listen = root.entry("listen".to_owned()).or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, listen) = listen
        && !relays
    {
        listen.entry(IMPLICIT_LISTENER.to_owned()).or_insert_with(|| Value::from(Dict::new()));
    }
}

impl WrittenTables {
    /// Reads the merged tables; reports unknown tables and keys, and values of the wrong format.
    pub fn read(root: &Dict, problems: &mut Problems<'_>) -> Self {
        for (name, value) in root.iter().filter(|(name, _)| !names().contains(&name.as_str())) {
            let (message, help) = suggest::for_unknown_table(name, value, &names(), &owners(name));
            problems.error(&Spot::root().key(name, value.tag()).at_key(), message, help);
        }
        Self {
            listen: named(root, "listen", problems, Keys::read),
            site: named(root, "site", problems, both),
            pool: named(root, "pool", problems, both),
            tcp: named(root, "tcp", problems, both),
            tls: single(root, "tls", problems),
            acme: single_with_header(root, "acme", problems),
            log: single(root, "log", problems),
            drain: single(root, "drain", problems),
            worker: single(root, "worker", problems),
        }
    }
}

fn both<A: Keys, B: Keys>(dict: &Dict, table: &Spot, problems: &mut Problems<'_>) -> (A, B) {
    (A::read(dict, table, problems), B::read(dict, table, problems))
}

fn named<'p, T>(
    root: &Dict,
    kind: &str,
    problems: &mut Problems<'p>,
    read: impl Fn(&Dict, &Spot, &mut Problems<'p>) -> T,
) -> Named<T> {
    let mut all = BTreeMap::new();
    let Some(value) = root.get(kind) else { return all };
    let spot = Spot::root().key(kind, value.tag()).at_key();
    let with_name = match kind {
        "site" => "write `[site.\"app.example.com\"]`, or `[site.\"*\"]` for every host".to_owned(),
        kind => format!("write `[{kind}.NAME]`, with a name that you pick"),
    };
    let Some(dict) = value.as_dict() else {
        problems.wrong(&spot, value, "a table of named tables", Some(with_name));
        return all;
    };
    for (name, value) in dict {
        let spot = spot.key(name, value.tag()).at_key();
        let (message, help) = match value {
            Value::Dict(_, dict) => {
                unknown_keys(dict, &spot, schemas(kind), problems);
                let table = read(dict, &spot, problems);
                all.insert(name.clone(), (spot, table));
                continue;
            }
            Value::Array(_, list) if list.iter().any(|one| one.as_dict().is_some()) => {
                let message = format!("`{spot}` must be a table, not a list of tables");
                (message, format!("write `[{spot}]`, with single brackets"))
            }
            // `[pool]` with `servers` below it: the name is missing, and the key is right.
            _ => (format!("`{name}` must stand in a table with a name of its own"), with_name.clone()),
        };
        problems.error(&spot, message, help);
    }
    all
}

fn single<T: Keys>(root: &Dict, name: &str, problems: &mut Problems<'_>) -> T {
    single_with_header(root, name, problems).1
}

fn single_with_header<T: Keys>(root: &Dict, name: &str, problems: &mut Problems<'_>) -> (Spot, T) {
    let (nothing, value) = (Dict::new(), root.get(name));
    let spot = Spot::root().key(name, value.map_or(Tag::Default, Value::tag)).at_key();
    if let Some(value) = value.filter(|value| value.as_dict().is_none()) {
        let message = format!("`{spot}` must be a table, not {}", found(value));
        problems.error(&spot, message, format!("write `[{spot}]` and its keys below"));
    }
    let dict = value.and_then(Value::as_dict).unwrap_or(&nothing);
    unknown_keys(dict, &spot, schemas(name), problems);
    let table = T::read(dict, &spot, problems);
    (spot, table)
}
