//! From the configuration as written to the configuration as used: every problem, or a [`Config`].

use super::file::{File, ListenTable, SiteTable, TcpTable};
use super::load::Units;
use super::merge::Merged;
use super::pools::Drafts;
use super::problem::Problem;
use super::report::Report;
use super::servers::To;
use super::table::Given;
use super::values::{Size, Whole};
use super::{Config, Drain, Listener, Log, Rate, Site, Tcp, Worker, address, rules};

/// Checks everything, each rule as far as it can go although others found something. `complete` says whether every
/// file could be parsed; without `units`, nothing is said of sockets.
///
/// The configuration is there when every value could be understood; a problem can refuse it all the same.
#[must_use]
pub fn check(merged: &Merged, complete: bool, units: Option<&Units>) -> (Option<Config>, Vec<Problem>) {
    let mut report = Report::new(merged, complete);
    let file = File::read(&merged.root, &mut report);
    rules::names(&file, &mut report);
    rules::addresses(&file, &mut report);
    rules::trust(&file, &mut report);
    rules::hosts(&file, &mut report);
    rules::limits(&file, &mut report);
    if let Some(units) = units {
        rules::sockets(&file, units.as_ref(), &mut report);
    }
    let pools = Drafts::collect(&file, &mut report);
    pools.check(&mut report);
    (build(&file, &pools), report.into_problems())
}

fn build(file: &File, pools: &Drafts<'_>) -> Option<Config> {
    let sites = file.site.iter().map(|(host, site)| self::site(host, &site.table.0, pools));
    let mut sites = sites.collect::<Option<Vec<_>>>()?;
    sites.sort_by(|one, other| one.host.cmp(&other.host));
    Some(Config {
        listeners: file.listen.iter().map(|(name, listen)| listener(name, &listen.table)).collect::<Option<_>>()?,
        sites,
        pools: pools.build()?,
        tcp: file.tcp.iter().map(|(name, tcp)| self::tcp(name, &tcp.table.0, pools)).collect::<Option<_>>()?,
        log: log(file)?,
        drain: drain(file)?,
        worker: worker(file)?,
    })
}

fn listener(name: &str, table: &ListenTable) -> Option<Listener> {
    Some(Listener {
        name: name.to_owned(),
        address: value(&table.address),
        max_connections: whole(&table.max_connections)?,
        header_timeout: value(&table.header_timeout)?,
        idle_timeout: value(&table.idle_timeout)?,
        body_timeout: value(&table.body_timeout)?,
        write_timeout: value(&table.write_timeout)?,
        half_close_timeout: value(&table.half_close_timeout),
        max_head: size(&table.max_head)?,
        max_target: size(&table.max_target)?,
        max_fields: whole(&table.max_fields)?,
        trusted_proxies: value(&table.trusted_proxies)?.into_iter().map(|net| net.value).collect(),
    })
}

fn site(host: &str, table: &SiteTable, pools: &Drafts<'_>) -> Option<Site> {
    let host = address::host_pattern(host).ok()?;
    let pool = match &table.to.as_ref()?.value {
        To::Pool(name) => pools.index(name)?,
        To::Servers(_) => pools.index(&host.to_string())?,
    };
    Some(Site { host, pool, max_body: size(&table.max_body)? })
}

fn tcp(name: &str, table: &TcpTable, pools: &Drafts<'_>) -> Option<Tcp> {
    let pool = match &table.to.as_ref()?.value {
        To::Pool(name) => pools.index(name)?,
        To::Servers(_) => pools.index(name)?,
    };
    let address = value(&table.listen);
    Some(Tcp { name: name.to_owned(), address, pool, max_connections: whole(&table.max_connections)? })
}

fn log(file: &File) -> Option<Log> {
    Some(Log {
        access: value(&file.log.access)?,
        slow: value(&file.log.slow)?,
        empty_connections: value(&file.log.empty_connections)?,
        refused: Rate { per_second: whole(&file.log.refused_rate)?, burst: whole(&file.log.refused_burst)? },
        others: match whole(&file.log.rate) {
            Some(per_second) => Some(Rate { per_second, burst: whole(&file.log.burst)? }),
            None => None,
        },
        user_agent: value(&file.log.user_agent)?,
        referer: value(&file.log.referer)?,
        request_id_in_response: value(&file.log.request_id_in_response)?,
    })
}

fn drain(file: &File) -> Option<Drain> {
    Some(Drain {
        timeout: value(&file.drain.timeout)?,
        stop_timeout: value(&file.drain.stop_timeout)?,
        generations: whole(&file.drain.generations)?,
        memory: value(&file.drain.memory)?,
        hurry_timeout: value(&file.drain.hurry_timeout)?,
    })
}

fn worker(file: &File) -> Option<Worker> {
    Some(Worker {
        threads: whole(&file.worker.threads),
        tcp_keep_alive: value(&file.worker.tcp_keep_alive)?.0,
        max_connections: whole(&file.worker.max_connections),
    })
}

/// What was given for a key.
pub(super) fn value<T: Clone>(given: &Option<Given<T>>) -> Option<T> {
    given.as_ref().map(|given| given.value.clone())
}

/// A number in the type that it has in the end; the ranges of the forms make it fit.
pub(super) fn whole<const MIN: u64, const MAX: u64, T: TryFrom<u64>>(
    given: &Option<Given<Whole<MIN, MAX>>>,
) -> Option<T> {
    given.as_ref().and_then(|given| T::try_from(given.value.0).ok())
}

fn size<const MIN: u64, const MAX: u64, T: TryFrom<u64>>(given: &Option<Given<Size<MIN, MAX>>>) -> Option<T> {
    given.as_ref().and_then(|given| T::try_from(given.value.0).ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::file::IMPLICIT_LISTENER;
    use super::super::{Access, Address, Balance, Check, CheckKind, HostPattern, ServerAddress};
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
        assert_eq!(config.sites, [Site { host: HostPattern::Any, pool: 0, max_body: 10 << 30 }]);
        let pool = &config.pools[0];
        assert_eq!((pool.name.as_str(), pool.balance, pool.retries), ("web-farm", Balance::RoundRobin, 3));
        let weights: Vec<_> = pool.servers.iter().map(|server| (server.weight, server.backup)).collect();
        assert_eq!(weights, [(1, false), (1, false), (2, false), (1, true)]);
        assert_eq!(pool.servers[2].address, ServerAddress::Name { host: "app".to_owned(), port: 80 });
        assert_eq!(pool.servers[3].address, ServerAddress::Fixed(Address::Unix("/run/b".into())));
        let kind = CheckKind::Http { method: "HEAD".to_owned(), path: "/index.php".to_owned(), host: None };
        let two = Duration::from_secs(2);
        assert_eq!(pool.check, Some(Check { kind, interval: two, timeout: two, rise: 2, fall: 3 }));
        assert_eq!(pool.connect_timeout, Duration::from_secs(5));
        assert_eq!(config.log.access, Access::All);
        assert_eq!(
            config.worker,
            Worker { threads: None, tcp_keep_alive: Some(Duration::from_secs(60)), max_connections: None }
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
