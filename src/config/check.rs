//! From the configuration as written to the configuration as used: every problem, or a [`Config`].

use std::collections::BTreeMap;

use super::file::WrittenTables;
use super::merge::Merged;
use super::pools::Pools;
use super::problem::Problem;
use super::problems::Problems;
use super::servers::Destination;
use super::tables::{Config, ListenerSettings, SiteSettings, TcpSettings};
use super::{address, rules};

/// The socket units of the service, by the name that their socket has (`FileDescriptorName=`); none where the service is
/// not installed.
pub type Units = Option<BTreeMap<String, String>>;

/// Checks everything. Each rule goes on after a problem that another one found. `complete`: every file could be parsed.
/// Without `units`, sockets are not checked.
///
/// There is a configuration when no problem refuses it.
pub fn check(merged: &Merged, complete: bool, units: Option<&Units>) -> (Option<Config>, Vec<Problem>) {
    let mut problems = Problems::new(merged, complete);
    let written = WrittenTables::read(&mut problems);
    for rule in [
        rules::names,
        rules::addresses,
        rules::trust,
        rules::tls,
        rules::hosts,
        rules::acme,
        rules::dashboard,
        rules::limits,
    ] {
        rule(&written, &mut problems);
    }
    if let Some(units) = units {
        rules::sockets(&written, units.as_ref(), &mut problems);
    }
    let pools = Pools::collect(&written, &mut problems);
    pools.check(&mut problems);
    let config = if problems.refusing() == 0 { build(&written, &pools) } else { None };
    (config, problems.found)
}

/// None for a name that leads nowhere, which is a problem, except where a file could not be parsed.
fn build(written: &WrittenTables, pools: &Pools<'_>) -> Option<Config> {
    let listeners =
        written.listen.iter().map(|(name, (_, one))| ListenerSettings { name: name.clone(), ..one.clone() });
    let sites = written.site.iter().map(|(host, (_, (site, _)))| {
        let host = address::host_pattern(host).ok()?;
        Some(SiteSettings { pool: pools.index(&site.to, &host.to_string())?, host, ..site.clone() })
    });
    let mut sites = sites.collect::<Option<Vec<_>>>()?;
    sites.sort_by(|one, other| one.host.cmp(&other.host));
    let tcp = written.tcp.iter().map(|(name, (_, (tcp, _)))| {
        let routes = tcp.sni.iter().flat_map(|sni| sni.0.clone());
        let routes = routes.map(|(host, pool)| Some((host, pools.index(&Destination::Pool(pool), name)?)));
        let routes = routes.collect::<Option<_>>()?;
        Some(TcpSettings { pool: pools.index(&tcp.to, name)?, routes, name: name.clone(), ..tcp.clone() })
    });
    Some(Config {
        listeners: listeners.collect(),
        sites,
        pools: pools.build(),
        tcp: tcp.collect::<Option<_>>()?,
        ..written.rest.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::file::IMPLICIT_LISTENER;
    use super::super::tables::WorkerSettings;
    use super::super::{Access, Address, Balance, CheckKind, ClientVerify, Destination, HostPattern, ServerAddress};
    use super::*;

    #[test]
    fn the_web_farm_of_2011_comes_out_whole() {
        let config = Config::from_toml(
            "[site.\"*\"]\nto = \"web-farm\"\n[pool.web-farm]\n\
             servers = [\"10.0.0.11:80\", \"10.0.0.12:80\", { address = \"app:80\", weight = 2 }]\n\
             check = \"HEAD /index.php\"\nbackup = ['unix:/run/b']\n",
        )
        .expect("good");
        assert_eq!(config.listeners.len(), 1);
        assert_eq!((config.listeners[0].name.as_str(), &config.listeners[0].address), (IMPLICIT_LISTENER, &None));
        let to = Destination::Pool("web-farm".to_owned());
        assert_eq!(
            config.sites,
            [SiteSettings {
                host: HostPattern::Any,
                pool: 0,
                to,
                tls: None,
                client_ca: None,
                client_crl: None,
                client_verify: ClientVerify::Required,
                https_redirect: true,
                hsts: None,
                max_body: 10 << 30
            }]
        );
        let pool = &config.pools[0];
        assert_eq!((pool.name.as_str(), pool.balance, pool.retries), ("web-farm", Balance::RoundRobin, 3));
        let weights: Vec<_> = pool.servers.iter().map(|server| (server.weight, server.backup)).collect();
        assert_eq!(weights, [(1, false), (1, false), (2, false), (1, true)]);
        assert_eq!(pool.servers[2].address, ServerAddress::Name { host: "app".to_owned(), port: 80 });
        assert_eq!(pool.servers[3].address, ServerAddress::Fixed(Address::Unix("/run/b".into())));
        let kind = CheckKind::Http { method: "HEAD".to_owned(), path: "/index.php".to_owned() };
        let two = Duration::from_secs(2);
        assert_eq!((&pool.check, pool.check_interval, pool.check_timeout), (&Some(kind), two, two));
        assert_eq!((pool.rise, pool.fall, &pool.check_host), (2, 3, &None));
        assert_eq!(pool.connect_timeout, Duration::from_secs(5));
        assert_eq!(config.log.access, Access::All);
        assert_eq!(
            config.worker,
            WorkerSettings { threads: None, tcp_keep_alive: Some(Duration::from_secs(60)), max_connections: None }
        );
    }

    #[test]
    fn nothing_at_all_is_a_configuration_with_one_listener() {
        let config = Config::from_toml("").expect("good");
        assert_eq!((config.listeners.len(), config.sites.len(), config.pools.len()), (1, 0, 0));
    }

    #[test]
    fn servers_in_place_make_a_pool_named_after_their_owner() {
        let config = Config::from_toml(
            "[site.'B.Example.']\nto = ['a:1']\nretries = 0\n[site.a]\nto = 'z'\n[pool.z]\nservers = ['z:1']\n\
             [tcp.db]\nto = ['d:1']\nlisten = ':5432'\nbalance = 'least-connections'\n",
        )
        .expect("good");
        let names: Vec<_> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(names, ["b.example", "db", "z"]);
        assert_eq!(config.sites.iter().map(|site| site.pool).collect::<Vec<_>>(), [2, 0]);
        assert_eq!((config.tcp[0].pool, config.pools[1].balance), (1, Balance::LeastConnections));
        assert_eq!(config.pools[0].retries, 0);
    }
}
