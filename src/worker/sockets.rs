//! Which socket belongs to which listener of the configuration.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use socket2::SockRef;

use crate::config::{Address, Config, ListenerSettings, METRICS};
use crate::control::message::{BindAddress, Cause, Held, Refused, RenderedProblem};

/// The sockets of a generation.
#[derive(Debug, Default)]
pub struct Sockets {
    /// What is there, by listener.
    pub found: Vec<(Held, OwnedFd)>,
    /// What the supervisor must bind.
    pub missing: Vec<(String, BindAddress)>,
    /// What may surprise the administrator about it.
    pub warnings: Vec<String>,
    /// Sockets of units that belong to no listener.
    pub unused: Vec<Unused>,
}

/// An open socket of a unit to which clients connect, and on which no process accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The name that systemd passed it with.
    pub name: String,
    /// Its local address.
    pub address: String,
}

impl Sockets {
    /// Finds the sockets of every listener among those of the supervisor.
    ///
    /// A socket unit of the listener's name wins over the address in the configuration: the administrator of the
    /// machine decides where it is bound.
    ///
    /// A listener that has neither is a problem when another generation serves and continues. When this one is
    /// `alone`, as at a start, the other listeners are served without it: a socket unit that is not set up right yet
    /// must not close port 80.
    ///
    /// # Errors
    /// When a listener has neither, and this generation is not `alone` or no listener has a socket.
    pub fn choose(config: &Config, mut held: Vec<(Held, OwnedFd)>, alone: bool) -> Result<Self, Refused> {
        let mut sockets = Self::default();
        let mut problems = Vec::new();
        for (name, address) in wanted(config) {
            let of_unit = take(&mut held, |one| one.listener == name && one.bound.is_none() && name != METRICS);
            if !of_unit.is_empty() {
                sockets.found.extend(of_unit);
                let written = address.filter(|address| **address != HTTPS);
                sockets.warnings.extend(written.map(|address| overruled(name, address)));
                continue;
            }
            let Some(address) = address.map(bind_address) else {
                if !is_dispensable(config, name) {
                    problems.push(Nowhere::new(name, &idle(config, &held)));
                }
                continue;
            };
            let bound = take(&mut held, |one| one.listener == name && one.bound.as_ref() == Some(&address));
            if bound.is_empty() {
                sockets.missing.push((name.to_owned(), address));
            }
            sockets.found.extend(bound);
        }
        sockets.unused = unused(config, &held);
        let mut names =
            sockets.found.iter().map(|(held, _)| &held.listener).chain(sockets.missing.iter().map(|(name, _)| name));
        let others_are_served = names.any(|name| name != METRICS);
        if problems.is_empty() || alone && others_are_served {
            sockets.warnings.extend(problems.iter().map(Nowhere::warning));
            return Ok(sockets);
        }
        let problems = problems.iter().map(Nowhere::problem).collect();
        Err(Refused { cause: Cause::Config, problems })
    }
}

/// Every listener that has an address, and so may have to be bound.
#[must_use]
pub fn with_address(config: &Config) -> Vec<Held> {
    let with_address = wanted(config).filter_map(|(name, address)| Some((name.to_owned(), address?)));
    let held = |(listener, address)| Held { listener, bound: Some(bind_address(address)) };
    with_address.map(held).collect()
}

/// Why a listener could not be bound, and what to do about it.
#[must_use]
pub fn not_bound(name: &str, address: &BindAddress, reason: &str) -> RenderedProblem {
    let called = if name == METRICS { name.to_owned() } else { format!("listener {name}") };
    let brief = format!("{called} cannot be bound to {address}: {reason}");
    let help = match address {
        BindAddress::Ip(_) if reason.contains("denied") => {
            "ports below 1024 need CAP_NET_BIND_SERVICE, or a socket unit"
        }
        BindAddress::Ip(_) => "`ss -ltnp` shows who has a port, `ip address` which addresses there are",
        BindAddress::Unix(_) => {
            "the directory must exist and be writable for the user of the service, as /run/segue is"
        }
    };
    let text = format!("error: {brief}\n  = help: {help}\n");
    RenderedProblem { brief, text }
}

impl fmt::Display for Unused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address } = self;
        // Stopping the unit closes systemd's descriptor of the socket, and not the one of the service.
        let close = match name.as_str() {
            "http" | "https" => format!("`systemctl disable --now proxy-{name}.socket`"),
            _ => "`systemctl list-sockets` names its unit: `systemctl disable --now UNIT`".to_owned(),
        };
        writeln!(
            f,
            "warning: no listener serves the socket {name} ({address}) of systemd: its clients wait and get no answer\n  \
             = help: write `[listen.{}]` to serve it; to close it, {close}, then `systemctl restart proxy`",
            header_name(name)
        )
    }
}

fn overruled(name: &str, address: &Address) -> String {
    // The service starts proxy-http.socket with itself, unless that is masked.
    let way_out = match name {
        "http" => "`systemctl mask --now proxy-http.socket`".to_owned(),
        name => format!("disable the socket unit with FileDescriptorName={name}"),
    };
    format!(
        "warning: listener {name} has its socket from systemd, so `address = \"{address}\"` has no effect\n  \
         = help: remove the address, or {way_out} and restart the service\n"
    )
}

