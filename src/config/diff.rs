//! The differences between two configurations, in words: for `segue diff`.
//!
//! Configurations are compared as they take effect: a value that is only written in another way makes no difference.
//! Tables are matched by their names, servers by the text of their addresses.

use super::address::Address;
use super::schema::{Keys, Shown};
use super::servers::ServerSettings;
use super::spot::Spot;
use super::tables::Config;

/// One line for each thing that is added, removed or changed on the way from one configuration to the other, by its
/// key in the file. No line at all for equal configurations.
#[must_use]
pub fn diff(from: &Config, to: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    compare(&things(from), &things(to), &mut lines);
    // one line for each, also when a name has a line break
    lines.iter().map(|line| line.replace(char::is_control, " ")).collect()
}

fn compare(before: &[Thing], after: &[Thing], lines: &mut Vec<String>) {
    for thing in after {
        match before.iter().find(|known| known.is(thing)) {
            Some(known) => known.changes(thing, lines),
            None => lines.push(format!("{}: {} added{}", thing.path, thing.noun, thing.about)),
        }
    }
    for thing in before.iter().filter(|thing| !after.iter().any(|known| known.is(thing))) {
        lines.push(format!("{}: {} removed", thing.path, thing.noun));
    }
}

/// A table, or a server of a pool.
struct Thing {
    /// The header in the file of the table, or of the pool of the server.
    path: String,
    /// The kind of table, or the server with its name.
    noun: String,
    /// The end of the line about a new one.
    about: String,
    is_server: bool,
    keys: Vec<Shown>,
    servers: Vec<Thing>,
}

/// Everything that a configuration has.
fn things(config: &Config) -> Vec<Thing> {
    let Config { listeners, sites, pools, tcp, tls, acme, log, metrics, dashboard, drain, worker } = config;
    let thing = |path, noun: &str, about, keys| Thing {
        path,
        noun: noun.to_owned(),
        about,
        is_server: false,
        keys,
        servers: Vec::new(),
    };
    let path = |kind: &str, name: &str| Spot::table(kind, name).to_string();
    let mut things = Vec::new();
    for one in listeners {
        things.push(thing(path("listen", &one.name), "listener", place(one.address.as_ref()), one.show()));
    }
    for one in sites {
        things.push(thing(path("site", &one.host.to_string()), "site", to(&one.show()), one.show()));
    }
    for one in tcp {
        let about = place(one.listen.as_ref()) + &to(&one.show());
        things.push(thing(path("tcp", &one.name), "listener", about, one.show()));
    }
    for pool in pools {
        let about = match pool.servers.len() {
            1 => ", with 1 server".to_owned(),
            many => format!(", with {many} servers"),
        };
        let mut keys = pool.show();
        keys.retain(|(key, _)| *key != "backup"); // its servers are compared one by one
        let servers = pool.servers.iter().map(|server| member(&pool.path, server)).collect();
        things.push(Thing { servers, ..thing(pool.path.clone(), "pool", about, keys) });
    }
    let single = [
        ("tls", tls.show()),
        ("acme", acme.show()),
        ("log", log.show()),
        ("metrics", metrics.show()),
        ("dashboard", dashboard.show()),
        ("drain", drain.show()),
        ("worker", worker.show()),
    ];
    things.extend(single.map(|(name, keys)| thing(name.to_owned(), name, String::new(), keys)));
    things
}

fn member(pool: &str, server: &ServerSettings) -> Thing {
    let keys = [server.show(), vec![("backup", server.backup.to_string())]].concat();
    let (path, noun) = (pool.to_owned(), format!("server {}", server.name));
    Thing { path, noun, about: String::new(), is_server: true, keys, servers: Vec::new() }
}

fn place(address: Option<&Address>) -> String {
    address.map_or_else(|| ", on the socket that systemd passes".to_owned(), |address| format!(", at {address}"))
}

