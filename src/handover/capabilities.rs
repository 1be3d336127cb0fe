//! Which connections a generation can take from another: those whose listener, site, pool and server it has too.

use serde::{Deserialize, Serialize};

use crate::config::{Config, ListenerSettings, PoolSettings, ServerSettings, SiteSettings, scheme};
use crate::control::message::Held;

/// The version of the messages between workers, part of [`Capabilities`]. The workers may come from different packages: no connection
/// moves between different versions. An addition without a change of the version must have a default.
pub const VERSION: u32 = 1;

/// What a generation has, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// [`VERSION`] of its messages.
    pub version: u32,
    /// The listeners that speak HTTP, as the supervisor holds them: a listener of the same name that is bound
    /// elsewhere is another one.
    http: Vec<Held>,
    /// The listeners that relay bytes as they come, each with the name of its pool.
    tcp: Vec<(Held, String)>,
    /// The host patterns of the sites, each with the name of its pool.
    sites: Vec<(String, String)>,
    /// The pools with the names of their servers.
    pools: Vec<(String, Vec<String>)>,
    /// The pools with the names of servers that the configuration has no more: it takes open exchanges with them, which end
    /// by themselves, but no tunnels.
    #[serde(default)]
    removed: Vec<(String, Vec<String>)>,
    /// The listeners that speak HTTP over TLS, as in `http`; apart from those, which an older generation would give its
    /// plaintext connections to.
    #[serde(default)]
    https: Vec<Held>,
    /// The host patterns of the sites with a certificate of their own.
    #[serde(default)]
    https_sites: Vec<String>,
    /// [`TLS`] of the connections that it takes; 0 when it takes none.
    #[serde(default)]
    tls: u32,
    /// The host patterns of the sites whose clients show certificates.
    #[serde(default)]
    client_rules: Vec<(String, ClientRule)>,
    /// The listeners that end TLS and relay what is in it, as in `tcp`; apart from those, as `https` is.
    #[serde(default)]
    tcp_tls: Vec<(Held, String)>,
    /// Of those, by name, whose clients show certificates.
    #[serde(default)]
    tcp_client_rules: Vec<(String, ClientRule)>,
    /// It takes private upstream connections together with their client connections.
    #[serde(default)]
    private: bool,
    /// [`EXCHANGES`] of the open exchanges that it takes; 0 when it takes none.
    #[serde(default)]
    exchanges: u32,
    /// [`SESSIONS`] of the connections of HTTP/2 that it takes; 0 when it takes none.
    #[serde(default)]
    sessions: u32,
    /// The listeners that speak HTTP/2.
    #[serde(default)]
    http2: Vec<String>,
    /// [`SERVER_TLS`] of the connections to servers that it takes; 0 when it takes none with TLS.
    #[serde(default)]
    server_tls: u32,
    /// It takes connections whose first message is still to come.
    #[serde(default)]
    accepted: bool,
}

/// What the clients of a site have to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRule {
    /// A hash of the authorities that issue their certificates.
    pub authorities: u64,
    /// Every client has to show one.
    pub required: bool,
}

impl ClientRule {
    /// Whether clients that came under the rule `before` are such that this one lets in. Revocation lists do not count:
    /// a generation looks at each certificate again that comes from another.
    fn holds_after(now: Option<Self>, before: Option<Self>) -> bool {
        match (before, now) {
            (_, None) => true,
            (None, Some(_)) => false, // its client was asked for none
            (Some(before), Some(now)) => now.authorities == before.authorities && (before.required || !now.required),
        }
    }
}

/// The version of the state of open exchanges: no exchange moves between different versions. A stage or a field that
/// changes what the others mean is another version, and so is a rule by which heads are refused that were taken before:
/// the head of an exchange that moves is read again.
const EXCHANGES: u32 = 1;

/// The version of the state of a connection of HTTP/2 and its streams, but for their exchanges: no connection moves between
/// different versions, and its client is told to go.
const SESSIONS: u32 = 1;

/// The version of the state of TLS connections: no connection with TLS moves between different versions.
const TLS: u32 = 1;