/// A listener has no socket.
struct Nowhere {
    brief: String,
    help: String,
}

impl Nowhere {
    /// The listener `name`, while systemd passed `idle`, which belongs to no listener.
    fn new(name: &str, idle: &[String]) -> Self {
        let only = if idle.is_empty() { String::new() } else { format!(", only {}", idle.join(" and ")) };
        let brief =
            format!("listener {name} has no socket: systemd passed none of this name{only}, and it has no address");
        let address = format!("write `address = \":8080\"` below `[listen.{}]`", header_name(name));
        let help = match (idle, name) {
            ([other, ..], _) => format!(
                "write `[listen.{}]`, the name that the socket has; or FileDescriptorName={name} into its unit; or {address}",
                header_name(other)
            ),
            // the units of the package: one that is not masked has failed, and its status has the reason
            ([], "http" | "https") => format!(
                "`systemctl status proxy-{name}.socket` says why the one with FileDescriptorName={name} is missing; or {address}"
            ),
            ([], _) => format!("{address}, or enable a socket unit with FileDescriptorName={name}"),
        };
        Self { brief, help }
    }

    fn problem(&self) -> RenderedProblem {
        let text = format!("error: {}\n  = help: {}\n", self.brief, self.help);
        RenderedProblem { brief: self.brief.clone(), text }
    }

    fn warning(&self) -> String {
        format!("warning: {}; the others are served without it\n  = help: {}\n", self.brief, self.help)
    }
}

/// A name as it is written in a header. By default a socket has that of its unit, with a dot in it.
fn header_name(name: &str) -> String {
    toml_edit::Key::new(name).display_repr().into_owned()
}

/// The listener `http` is in every configuration. One that has another, or that only relays TCP, does not need it.
fn is_dispensable(config: &Config, name: &str) -> bool {
    name == "http" && (config.listeners.len() > 1 || config.sites.is_empty() && !config.tcp.is_empty())
}

/// Every listener with the address to bind where systemd passes no socket; 443 is that of the listener `https` where it
/// has no other.
fn wanted(config: &Config) -> impl Iterator<Item = (&str, Option<&Address>)> {
    let default = |one: &ListenerSettings| (one.name == "https" && one.tls).then_some(&HTTPS);
    let http = config.listeners.iter().map(move |one| (one.name.as_str(), one.address.as_ref().or(default(one))));
    let metrics = config.metrics.on.iter().map(|address| (METRICS, Some(address)));
    http.chain(config.tcp.iter().map(|one| (one.name.as_str(), one.listen.as_ref()))).chain(metrics)
}

const HTTPS: Address = Address::Ip(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 443));

/// The names of sockets of units that belong to no listener.
fn idle(config: &Config, held: &[(Held, OwnedFd)]) -> Vec<String> {
    let of_units = held.iter().filter(|(one, _)| one.bound.is_none()).map(|(one, _)| &one.listener);
    let idle = of_units.filter(|name| wanted(config).all(|(listener, _)| listener != name.as_str()));
    let names: BTreeSet<&String> = idle.collect();
    names.into_iter().cloned().collect()
}

fn unused(config: &Config, held: &[(Held, OwnedFd)]) -> Vec<Unused> {
    let of_units = held.iter().filter(|(one, _)| one.bound.is_none());
    let unused = of_units.filter(|(one, _)| wanted(config).all(|(listener, _)| listener != one.listener));
    unused.map(|(one, socket)| Unused { name: one.listener.clone(), address: local_address(socket) }).collect()
}

/// The address of a listening socket as the configuration writes it; empty when the system does not tell it.
fn local_address(socket: &OwnedFd) -> String {
    let Ok(address) = SockRef::from(socket).local_addr() else { return String::new() };
    match (address.as_socket(), address.as_pathname(), address.as_abstract_namespace()) {
        (Some(ip), _, _) => ip.to_string(),
        (None, Some(path), _) => BindAddress::Unix(path.to_owned()).to_string(),
        (None, None, name) => format!("unix:@{}", String::from_utf8_lossy(name.unwrap_or_default())),
    }
}

fn take(held: &mut Vec<(Held, OwnedFd)>, which: impl Fn(&Held) -> bool) -> Vec<(Held, OwnedFd)> {
    let (taken, left) = std::mem::take(held).into_iter().partition(|(one, _)| which(one));
    *held = left;
    taken
}