fn to(keys: &[Shown]) -> String {
    let to = keys.iter().find(|(key, _)| *key == "to");
    to.map(|(_, to)| format!(", to {to}")).unwrap_or_default()
}

impl Thing {
    fn is(&self, other: &Self) -> bool {
        (&self.path, &self.noun) == (&other.path, &other.noun)
    }

    /// Both have the same keys.
    fn changes(&self, new: &Self, lines: &mut Vec<String>) {
        let Self { path, noun, .. } = self;
        for ((key, from), (_, to)) in self.keys.iter().zip(&new.keys).filter(|(from, to)| from != to) {
            let key = if self.is_server { format!(": {noun}: {key}") } else { format!(".{key}:") };
            lines.push(format!("{path}{key} {from} → {to}"));
        }
        compare(&self.servers, &new.servers, lines);
        if self.order_of(new) != new.order_of(self) {
            lines.push(format!("{path}: servers in another order"));
        }
    }

    /// The servers that `other` has too, in the order that they have here.
    fn order_of(&self, other: &Self) -> Vec<&str> {
        let stays = self.servers.iter().filter(|server| other.servers.iter().any(|known| known.is(server)));
        stays.map(|server| server.noun.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tables::TABLES;
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text).expect("a good configuration")
    }

    const FARM: &str = "[site.'*']\nto = 'farm'\n[pool.farm]\nservers = ['10.0.0.1:80', '10.0.0.2:80']\n";

    #[track_caller]
    fn assert_diff(from: &str, to: &str, lines: &[&str]) {
        assert_eq!(diff(&config(from), &config(to)), lines);
    }

    #[test]
    fn every_key_is_compared() {
        let config = config(&format!("{FARM}[tcp.db]\nto = 'farm'\n"));
        let things = things(&config);
        for (kind, schemas) in TABLES {
            let own = schemas.iter().filter(|schema| schema.header == schemas[0].header).flat_map(|schema| schema.keys);
            for key in own.filter(|key| !["servers", "backup"].contains(&key.name)) {
                let mut of_kind = things.iter().filter(|thing| thing.path.split('.').next() == Some(kind));
                let is_compared = of_kind.any(|thing| thing.keys.iter().any(|(name, _)| *name == key.name));
                assert!(is_compared, "{kind}: {}", key.name);
            }
        }
    }

    #[test]
    fn equal_configurations_differ_in_nothing_however_they_are_written() {
        assert_diff(FARM, FARM, &[]);
        let long =
            FARM.replace("'10.0.0.1:80'", "{ address = '10.0.0.1:80', weight = 1 }") + "connect_timeout = '5000ms'\n";
        assert_diff(FARM, &long, &[]);
    }

    #[test]
    fn tables_are_added_and_removed() {
        let more =
            "[site.'app.test']\nto = ['10.0.0.9:80']\n[listen.http]\n[listen.metrics]\naddress = '127.0.0.1:9100'\n";
        let lines = [
            "listen.metrics: listener added, at 127.0.0.1:9100",
            "site.\"app.test\": site added, to its own servers",
            "site.\"app.test\": pool added, with 1 server",
        ];
        assert_diff(FARM, &format!("{FARM}{more}"), &lines);
        let lines =
            ["listen.metrics: listener removed", "site.\"app.test\": site removed", "site.\"app.test\": pool removed"];
        assert_diff(&format!("{FARM}{more}"), FARM, &lines);
    }

    #[test]
    fn values_change_from_what_they_were_to_what_they_will_be() {
        let to = format!(
            "{FARM}retries = 5\nbalance = 'least-connections'\nresponse_timeout = '90s'\ncheck = 'GET /up'\n\
             [log]\nslow = '2s'\naccess = 'sample:1%'\n[worker]\nthreads = 2\n[drain]\nmemory = '512MiB'\n"
        );
        let lines = [
            "pool.farm.balance: round-robin → least-connections",
            "pool.farm.check: not set → GET /up",
            "pool.farm.retries: 3 → 5",
            "pool.farm.response_timeout: 50s → 1m 30s",
            "log.access: all → sample:1%",
            "log.slow: 1s → 2s",
            "drain.memory: 50% → 512MiB",
            "worker.threads: not set → 2",
        ];
        assert_diff(FARM, &to, &lines);
    }

