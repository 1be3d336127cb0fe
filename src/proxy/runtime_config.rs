//! The runtime configuration of a generation: one immutable value that every thread shares.

use std::sync::Arc;
use std::time::SystemTime;

use crate::acme::challenges::Challenges;
use crate::config::{Config, DASHBOARD, TcpSettings};
use crate::observe::RecordBounds;
use crate::observe::record::RecordNames;
use crate::pool::Pool;
use crate::route::{Facts, HostTable};

use super::tls::{ServerTls, https_port};

/// The configuration, ready for traffic.
pub struct RuntimeConfig {
    /// The number of the generation.
    pub generation: u64,
    /// The configuration that it was made from.
    pub config: Config,
    /// Which site answers to which host.
    pub sites: HostTable,
    /// By TCP listener, which pool is for which host: the places of [`TcpSettings::routes`].
    sni_hosts: Vec<HostTable>,
    /// The pools, in the order of the configuration.
    pub pools: Vec<Arc<Pool>>,
    /// What the indexes of a record mean.
    pub names: Arc<RecordNames>,
    /// How many records there may be.
    pub bounds: RecordBounds,
    /// Whether a server is told of its clients by the PROXY protocol.
    pub sends_proxy: bool,
    /// TLS to clients; none while no listener speaks it.
    pub tls: Option<ServerTls>,
    /// Answers to the challenges of certificate authorities; none where no site has an automatic certificate.
    pub challenges: Option<Challenges>,
    /// The port to which clients without TLS are sent.
    pub https_port: Option<u16>,
    /// Where the status page is.
    dashboard: Option<DashboardRoute>,
}

/// The way of a request to the status page.
struct DashboardRoute {
    site: usize,
    path: String,
    pool: usize,
}

impl RuntimeConfig {
    /// What the configuration says, without TLS to clients or servers: that needs files.
    #[must_use]
    pub fn new(generation: u64, config: Config) -> Self {
        let now = SystemTime::now();
        let pools = config.pools.iter().map(|pool| Arc::new(Pool::new(pool.clone(), now))).collect();
        Self::with_tls(generation, config, None, pools)
    }

    /// What the configuration says, with TLS to clients as `tls` has it, and to servers as `pools` have it, one for each of
    /// the configuration. Listener indexes of the names are those of `config.listeners`, then of `config.tcp`.
    #[must_use]
    pub fn with_tls(generation: u64, config: Config, tls: Option<ServerTls>, pools: Vec<Arc<Pool>>) -> Self {
        let sites = HostTable::new(config.sites.iter().map(|site| &site.host));
        let sni_hosts = |tcp: &TcpSettings| HostTable::new(tcp.routes.iter().map(|(host, _)| host));
        let sni_hosts = config.tcp.iter().map(sni_hosts).collect();
        let listeners = config.listeners.iter().map(|listener| &listener.name);
        let names = RecordNames {
            listeners: listeners.chain(config.tcp.iter().map(|tcp| &tcp.name)).cloned().collect(),
            sites: config.sites.iter().map(|site| site.host.to_string()).collect(),
            pools: config
                .pools
                .iter()
                .map(|pool| (pool.name.clone(), pool.servers.iter().map(|server| server.name.clone()).collect()))
                .collect(),
        };
        let bounds = RecordBounds::new(&config.log);
        let sends_proxy = config.pools.iter().any(|pool| pool.send_proxy.is_some());
        let https_port = https_port(&config);
        let challenges = Challenges::of(&config);
        let names = Arc::new(names);
        let dashboard = config.dashboard.on.as_ref().and_then(|on| {
            let site = config.sites.iter().position(|site| site.host == on.host)?;
            let pool = config.pools.iter().position(|pool| pool.name == DASHBOARD)?;
            Some(DashboardRoute { site, path: on.path.clone(), pool })
        });
        Self {
            generation,
            config,
            sites,
            sni_hosts,
            pools,
            names,
            bounds,
            sends_proxy,
            tls,
            challenges,
            https_port,
            dashboard,
        }
    }

    /// The pool for a request to a site: its own, or that of the status page.
    #[must_use]
    pub fn pool_of_site(&self, site: usize, path: &[u8]) -> usize {
        match &self.dashboard {
            Some(dashboard) if dashboard.site == site && dashboard.has(path) => dashboard.pool,
            _ => self.config.sites[site].pool,
        }
    }

    /// Whether a pool is that of the status page.
    #[must_use]
    pub fn is_of_page(&self, pool: usize) -> bool {
        self.dashboard.as_ref().is_some_and(|dashboard| dashboard.pool == pool)
    }

    /// The pool for a client of this TCP listener that asks for this host, in lower case, by TLS.
    #[must_use]
    pub fn pool_of_tcp(&self, tcp: usize, host: Option<&str>) -> usize {
        let (settings, hosts) = (&self.config.tcp[tcp], &self.sni_hosts[tcp]);
        hosts.find(&Facts { host }).map_or(settings.pool, |place| settings.routes[place].1)
    }

    /// The site that a client means by the name in its handshake (SNI). One that names none means the site for every host,
    /// or the only one with a certificate.
    #[must_use]
    pub fn site_by_name(&self, name: Option<&str>) -> Option<usize> {
        let name = name.map(str::to_ascii_lowercase);
        let only = || {
            let mut with_tls = self.config.sites.iter().enumerate().filter(|(_, site)| site.tls.is_some());
            with_tls.next().filter(|_| with_tls.next().is_none()).map(|(index, _)| index)
        };
        let found = self.sites.find(&Facts { host: name.as_deref() });
        if name.is_some() { found } else { found.or_else(only) }
    }
}

impl DashboardRoute {
    /// Whether a path, with its query, is that of the page or below it.
    fn has(&self, path: &[u8]) -> bool {
        let rest = path.strip_prefix(self.path.as_bytes());
        rest.is_some_and(|rest| rest.first().is_none_or(|next| b"/?".contains(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_before_a_wildcard_and_a_longer_one_before_a_shorter_one() {
        let pools = ["app", "all", "deep", "rest"].map(|name| format!("[pool.{name}]\nservers = ['{name}:1']\n"));
        let routes = "'*.example.com' = 'all'\n'*.b.example.com' = 'deep'\n'App.Example.com' = 'app'\n";
        let text = format!("{}[tcp.x]\nlisten = ':1'\nto = 'rest'\n[tcp.x.sni]\n{routes}", pools.concat());
        let runtime = RuntimeConfig::new(1, Config::from_toml(&text).expect("good"));
        let of = |host| runtime.config.pools[runtime.pool_of_tcp(0, host)].name.as_str();
        for (host, want) in [
            (Some("app.example.com"), "app"),
            (Some("other.example.com"), "all"),
            (Some("a.b.example.com"), "deep"),
            (Some("b.example.com"), "all"),
            (Some("example.com"), "rest"),
            (Some("notexample.com"), "rest"),
            (None, "rest"),
        ] {
            assert_eq!(of(host), want, "{host:?}");
        }
    }
}