/// The version of the state of TLS connections to servers: what has one does not move between different versions.
const SERVER_TLS: u32 = 1;

/// The connections of one generation that another one can take. Indexes are those of the giving generation's names.
#[derive(Debug, PartialEq, Eq)]
pub struct Reach {
    listeners: Box<[bool]>,
    sites: Box<[bool]>,
    /// Those whose clients may come over TLS.
    tls_sites: Box<[bool]>,
    pools: Box<[Box<[Option<ReachedServer>]>]>,
    private: bool,
    exchanges: bool,
    sessions: Box<[bool]>,
    accepted: bool,
}

/// A server of a pool, there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReachedServer {
    Configured,
    /// The configuration there has it no more.
    Removed,
}

impl Capabilities {
    /// The names in this configuration; `held` are the sockets that it accepts on.
    #[must_use]
    pub fn new(config: &Config, held: &[Held]) -> Self {
        let of = |name: &str| held.iter().filter(|held| held.listener == name).cloned().collect::<Vec<_>>();
        let pool = |index: usize| config.pools[index].name.clone();
        let pools = |are_removed: bool| {
            let of_pool = |one: &PoolSettings| {
                let servers = one.servers.iter().filter(|server| server.removed.is_some() == are_removed);
                (one.name.clone(), servers.map(|server| server.name.clone()).collect())
            };
            config.pools.iter().map(of_pool).collect()
        };
        let tcp = |has_tls: bool| {
            let all = config.tcp.iter().filter(move |one| one.tls.is_some() == has_tls);
            all.flat_map(|one| of(&one.name).into_iter().map(|held| (held, pool(one.pool)))).collect::<Vec<_>>()
        };
        Self {
            version: VERSION,
            http: config.listeners.iter().filter(|one| !one.tls).flat_map(|one| of(&one.name)).collect(),
            tcp: tcp(false),
            tcp_tls: tcp(true),
            tcp_client_rules: Vec::new(),
            sites: config.sites.iter().map(|site| (site.host.to_string(), pool(site.pool))).collect(),
            https: config.listeners.iter().filter(|one| one.tls).flat_map(|one| of(&one.name)).collect(),
            https_sites: with_certificate(config).map(|site| site.host.to_string()).collect(),
            tls: TLS,
            client_rules: Vec::new(),
            pools: pools(false),
            removed: pools(true),
            private: true,
            exchanges: EXCHANGES,
            sessions: SESSIONS,
            server_tls: SERVER_TLS,
            accepted: true,
            http2: config
                .listeners
                .iter()
                .filter(|one| one.h2c || one.tls && one.h2)
                .map(|one| one.name.clone())
                .collect(),
        }
    }

    /// What `other` can take of this generation.
    #[must_use]
    pub fn reach(&self, config: &Config, other: &Self) -> Reach {
        let http = config.listeners.iter().map(|one| {
            let (own, theirs) = if one.tls { (&self.https, &other.https) } else { (&self.http, &other.http) };
            let mut own = own.iter().filter(|held| held.listener == one.name);
            (!one.tls || other.tls == TLS) && own.all(|held| theirs.contains(held))
        });
        let tcp = config.tcp.iter().map(|one| {
            let has_tls = one.tls.is_some();
            let (own, theirs) = if has_tls { (&self.tcp_tls, &other.tcp_tls) } else { (&self.tcp, &other.tcp) };
            let mut own = own.iter().filter(|(held, _)| held.listener == one.name);
            let rule =
                |of: &Self| of.tcp_client_rules.iter().find(|(name, _)| *name == one.name).map(|(_, rule)| *rule);
            let speaks = !has_tls || other.tls == TLS && ClientRule::holds_after(rule(other), rule(self));
            speaks && own.all(|held| theirs.contains(held))
        });
        let speaks = |one: &ListenerSettings| other.sessions == SESSIONS && other.http2.contains(&one.name);
        let of_pool = |pool: &PoolSettings| {
            let moves = |server: &str| !scheme(server).0.is_tls() || other.server_tls == SERVER_TLS;
            let has = |pools: &[(String, Vec<String>)], server: &String| {
                pools.iter().any(|(name, servers)| *name == pool.name && servers.contains(server)) && moves(server)
            };
            let reached = |server: &ServerSettings| match &server.name {
                name if has(&other.pools, name) => Some(ReachedServer::Configured),
                name if has(&other.removed, name) => Some(ReachedServer::Removed),
                _ => None,
            };
            pool.servers.iter().map(reached).collect()
        };
        Reach {
            listeners: http.chain(tcp).collect(),
            sites: self.sites.iter().map(|site| other.sites.contains(site)).collect(),
            tls_sites: config
                .sites
                .iter()
                .map(|site| other.has_tls_site(site) && self.same_clients(other, site))
                .collect(),
            pools: config.pools.iter().map(of_pool).collect(),
            private: other.private,
            exchanges: other.exchanges == EXCHANGES,
            sessions: config.listeners.iter().map(speaks).collect(),
            accepted: other.accepted,
        }
    }
}