fn bind_address(address: &Address) -> BindAddress {
    match address {
        Address::Ip(ip) => BindAddress::Ip(*ip),
        Address::Unix(path) => BindAddress::Unix(path.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::Sources;

    fn config(text: &str) -> Config {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("segue.toml");
        std::fs::write(&path, text).expect("write");
        Sources::read(&path, &[]).expect("read").check().config.expect("good")
    }

    fn held(name: &str, bound: Option<&str>) -> (Held, OwnedFd) {
        let held = Held {
            listener: name.to_owned(),
            bound: bound.map(|address| BindAddress::Ip(address.parse().expect("address"))),
        };
        (held, std::net::UdpSocket::bind("127.0.0.1:0").expect("socket").into())
    }

    #[test]
    fn a_configuration_of_tcp_alone_needs_no_socket_for_http() {
        let tcp = "[tcp.db]\nlisten = \"127.0.0.1:5432\"\nto = [\"10.0.0.1:5432\"]\n";
        let sockets = Sockets::choose(&config(tcp), Vec::new(), false).expect("chosen");
        assert_eq!(sockets.missing.len(), 1);
        let both = format!("{tcp}[site.\"*\"]\nto = [\"10.0.0.1:80\"]\n");
        assert!(Sockets::choose(&config(&both), Vec::new(), false).is_err());
    }

    #[test]
    fn sockets_of_a_unit_win_over_the_address() {
        let config = config("[listen.http]\naddress = \"127.0.0.1:8080\"\n");
        let passed = vec![held("other", None), held("http", None), held("http", None)];
        let sockets = Sockets::choose(&config, passed, false).expect("found");
        assert_eq!(sockets.found.len(), 2);
        assert!(sockets.missing.is_empty());
        let warning = &sockets.warnings[0];
        assert!(warning.contains("127.0.0.1:8080") && warning.contains("mask --now proxy-http.socket"), "{warning}");
    }

    #[test]
    fn a_socket_of_a_unit_that_no_listener_has_is_named_with_the_command_that_closes_it() {
        let tls = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = tls.local_addr().expect("address").to_string();
        let of_unit = (Held { listener: "https".to_owned(), bound: None }, tls.into());
        let passed = vec![held("http", None), of_unit, held("left", Some("127.0.0.1:9090"))];
        let sockets = Sockets::choose(&config("[listen.http]\n"), passed, false).expect("found");
        let [unused] = &sockets.unused[..] else { panic!("{:?}", sockets.unused) };
        assert_eq!((&unused.name[..], &unused.address), ("https", &address));
        let said = unused.to_string();
        assert!(said.contains("disable --now proxy-https.socket`, then `systemctl restart proxy`"), "{said}");
    }

    #[test]
    fn a_socket_bound_for_another_address_is_not_used() {
        let config = config("[listen.http]\naddress = \"127.0.0.1:8080\"\n");
        let sockets = Sockets::choose(&config, vec![held("http", Some("127.0.0.1:9090"))], false).expect("to bind");
        assert!(sockets.found.is_empty());
        assert_eq!(sockets.missing.len(), 1);
        let sockets = Sockets::choose(&config, vec![held("http", Some("127.0.0.1:8080"))], false).expect("found");
        assert_eq!((sockets.found.len(), sockets.missing.len()), (1, 0));
    }

    #[test]
    fn a_listener_without_socket_and_address_is_refused_with_a_way_out() {
        let refused = Sockets::choose(&config("[listen.http]\n"), Vec::new(), false).expect_err("nowhere");
        assert_eq!(refused.cause, Cause::Config);
        let text = &refused.problems[0].text;
        assert!(text.contains("FileDescriptorName=http") && text.contains("status proxy-http.socket"), "{text}");
    }

    #[test]
    fn a_generation_that_is_alone_serves_what_has_a_socket_and_says_what_has_none() {
        let config = config("[listen.http]\n[listen.9000]\n");
        let passed = || vec![held("http", None), held("proxy-9000.socket", None)];
        let sockets = Sockets::choose(&config, passed(), true).expect("port 80 stays open");
        assert_eq!(sockets.found.len(), 1);
        let [warning] = &sockets.warnings[..] else { panic!("{:?}", sockets.warnings) };
        assert!(warning.starts_with("warning: listener 9000 has no socket"), "{warning}");
        assert!(warning.contains("FileDescriptorName=9000"), "{warning}");
        assert!(Sockets::choose(&config, passed(), false).is_err(), "an older generation serves everything");
        assert!(Sockets::choose(&config, Vec::new(), true).is_err(), "nothing can be served");
    }

    #[test]
    fn a_socket_of_another_name_is_told_to_the_listener_that_has_none() {
        let passed = vec![held("web", None), held("web", None)];
        let refused = Sockets::choose(&config("[listen.http]\n"), passed, false).expect_err("nowhere");
        let text = &refused.problems[0].text;
        assert!(text.contains("only web,") && text.contains("write `[listen.web]`"), "{text}");
    }

    #[test]
    fn the_default_name_of_a_socket_is_shown_as_it_has_to_be_written() {
        let passed = || vec![held("web.socket", None)];
        let refused = Sockets::choose(&config("[listen.http]\n"), passed(), false).expect_err("nowhere");
        let unused = Unused { name: "web.socket".to_owned(), address: String::new() }.to_string();
        for text in [&refused.problems[0].text, &unused] {
            let header = text.split('`').nth(1).expect("a header");
            let sockets = Sockets::choose(&config(&format!("{header}\n")), passed(), false).expect("found");
            assert_eq!(sockets.found.len(), 1, "{text}");
        }
    }
}
