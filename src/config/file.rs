//! The configuration as it is written: its tables by their names, read key by key.

use std::collections::BTreeMap;

use figment::value::{Dict, Tag, Value};

use super::problem::found;
use super::problems::Problems;
use super::schema::{Keys, unknown_keys};
use super::spot::Spot;
use super::suggest;
use super::tables::{
    DrainSettings, ListenerSettings, LogSettings, PoolServers, PoolSettings, SiteSettings, TABLES, TcpSettings,
    WorkerSettings, keys, names,
};
use super::words::later;

/// Everything that was written; a key that is missing or could not be understood has its default.
#[derive(Debug)]
pub struct WrittenTables {
    /// `[listen.NAME]` by name.
    pub listen: BTreeMap<String, Named<ListenerSettings>>,
    /// `[site."HOST"]` by host as written, each with the keys of a pool written in place.
    pub site: BTreeMap<String, Named<(SiteSettings, PoolSettings)>>,
    /// `[pool.NAME]` by name.
    pub pool: BTreeMap<String, Named<(PoolServers, PoolSettings)>>,
    /// `[tcp.NAME]` by name, each with the keys of a pool written in place.
    pub tcp: BTreeMap<String, Named<(TcpSettings, PoolSettings)>>,
    /// `[log]`
    pub log: LogSettings,
    /// `[drain]`
    pub drain: DrainSettings,
    /// `[worker]`
    pub worker: WorkerSettings,
}

/// A table with a name that the user picked.
#[derive(Debug)]
pub struct Named<T> {
    /// Its keys.
    pub table: T,
    /// Where its header is.
    pub spot: Spot,
}

/// The listener that exists without being written: a table for another port must not close port 80.
pub const IMPLICIT_LISTENER: &str = "http";

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
    /// Reads the merged tables; reports unknown keys and values of the wrong format.
    #[must_use]
    pub fn read(root: &Dict, problems: &mut Problems<'_>) -> Self {
        for (name, value) in root.iter().filter(|(name, _)| !names().contains(&name.as_str())) {
            let owners = || keys().filter(|(_, key)| key.name == name);
            let (message, help) = match value.as_dict() {
                None if later(name).is_none() && owners().next().is_some() => for_key_at_the_top(name),
                _ => suggest::for_unknown_table(name, &names()),
            };
            problems.error(&Spot::root().key(name, value.tag()).at_key(), message, help);
        }
        Self {
            listen: named(root, "listen", problems, Keys::read),
            site: named(root, "site", problems, both),
            pool: named(root, "pool", problems, both),
            tcp: named(root, "tcp", problems, both),
            log: single(root, "log", problems),
            drain: single(root, "drain", problems),
            worker: single(root, "worker", problems),
        }
    }
}

/// What is wrong with a key before the first header, and what to write instead.
fn for_key_at_the_top(name: &str) -> (String, String) {
    let schemas = TABLES.iter().flat_map(|(_, schemas)| *schemas);
    let owners = schemas.filter(|schema| schema.keys.iter().any(|key| key.name == name));
    let mut owners: Vec<_> = owners.map(|schema| format!("`{}`", schema.header)).collect();
    owners.dedup();
    (format!("`{name}` stands in no table"), format!("write it below {}", owners.join(" or ")))
}

fn both<A: Keys, B: Keys>(dict: &Dict, table: &Spot, problems: &mut Problems<'_>) -> (A, B) {
    (A::read(dict, table, problems), B::read(dict, table, problems))
}

fn named<T>(
    root: &Dict,
    kind: &str,
    problems: &mut Problems<'_>,
    read: impl Fn(&Dict, &Spot, &mut Problems<'_>) -> T,
) -> BTreeMap<String, Named<T>> {
    let Some(value) = root.get(kind) else {
        return BTreeMap::new();
    };
    let spot = Spot::root().key(kind, value.tag());
    let with_name = match kind {
        "site" => "write `[site.\"app.example.com\"]`, or `[site.\"*\"]` for every host".to_owned(),
        kind => format!("write `[{kind}.NAME]`, with a name that you pick"),
    };
    let Some(dict) = value.as_dict() else {
        problems.wrong(&spot.at_key(), value, "a table of named tables", Some(with_name));
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    for (name, value) in dict {
        let spot = spot.key(name, value.tag());
        if let Some(dict) = value.as_dict() {
            unknown_keys(dict, &spot, schemas(kind), problems);
            let table = read(dict, &spot, problems);
            all.insert(name.clone(), Named { table, spot: spot.at_key() });
        } else if value.as_array().is_some_and(|list| list.iter().any(|one| one.as_dict().is_some())) {
            let message = format!("`{spot}` must be a table, not a list of tables");
            let help = format!("write `[{spot}]`, with single brackets");
            problems.error(&spot.clone().at_key(), message, help);
        } else {
            // `[pool]` with `servers` below it: the name is missing, and the key is right.
            let message = format!("`{name}` must stand in a table with a name of its own");
            problems.error(&spot.at_key(), message, with_name.clone());
        }
    }
    all
}

fn single<T: Keys>(root: &Dict, name: &str, problems: &mut Problems<'_>) -> T {
    let nothing = Dict::new();
    let spot = Spot::root().key(name, root.get(name).map_or(Tag::Default, Value::tag));
    let dict = root.get(name).map_or(Some(&nothing), |value| {
        if value.as_dict().is_none() {
            let message = format!("`{spot}` must be a table, not {}", found(value));
            let help = format!("write `[{spot}]` and its keys below");
            problems.error(&spot.clone().at_key(), message, help);
        }
        value.as_dict()
    });
    let dict = dict.unwrap_or(&nothing);
    unknown_keys(dict, &spot, schemas(name), problems);
    T::read(dict, &spot, problems)
}

fn schemas(kind: &str) -> &'static [&'static super::schema::Schema] {
    TABLES.iter().find(|(name, _)| *name == kind).map_or(&[], |(_, schemas)| schemas)
}