    #[test]
    fn servers_are_known_by_their_addresses() {
        let to = "[site.'*']\nto = 'farm'\n[pool.farm]\n\
                  servers = ['10.0.0.3:80', { address = '10.0.0.1:80', weight = 2 }]\nbackup = ['10.0.0.9:80']\n";
        let lines = [
            "pool.farm: server 10.0.0.3:80 added",
            "pool.farm: server 10.0.0.1:80: weight 1 → 2",
            "pool.farm: server 10.0.0.9:80 added",
            "pool.farm: server 10.0.0.2:80 removed",
        ];
        assert_diff(FARM, to, &lines);
        let turned = FARM.replace("'10.0.0.1:80', '10.0.0.2:80'", "'10.0.0.2:80', '10.0.0.1:80'");
        assert_diff(FARM, &turned, &["pool.farm: servers in another order"]);
    }

    #[test]
    fn a_site_may_go_to_another_pool() {
        let two = format!("{FARM}[pool.other]\nservers = ['10.0.0.1:80']\n[site.'b.test']\nto = 'other'\n");
        let to = two.replace("[site.'*']\nto = 'farm'", "[site.'*']\nto = 'other'\nmax_body = '1MiB'");
        assert_diff(&two, &to, &["site.\"*\".to: farm → other", "site.\"*\".max_body: 10GiB → 1MiB"]);
    }

    #[test]
    fn tcp_listeners_and_their_servers_are_told_apart() {
        let from = "[tcp.db]\nlisten = '127.0.0.1:5432'\nto = ['10.0.0.1:5432']\n";
        let to = "[tcp.db]\nlisten = '127.0.0.1:5433'\nto = ['10.0.0.1:5432']\ntunnel_timeout = '2h'\n";
        let lines = ["tcp.db.listen: 127.0.0.1:5432 → 127.0.0.1:5433", "tcp.db.tunnel_timeout: 1h → 2h"];
        assert_diff(from, to, &lines);
    }

    fn any_config() -> impl Strategy<Value = String> {
        let servers = prop::sample::subsequence(vec!["10.0.0.1:80", "10.0.0.2:80", "app.test:80"], 1..4).prop_shuffle();
        let check = prop::sample::select(vec!["", "check = 'connect'\n", "check = 'GET /'\nfall = 5\n"]);
        let inline = any::<bool>();
        (servers, check, inline, 0..3_u32, prop::option::of(1..4_u32)).prop_map(
            |(servers, check, inline, retries, threads)| {
                let list: Vec<_> = servers.iter().map(|server| format!("'{server}'")).collect();
                let list = list.join(", ");
                let policy = format!("retries = {retries}\n{check}");
                let farm = match inline {
                    true => format!("[site.'a.test']\nto = [{list}]\n{policy}"),
                    false => format!("[site.'a.test']\nto = 'p'\n[pool.p]\nservers = [{list}]\n{policy}"),
                };
                farm + &threads.map(|threads| format!("[worker]\nthreads = {threads}\n")).unwrap_or_default()
            },
        )
    }

    proptest! {
        #[test]
        fn there_is_something_to_say_exactly_when_configurations_differ(from in any_config(), to in any_config()) {
            let (from, to) = (config(&from), config(&to));
            let lines = diff(&from, &to);
            prop_assert_eq!(lines.is_empty(), from.hash() == to.hash(), "{:?}", lines);
            prop_assert_eq!(lines.is_empty(), diff(&to, &from).is_empty());
        }
    }
}
