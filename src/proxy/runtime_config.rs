//! The runtime configuration of a generation: one immutable value that every thread shares.

use std::sync::Arc;
use std::time::SystemTime;

use crate::acme::challenges::Challenges;
use crate::config::Config;
use crate::observe::RecordBounds;
use crate::observe::record::RecordNames;
use crate::pool::Pool;
use crate::route::{Facts, SiteTable};

use super::tls::{ServerTls, https_port};

/// The configuration, ready for traffic.
pub struct RuntimeConfig {
    /// The number of the generation.
    pub generation: u64,
    /// The configuration that it was made from.
    pub config: Config,
    /// Which site answers to which host.
    pub sites: SiteTable,
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
        let sites = SiteTable::new(&config.sites);
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
        Self { generation, config, sites, pools, names, bounds, sends_proxy, tls, challenges, https_port }
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