impl Capabilities {
    /// The same, with what the clients of each site and of each TCP listener have to show.
    #[must_use]
    pub fn with_client_rules(
        self,
        config: &Config,
        of_sites: &[Option<ClientRule>],
        of_tcp: &[Option<ClientRule>],
    ) -> Self {
        let sites = config.sites.iter().zip(of_sites);
        let tcp = config.tcp.iter().zip(of_tcp);
        Self {
            client_rules: sites.filter_map(|(site, rule)| Some((site.host.to_string(), (*rule)?))).collect(),
            tcp_client_rules: tcp.filter_map(|(tcp, rule)| Some((tcp.name.clone(), (*rule)?))).collect(),
            ..self
        }
    }

    fn client_rule(&self, host: &str) -> Option<ClientRule> {
        self.client_rules.iter().find(|(own, _)| own == host).map(|(_, rule)| *rule)
    }

    /// Whether the clients of this site here are such that `other` lets in.
    fn same_clients(&self, other: &Self, site: &SiteSettings) -> bool {
        let host = site.host.to_string();
        ClientRule::holds_after(other.client_rule(&host), self.client_rule(&host))
    }

    /// Whether a client that asked for this site by TLS would get it here.
    fn has_tls_site(&self, site: &SiteSettings) -> bool {
        let host = site.host.to_string();
        match site.tls {
            Some(_) => self.https_sites.contains(&host),
            None => self.sites.iter().any(|(name, _)| *name == host),
        }
    }
}

fn with_certificate(config: &Config) -> impl Iterator<Item = &SiteSettings> {
    config.sites.iter().filter(|site| site.tls.is_some())
}

impl Reach {
    /// Whether the connection of a client that asked for this site by TLS can move.
    #[must_use]
    pub fn has_tls_site(&self, site: usize) -> bool {
        self.tls_sites.get(site).is_some_and(|there| *there)
    }

    /// Whether idle connections of this listener can move.
    #[must_use]
    pub fn has_listener(&self, listener: usize) -> bool {
        self.listeners.get(listener).is_some_and(|there| *there)
    }

    /// Whether connections of this listener can move whose first message is still to come.
    #[must_use]
    pub fn has_accepted(&self, listener: usize) -> bool {
        self.accepted && self.has_listener(listener)
    }

    /// Whether a tunnel of this listener, through this site to this server of the pool, can move.
    #[must_use]
    pub fn has_tunnel(&self, listener: usize, site: Option<usize>, pool: usize, server: usize) -> bool {
        let site = site.is_none_or(|site| self.sites.get(site).is_some_and(|there| *there));
        self.has_listener(listener) && site && self.has_server(pool, server)
    }

    /// Whether an open exchange of this listener can move: of this site, if one was found for it, and with its connection to
    /// this server of a pool, if it has one, also where the configuration has the server no more.
    #[must_use]
    pub fn has_exchange(&self, listener: usize, site: Option<usize>, server: Option<(usize, usize)>) -> bool {
        // a site that is there leads to a pool of the same name
        let site_leads = site.is_none_or(|site| self.sites.get(site).is_some_and(|there| *there));
        let has_server = server.is_none_or(|(pool, server)| self.server(pool, server).is_some());
        self.exchanges && self.has_listener(listener) && site_leads && has_server
    }

