//! The configuration as it is written: its tables by their names, read key by key.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::problem::found;
use super::problems::Problems;
use super::schema::{At, Keys};
use super::spot::Spot;
use super::suggest;
use super::tables::{
    Config, ListenerSettings, PoolServers, PoolSettings, SiteSettings, TcpSettings, names, owners, schemas,
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
    /// The tables without a name.
    pub rest: Config,
}

/// Tables by the names that the user picked, each with its header and its keys.
pub type Named<T> = BTreeMap<String, (Spot, T)>;

/// The listener that exists without being written: a table for another port must not close port 80.
pub const IMPLICIT_LISTENER: &str = "http";

/// The listener that exists without being written as soon as a site has a certificate: it speaks TLS on port 443.
pub const IMPLICIT_TLS_LISTENER: &str = "https";

/// Adds the table of [`IMPLICIT_LISTENER`], and as soon as a site has a certificate that of [`IMPLICIT_TLS_LISTENER`] with
/// `tls = true`, unless another listener speaks TLS. A TCP listener may have the name of either.
pub fn add_implicit_listeners(root: &mut Dict) {
    let sites = root.get("site").and_then(Value::as_dict);
    let has_certificate = sites.is_some_and(|sites| sites.values().any(|site| site.find_ref("tls").is_some()));
    let relays = |name: &str| root.get("tcp").is_some_and(|tcp| tcp.find_ref(name).is_some());
    let (relays_http, relays_https) = (relays(IMPLICIT_LISTENER), relays(IMPLICIT_TLS_LISTENER));
    let empty = || Value::from(Dict::new());
    let Value::Dict(_, listen) = root.entry("listen".to_owned()).or_insert_with(empty) else { return };
    if !relays_http {
        listen.entry(IMPLICIT_LISTENER.to_owned()).or_insert_with(empty);
    }
    let speaks_tls = |value: &Value| value.find_ref("tls").is_some_and(|tls| tls.to_bool() != Some(false));
    let another = listen.iter().any(|(name, value)| name != IMPLICIT_TLS_LISTENER && speaks_tls(value));
    if has_certificate
        && !relays_https
        && !another
        && let Value::Dict(_, https) = listen.entry(IMPLICIT_TLS_LISTENER.to_owned()).or_insert_with(empty)
    {
        https.entry("tls".to_owned()).or_insert_with(|| Value::from(true));
    }
}

impl WrittenTables {
    /// Reads the merged tables; reports unknown tables and keys, and values of the wrong format.
    pub fn read(problems: &mut Problems<'_>) -> Self {
        for (name, value) in problems.merged.root.iter().filter(|(name, _)| !names().contains(&name.as_str())) {
            let (message, help) = suggest::for_unknown_table(name, value, &names(), &owners(name));
            problems.error(&Spot::root().key(name).at_key(), message, help);
        }
        Self {
            listen: named("listen", problems, Keys::read),
            site: named("site", problems, both),
            pool: named("pool", problems, both),
            tcp: named("tcp", problems, both),
            rest: Config {
                tls: single("tls", problems),
                acme: single("acme", problems),
                log: single("log", problems),
                metrics: single("metrics", problems),
                dashboard: single("dashboard", problems),
                drain: single("drain", problems),
                worker: single("worker", problems),
                ..Config::default()
            },
        }
    }
}

fn both<A: Keys, B: Keys>(table: &mut At<'_, '_>) -> (A, B) {
    (A::read(table), B::read(table))
}

fn named<T>(kind: &str, problems: &mut Problems<'_>, read: impl Fn(&mut At<'_, '_>) -> T) -> Named<T> {
    let mut all = BTreeMap::new();
    let Some(value) = problems.merged.root.get(kind) else { return all };
    let with_name = match kind {
        "site" => "write `[site.\"app.example.com\"]`, or `[site.\"*\"]` for every host".to_owned(),
        kind => format!("write `[{kind}.NAME]`, with a name that you pick"),
    };
    let mut tables = At { value, spot: Spot::root().key(kind).at_key(), problems };
    if value.as_dict().is_none() {
        tables.wrong::<()>("a table of named tables", with_name.clone());
    }
    for (name, value) in tables.entries() {
        let spot = Spot::table(kind, name);
        let mut table = tables.inner(spot.clone(), value);
        match value {
            Value::Dict(..) => {
                table.unknown_keys(schemas(kind));
                all.insert(name.clone(), (spot, read(&mut table)));
            }
            Value::Array(_, list) if list.iter().any(|one| one.as_dict().is_some()) => {
                let message = format!("`{spot}` must be a table, not a list of tables");
                table.unusable::<()>(message, format!("write `[{spot}]`, with single brackets"));
            }
            // `[pool]` with `servers` below it: the name is missing, and the key is right.
            _ => {
                let message = format!("`{name}` must stand in a table with a name of its own");
                table.unusable::<()>(message, with_name.clone());
            }
        }
    }
    all
}

fn single<T: Keys>(name: &str, problems: &mut Problems<'_>) -> T {
    let nothing = Value::from(Dict::new());
    let value = problems.merged.root.get(name).unwrap_or(&nothing);
    let mut table = At { value, spot: Spot::root().key(name).at_key(), problems };
    if value.as_dict().is_none() {
        let message = format!("`{name}` must be a table, not {}", found(value));
        table.unusable::<()>(message, format!("write `[{name}]` and its keys below"));
    }
    table.unknown_keys(schemas(name));
    T::read(&mut table)
}