    /// Whether connections of HTTP/2 of this listener can move.
    #[must_use]
    pub fn has_session(&self, listener: usize) -> bool {
        self.has_listener(listener) && self.sessions.get(listener).is_some_and(|there| *there)
    }

    /// Whether a private upstream connection to this server of the pool can move.
    #[must_use]
    pub fn has_private(&self, pool: usize, server: usize) -> bool {
        self.private && self.has_server(pool, server)
    }

    /// Whether the pool has this server in the configuration there.
    #[must_use]
    pub fn has_server(&self, pool: usize, server: usize) -> bool {
        self.server(pool, server) == Some(ReachedServer::Configured)
    }

    fn server(&self, pool: usize, server: usize) -> Option<ReachedServer> {
        *self.pools.get(pool)?.get(server)?
    }

    /// The listeners whose connections stay.
    pub fn staying(&self) -> impl Iterator<Item = usize> {
        self.listeners.iter().enumerate().filter(|(_, there)| !**there).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
        [listen.http]
        [listen.more]
        address = "127.0.0.1:81"
        [site."*"]
        to = "farm"
        [site."app.test"]
        to = ["10.0.0.9:80"]
        [pool.farm]
        servers = ["10.0.0.1:80", "10.0.0.2:80"]
        [tcp.db]
        listen = "127.0.0.1:5432"
        to = ["10.0.0.5:5432"]
    "#;

    fn capabilities(text: &str) -> (Config, Capabilities) {
        let config = Config::from_toml(text).expect("good");
        let held = |name: &str, address: Option<&crate::config::Address>| Held {
            listener: name.to_owned(),
            bound: address.map(|address| crate::control::message::BindAddress::Unix(address.to_string().into())),
        };
        let http = config.listeners.iter().map(|one| held(&one.name, one.address.as_ref()));
        let tcp = config.tcp.iter().map(|one| held(&one.name, one.listen.as_ref()));
        let held: Vec<_> = http.chain(tcp).collect();
        let capabilities = Capabilities::new(&config, &held);
        (config, capabilities)
    }

    fn reach(new: &str) -> Reach {
        let (config, old) = capabilities(OLD);
        old.reach(&config, &capabilities(new).1)
    }

    /// Listeners in the order of the configuration: http, more, db. Sites: "*", "app.test", in the order of `Config`.
    fn site(config: &Config, host: &str) -> Option<usize> {
        config.sites.iter().position(|site| site.host.to_string() == host)
    }

    #[test]
    fn everything_moves_to_an_equal_generation() {
        let reach = reach(OLD);
        assert_eq!(reach.staying().count(), 0);
        let config = capabilities(OLD).0;
        let farm = config.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        assert!(reach.has_tunnel(0, site(&config, "*"), farm, 1));
    }

    #[test]
    fn connections_of_a_listener_that_is_gone_or_elsewhere_stay() {
        let gone = reach(&OLD.replace("[listen.more]\n        address = \"127.0.0.1:81\"", ""));
        assert_eq!(gone.staying().collect::<Vec<_>>(), [1]);
        let elsewhere = reach(&OLD.replace("127.0.0.1:81", "127.0.0.1:82"));
        assert_eq!(elsewhere.staying().collect::<Vec<_>>(), [1]);
        assert!(elsewhere.has_listener(0) && elsewhere.has_listener(2));
    }

    #[test]
    fn tunnels_to_a_server_that_is_gone_stay_and_those_beside_it_move() {
        let reach = reach(&OLD.replace("\"10.0.0.1:80\", ", ""));
        let config = capabilities(OLD).0;
        let farm = config.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        assert!(!reach.has_tunnel(0, site(&config, "*"), farm, 0));
        assert!(reach.has_tunnel(0, site(&config, "*"), farm, 1));
        assert!(reach.has_listener(0), "and idle connections too");
    }

    #[test]
    fn tunnels_of_a_site_that_leads_elsewhere_stay() {
        let reach = reach(&OLD.replace("to = \"farm\"", "to = [\"10.0.0.1:80\"]"));
        let config = capabilities(OLD).0;
        let farm = config.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        assert!(!reach.has_tunnel(0, site(&config, "*"), farm, 0));
    }

    #[test]
    fn private_connections_move_to_a_generation_that_takes_them_and_has_their_server() {
        let (config, old) = capabilities(OLD);
        let farm = config.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        assert!(reach(OLD).has_private(farm, 0));
        assert!(!reach(&OLD.replace("\"10.0.0.1:80\", ", "")).has_private(farm, 0));
        let mut older = serde_json::to_value(capabilities(OLD).1).expect("JSON");
        older.as_object_mut().expect("an object").remove("private");
        let older: Capabilities = serde_json::from_value(older).expect("a capabilities");
        assert!(!old.reach(&config, &older).has_private(farm, 0));
    }

    #[test]
    fn open_exchanges_move_to_a_generation_that_takes_them_in_this_state_and_has_their_server() {
        let (config, old) = capabilities(OLD);
        let farm = config.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        let any = site(&config, "*");
        assert!(reach(OLD).has_exchange(0, any, Some((farm, 0))));
        let gone = reach(&OLD.replace("\"10.0.0.1:80\", ", ""));
        assert!(!gone.has_exchange(0, any, Some((farm, 0))));
        assert!(gone.has_exchange(0, any, None), "it has a pool to be dispatched to");
        let elsewhere = reach(&OLD.replace("to = \"farm\"", "to = [\"10.0.0.1:80\"]"));
        assert!(!elsewhere.has_exchange(0, any, None));
        for exchanges in [None, Some(0), Some(EXCHANGES + 1)] {
            let mut other = serde_json::to_value(capabilities(OLD).1).expect("JSON");
            let fields = other.as_object_mut().expect("an object");
            fields.remove("exchanges");
            fields.extend(exchanges.map(|version| ("exchanges".to_owned(), version.into())));
            let other: Capabilities = serde_json::from_value(other).expect("capabilities");
            let reach = old.reach(&config, &other);
            let has_exchange = reach.has_exchange(0, any, Some((farm, 0))) || reach.has_exchange(0, any, None);
            assert!(!has_exchange && reach.has_tunnel(0, any, farm, 0), "{exchanges:?}");
        }
    }

    #[test]
    fn open_exchanges_move_with_a_server_that_was_removed_and_tunnels_do_not() {
        let (config, old) = capabilities(OLD);
        let (mut without, _) = capabilities(&OLD.replace("\"10.0.0.1:80\", ", ""));
        let farm = without.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        without.pools[farm].servers.extend(ServerSettings::removed("10.0.0.1:80", std::time::SystemTime::now()));
        let theirs = Capabilities { http: old.http.clone(), tcp: old.tcp.clone(), ..Capabilities::new(&without, &[]) };
        let (any, reach) = (site(&config, "*"), old.reach(&config, &theirs));
        let of_old = config.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        assert!(reach.has_exchange(0, any, Some((of_old, 0))) && reach.has_exchange(0, any, Some((of_old, 1))));
        assert!(!reach.has_tunnel(0, any, of_old, 0) && reach.has_tunnel(0, any, of_old, 1));
        assert!(!reach.has_server(of_old, 0) && !reach.has_private(of_old, 0), "no new request goes there");
        // and on to the next, whose removed server is the same
        let on = theirs.reach(&without, &theirs);
        assert!(on.has_exchange(0, site(&without, "*"), Some((farm, 1))) && !on.has_server(farm, 1));
    }

    #[test]
    fn connections_of_http_2_move_to_a_generation_whose_listener_speaks_it_and_that_takes_this_state() {
        let text = OLD.replace("[listen.http]", "[listen.http]\nh2c = true");
        let (config, old) = capabilities(&text);
        let reach = |other: &Capabilities| old.reach(&config, other);
        assert!(reach(&old).has_session(0) && !reach(&old).has_session(1) && !reach(&old).has_session(9));
        assert!(!reach(&capabilities(OLD).1).has_session(0));
        for sessions in [None, Some(0), Some(SESSIONS + 1)] {
            let mut other = serde_json::to_value(&old).expect("JSON");
            let fields = other.as_object_mut().expect("an object");
            fields.remove("sessions");
            fields.extend(sessions.map(|version| ("sessions".to_owned(), version.into())));
            let other: Capabilities = serde_json::from_value(other).expect("capabilities");
            assert!(!reach(&other).has_session(0) && reach(&other).has_listener(0), "{sessions:?}");
        }
    }

    #[test]
    fn connections_of_a_site_move_where_its_clients_have_to_show_no_more_than_they_did() {
        let text = "[site.'a.test']\nto = ['a:1']\ntls = '/x'\n";
        let (config, own) = capabilities(text);
        let rule = |authorities, required| Some(ClientRule { authorities, required });
        let moves = |before: Option<ClientRule>, now: Option<ClientRule>| {
            let [before, now] = [before, now].map(|rule| own.clone().with_client_rules(&config, &[rule], &[]));
            before.reach(&config, &now).has_tls_site(0)
        };
        for same in [None, rule(1, true), rule(1, false)] {
            assert!(moves(same, same) && moves(same, None));
        }
        assert!(moves(rule(1, true), rule(1, false)));
        let not = [
            (None, rule(1, false)),
            (None, rule(1, true)),
            (rule(1, false), rule(1, true)),
            (rule(1, true), rule(2, true)),
        ];
        assert!(not.iter().all(|(before, now)| !moves(*before, *now)));
    }

    #[test]
    fn connections_of_a_tcp_listener_move_where_tls_ends_as_before_and_clients_have_to_show_no_more() {
        let text = "[tcp.db]\nlisten = '127.0.0.1:5432'\nto = ['a:1']\n";
        let with_tls = format!("{text}tls = '/x'\n");
        let ((plain, of_plain), (tls, of_tls)) = (capabilities(text), capabilities(&with_tls));
        let db = 1; // after the listener that is there by itself
        assert!(of_plain.reach(&plain, &of_plain).has_listener(db) && of_tls.reach(&tls, &of_tls).has_listener(db));
        assert!(!of_plain.reach(&plain, &of_tls).has_listener(db) && !of_tls.reach(&tls, &of_plain).has_listener(db));
        let older = Capabilities { tcp_tls: Vec::new(), tcp_client_rules: Vec::new(), ..of_tls.clone() };
        let newer = Capabilities { tls: TLS + 1, ..of_tls.clone() };
        assert!([older, newer].iter().all(|other| !of_tls.reach(&tls, other).has_listener(db)));
        let rule = Some(ClientRule { authorities: 1, required: true });
        let asks = of_tls.clone().with_client_rules(&tls, &[], &[rule]);
        assert!(!of_tls.reach(&tls, &asks).has_listener(db), "its clients were asked for no certificate");
        assert!(asks.reach(&tls, &asks).has_listener(db) && asks.reach(&tls, &of_tls).has_listener(db));
    }

    #[test]
    fn what_has_tls_to_a_server_moves_to_a_generation_that_takes_that() {
        let text = OLD.replace("10.0.0.1:80", "https://10.0.0.1");
        let (config, old) = capabilities(&text);
        let farm = config.pools.iter().position(|pool| pool.name == "farm").expect("farm");
        let reach = old.reach(&config, &Capabilities { server_tls: SERVER_TLS, ..old.clone() });
        assert!(reach.has_server(farm, 0));
        for version in [0, SERVER_TLS + 1] {
            let reach = old.reach(&config, &Capabilities { server_tls: version, ..old.clone() });
            assert!(!reach.has_server(farm, 0) && reach.has_server(farm, 1), "{version}");
        }
    }

    #[test]
    fn an_unknown_index_moves_nothing() {
        let reach = reach(OLD);
        assert!(!reach.has_listener(9) && !reach.has_tunnel(0, Some(9), 0, 0) && !reach.has_tunnel(0, None, 9, 0));
    }
}
