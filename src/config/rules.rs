//! Rules about several values together: names, addresses, hosts, limits, files.

use std::collections::{BTreeMap, HashMap};

use toml_edit::TableLike;

use super::acme::AcmeChallenge;
use super::address::{self, Address, HostPattern};
use super::file::{IMPLICIT_LISTENER, IMPLICIT_TLS_LISTENER, WrittenTables};
use super::merge::Merged;
use super::networks::TrustedProxy;
use super::problem::{FilePosition, Problem, Severity, quoted};
use super::problems::Problems;
use super::spot::Spot;
use super::tables::{DASHBOARD, METRICS};
use super::tls::{ClientVerify, SiteCertificate};
use super::units::show_size;

/// Names that can't stand in a socket unit, or stand twice.
pub fn names(written: &WrittenTables, problems: &mut Problems<'_>) {
    for (name, spot, ..) in listeners(written).filter(|(name, ..)| !is_descriptor_name(name) || *name == METRICS) {
        let message = format!("{} can't be the name of a listener", quoted(name));
        let help = match name == METRICS {
            true => "write another name: this is that of the socket of `[metrics]`",
            false => "1 to 255 ASCII characters without colon and control characters, as in FileDescriptorName=",
        };
        problems.error(spot, message, help);
    }
    for (name, (spot, _)) in &written.pool {
        if !is_short(name) || name.contains(char::is_control) || name == DASHBOARD {
            let message = format!("{} can't be the name of a pool", quoted(name));
            let help = match name == DASHBOARD {
                true => "write another name: this is that of the pool of the status page",
                false => "1 to 255 bytes without control characters",
            };
            problems.error(spot, message, help);
        }
    }
    for (name, (spot, _)) in &written.tcp {
        if let Some((other, _)) = written.listen.get(name) {
            let message = format!("there are two listeners named {}", quoted(name));
            let help = "a socket goes to the one listener with its name: give one of them another";
            problems.clash(spot, message, (other, "the other one"), help);
        }
    }
}

/// The rule of systemd for `FileDescriptorName=` (sd_listen_fds(3)); an empty name is none.
fn is_descriptor_name(name: &str) -> bool {
    is_short(name) && name.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b':')
}

fn is_short(name: &str) -> bool {
    (1..=255).contains(&name.len())
}

/// `"unix"` among the trusted proxies of a listener at an IP address: its clients never come over a unix socket.
pub fn trust(written: &WrittenTables, problems: &mut Problems<'_>) {
    for (spot, listen) in written.listen.values().filter(|(_, listen)| matches!(listen.address, Some(Address::Ip(_)))) {
        let Some(list) = problems.good(spot, "trusted_proxies") else { continue };
        let proxies = listen.trusted_proxies.iter().enumerate();
        for (index, _) in proxies.filter(|(_, proxy)| **proxy == TrustedProxy::Unix) {
            let message = "no client of this listener comes over a unix socket";
            let help = "take it out, and write the networks of the proxies, such as \"127.0.0.0/8\" for this machine";
            problems.warning(&list.index(index), message, help);
        }
    }
    let listen = written.listen.values().map(|(spot, listen)| (spot, listen.accept_proxy, &listen.trusted_proxies));
    let tcp = written.tcp.values().map(|(spot, (tcp, _))| (spot, tcp.accept_proxy, &tcp.trusted_proxies));
    for (spot, ..) in listen.chain(tcp).filter(|(_, accepts, trusted)| *accepts && trusted.is_empty()) {
        let message = "no proxy is trusted: no connection may begin with a header of the PROXY protocol";
        let help = "write `trusted_proxies = [\"10.0.0.0/8\"]` below it, with the networks of the proxies";
        problems.warning_at(spot, "accept_proxy", message, help);
    }
}

/// What to do about a key that means nothing without a certificate.
const BESIDE_TLS: &str = "write `tls = \"/etc/letsencrypt/live/app.example.com\"` beside it, or take it out";

/// Certificates that no client gets, listeners that have none, and keys that need one.
pub fn tls(written: &WrittenTables, problems: &mut Problems<'_>) {
    let has_listener = written.listen.values().any(|(_, listen)| listen.tls);
    // one that is wrong has a problem of its own
    let has_certificate = written.site.values().any(|(spot, _)| problems.spot(spot, "tls").is_some());
    for (spot, (site, _)) in written.site.values() {
        if !has_listener && site.tls.is_some() {
            let help = "`tls = true` in `[listen.https]`, which has port 443, or in another listener";
            problems.warning_at(spot, "tls", "no listener speaks TLS: no client gets this certificate", help);
        }
        if site.tls.is_none() && site.hsts.is_some() {
            let message = "a site without a certificate has no clients over TLS, which alone are told";
            problems.warning_at(spot, "hsts", message, BESIDE_TLS);
        }
        let message = "clients show certificates over TLS only, and this site has none of its own";
        let without = site.tls.is_none().then_some(message);
        client_keys(spot, without, site.client_crl.is_some(), site.client_verify, problems);
    }
    for (spot, (tcp, _)) in written.tcp.values() {
        let has_tls = problems.spot(spot, "tls").is_some();
        let without = (!has_tls).then_some("clients show certificates where TLS ends, and here it does not");
        client_keys(spot, without, tcp.client_crl.is_some(), tcp.client_verify, problems);
        if !has_tls && problems.spot(spot, "sni").is_none() {
            let help = "take it out, or write `tls = \"/etc/letsencrypt/live/app.example.com\"` beside it";
            problems.means_nothing(spot, "handshake_timeout", "without `tls` or `sni`", help);
        }
    }
    for (spot, _) in written.listen.values().filter(|(_, listen)| listen.tls && !has_certificate) {
        let help = "write `tls = \"/etc/letsencrypt/live/app.example.com\"` in a `[site.\"HOST\"]`";
        problems.error_at(spot, "tls", "no site has a certificate: no client could connect", help);
    }
}

/// The keys about certificates of clients: those that mean nothing without `client_ca`, and that one `without_tls`.
fn client_keys(
    table: &Spot,
    without_tls: Option<&str>,
    has_crl: bool,
    verify: ClientVerify,
    problems: &mut Problems<'_>,
) {
    let authorities = problems.spot(table, "client_ca");
    if let (Some(message), Some(spot)) = (without_tls, &authorities) {
        problems.error(spot, message, BESIDE_TLS);
    }
    let means_nothing = [("client_crl", has_crl), ("client_verify", verify == ClientVerify::Optional)];
    for (key, _) in means_nothing.into_iter().filter(|(_, is_set)| *is_set && authorities.is_none()) {
        let help = "write `client_ca = \"/etc/ssl/clients-ca.pem\"` beside it, or take it out";
        let message = format!("`{key}` means nothing without `client_ca`: no client is asked for a certificate");
        problems.error_at(table, key, message, help);
    }
}

/// Sites for which no certificate can be had automatically, and keys that need another one.
pub fn acme(written: &WrittenTables, problems: &mut Problems<'_>) {
    let (table, acme) = (&Spot::root().key("acme"), &written.rest.acme);
    for (host, (spot, (site, _))) in &written.site {
        if !site.tls.as_ref().is_some_and(SiteCertificate::is_automatic) {
            continue;
        }
        let (Some(spot), Ok(pattern)) = (problems.good(spot, "tls"), address::host_pattern(host)) else { continue };
        let (message, help) = match &pattern {
            HostPattern::Any => (
                "an automatic certificate needs a host name, and this site has none".to_owned(),
                "give each host a site of its own, or name the place of a certificate here",
            ),
            HostPattern::Exact(host) if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() => (
                format!("an automatic certificate needs a host name, and {host} is an address"),
                "give the site the name of this machine, or name the place of a certificate here",
            ),
            HostPattern::Exact(host) if !host.contains('.') => (
                format!("no certificate authority issues a certificate for {}: it is no name of the DNS", quoted(host)),
                "give the site the whole name, as in app.example.com, or name the place of a certificate here",
            ),
            HostPattern::Suffix(_) if acme.challenge != AcmeChallenge::Dns01 => (
                format!(
                    "a certificate for {} needs the challenge dns-01 (RFC 8555 §7.1.3)",
                    quoted(&pattern.to_string())
                ),
                "set `challenge` of `[acme]` to dns-01, with a command as `dns_hook`; or name the place of a certificate here",
            ),
            _ => continue,
        };
        problems.error(&spot, message, help);
    }
    let is_dns = acme.challenge == AcmeChallenge::Dns01;
    for (key, is_given, other, example) in [
        ("eab_kid", acme.eab_kid.is_some(), "eab_key", "/etc/segue/eab.key"),
        ("eab_key", acme.eab_key.is_some(), "eab_kid", "kid-1"),
        ("challenge", is_dns, "dns_hook", "/usr/local/bin/dns-hook"),
    ] {
        if is_given && problems.spot(table, other).is_none() {
            let help = format!("write `{other} = \"{example}\"` beside it");
            problems.error_at(table, key, format!("`{key}` needs `{other}`"), help);
        }
    }
    if !is_dns && acme.dns_hook.is_some() {
        let help = "write `challenge = \"dns-01\"` beside it, or take it out";
        problems.warning_at(table, "dns_hook", "it has no effect: the challenge is another one", help);
    }
}

/// The listeners of both kinds: name, header, address, and the key of that.
fn listeners(written: &WrittenTables) -> impl Iterator<Item = (&str, &Spot, Option<&Address>, &'static str)> {
    let listen =
        written.listen.iter().map(|(name, (spot, one))| (name.as_str(), spot, one.address.as_ref(), "address"));
    listen
        .chain(written.tcp.iter().map(|(name, (spot, (tcp, _)))| (name.as_str(), spot, tcp.listen.as_ref(), "listen")))
}

/// Addresses that can't be bound together.
pub fn addresses(written: &WrittenTables, problems: &mut Problems<'_>) {
    let metrics = Spot::root().key("metrics");
    let of_metrics = (METRICS, &metrics, written.rest.metrics.on.as_ref(), "on");
    let given = listeners(written)
        .chain([of_metrics])
        .filter_map(|(name, table, address, key)| Some((name, address?, problems.spot(table, key)?)));
    let mut all: Vec<_> = given.collect();
    // Of two that clash, the problem is with the later one.
    all.sort_by_cached_key(|(.., spot)| problems.order(spot));
    for (index, (_, address, spot)) in all.iter().enumerate() {
        if matches!(address, Address::Ip(ip) if ip.port() == 0) {
            let message = "the port 0 lets the kernel pick another one at each start";
            problems.warning(spot, message, "write a port from 1 to 65535");
        }
        if let Some((name, other, first)) = all[..index].iter().find(|(_, other, _)| address::overlap(address, other)) {
            let called = if *name == METRICS { name.to_string() } else { format!("the listener {}", quoted(name)) };
            let message = match address == other {
                true => format!("{called} has this address already"),
                false => format!("the address of {called} takes this one too"),
            };
            let help = "give one of them another port, or another address of this machine";
            problems.clash(spot, message, (first, "it is taken here"), help);
        }
    }
}

/// A status page on no site, without users, or with passwords that can be read on the way.
pub fn dashboard(written: &WrittenTables, problems: &mut Problems<'_>) {
    let (table, dashboard) = (&Spot::root().key("dashboard"), &written.rest.dashboard);
    let Some(on) = &dashboard.on else {
        let help = "write where it is, as in `on = \"*/lb\"`";
        let key = if dashboard.users_file.is_some() { "users_file" } else { "users" };
        return problems.warning_at(table, key, "there is no page to log in to", help);
    };
    let Some(spot) = problems.good(table, "on") else { return };
    let is_it = |host: &str| address::host_pattern(host).is_ok_and(|pattern| pattern == on.host);
    let site = written.site.iter().find(|(host, _)| is_it(host));
    let Some((_, (_, (site, _)))) = site else {
        let message = format!("there is no site {} for the page", quoted(&on.host.to_string()));
        let help = format!("write `[site.{}]`, or the host of a site that there is", quoted(&on.host.to_string()));
        return problems.error(&spot, message, help);
    };
    if dashboard.users.is_empty() && dashboard.users_file.is_none() {
        let help = "`segue password NAME` prints a line for `users`";
        problems.error(&spot, "the page has no user, so it lets none in", help);
    }
    let is_local = |address: &Address| match address {
        Address::Ip(ip) => ip.ip().to_canonical().is_loopback(),
        Address::Unix(_) => true,
    };
    let is_far = listeners(written).any(|(.., address, key)| key == "address" && !address.is_some_and(is_local));
    if site.tls.is_none() && is_far {
        let message = "the passwords of the page go over the network without TLS";
        problems.warning(&spot, message, "give its site `tls`, or serve it on a listener of 127.0.0.1 alone");
    }
}

/// Texts that are no host, and hosts that two sites have.
pub fn hosts(written: &WrittenTables, problems: &mut Problems<'_>) {
    let mut seen = HashMap::new();
    let mut sites: Vec<_> = written.site.iter().map(|(host, (spot, _))| (host, spot)).collect();
    sites.sort_by_cached_key(|(_, spot)| problems.order(spot));
    for (host, spot) in sites {
        let pattern = match address::host_pattern(host) {
            Ok(pattern) => pattern,
            Err(fault) => {
                let message = format!("{} can't be the host of a site: {}", quoted(host), fault.why);
                let help = || "write a host name, `*.example.com`, or `*` for every host".to_owned();
                problems.error(spot, message, fault.help.unwrap_or_else(help));
                continue;
            }
        };
        if ["_", "default", "any", "all"].contains(&host.to_ascii_lowercase().as_str()) {
            let message = format!("{} is the name of one host, like any other", quoted(host));
            problems.warning(spot, message, "write `[site.\"*\"]` for every host that no other site answers");
        }
        if let Some(first) = seen.insert(pattern, spot) {
            let message = format!("the host {} has a site already", quoted(host));
            let help = "case and a dot at the end make no difference: put the keys of both into one";
            problems.clash(spot, message, (first, "this one"), help);
        }
    }
    // A configuration with TCP listeners and without a written HTTP listener needs no site.
    let wants_http = written.tcp.is_empty() || written.listen.values().any(|(spot, _)| problems.is_given(spot));
    if written.site.is_empty() && wants_http && problems.complete && problems.refusing() == 0 {
        let message = "no site: every request is answered 503, GET and HEAD with the welcome page";
        let help = "write `[site.\"*\"]` and below it `to = [\"10.0.0.11:80\"]`";
        problems.found.push(Problem { key: "site".to_owned(), ..Problem::new(Severity::Warning, message, help) });
    }
}

/// Listeners with two sockets, or with none. `units` are the socket units of the service, by the name of their socket;
/// none where the service is not installed.
pub fn sockets(written: &WrittenTables, units: Option<&BTreeMap<String, String>>, problems: &mut Problems<'_>) {
    for (name, spot, address, key) in listeners(written) {
        let address = address.and_then(|_| problems.spot(spot, key));
        match (units.and_then(|units| units.get(name)), address) {
            _ if !problems.is_given(spot) => {}
            (Some(unit), Some(address)) => {
                // the service starts this one with itself, unless it is masked
                let verb = if unit == "proxy-http.socket" { "mask" } else { "disable" };
                let message = format!("`{key}` has no effect: the listener {} has the socket of {unit}", quoted(name));
                let help = format!("take the line out; or `systemctl {verb} --now {unit}`, and restart the service");
                problems.warning(&address.at_key(), message, help);
            }
            (None, None) if !has_port(written, name) && !problems.are_about(spot, key) => {
                let message = format!("nothing to listen on, unless systemd passes a socket named {}", quoted(name));
                let help =
                    format!("write `{key} = \":8080\"` below it, or FileDescriptorName={name} into a socket unit");
                problems.warning(spot, message, help);
            }
            _ => {}
        }
    }
}

/// Whether the listener has a port without an address: 80 from its socket unit, 443 with a certificate.
fn has_port(written: &WrittenTables, name: &str) -> bool {
    let speaks_tls = written.listen.get(name).is_some_and(|(_, listen)| listen.tls);
    name == IMPLICIT_LISTENER || name == IMPLICIT_TLS_LISTENER && speaks_tls
}

/// Limits that can never be reached because of other limits.
pub fn limits(written: &WrittenTables, problems: &mut Problems<'_>) {
    for (spot, listen) in written.listen.values().filter(|(_, listen)| listen.max_target > listen.max_head) {
        let [head, target] = ["max_head", "max_target"].map(|key| problems.spot(spot, key));
        if [&head, &target].into_iter().flatten().any(|spot| problems.is_wrong(spot)) {
            continue;
        }
        let (above, below) = (show_size(listen.max_head as u64), show_size(listen.max_target as u64));
        let message = match target {
            Some(_) => format!("`max_target` is above `max_head`, {above}"),
            None => format!("`max_head` is below `max_target`, {below}"),
        };
        let help = "the target is a part of the head and can never be so long: change one";
        problems.warning(&target.or(head).unwrap_or_else(|| spot.clone()), message, help);
    }
}

/// Keys that one file of `conf.d` sets and a later one sets again: allowed, and seldom intended.
pub fn overridden(merged: &Merged, main: &str) -> Vec<Problem> {
    let mut seen: HashMap<String, FilePosition> = HashMap::new();
    let mut problems = Vec::new();
    for file in merged.files.iter().filter(|file| file.file != main) {
        for spot in leaves(file.document.as_table(), &Spot::root()) {
            let (key, Some(place)) = (spot.to_string(), file.place(&spot)) else { continue };
            if let Some(first) = seen.insert(key.clone(), place.clone()) {
                let message = format!("`{key}` is set in {} too; this file is later, and wins", first.file);
                let (place, other) = (Some(place), Some(("set here first".to_owned(), first)));
                problems.push(Problem {
                    key,
                    place,
                    other,
                    ..Problem::new(Severity::Warning, message, "keep one of them")
                });
            }
        }
    }
    problems
}

/// Every key below `table`, which is at `spot`.
fn leaves(table: &dyn TableLike, spot: &Spot) -> Vec<Spot> {
    let below = table.iter().flat_map(|(key, item)| {
        let spot = spot.key(key).at_key();
        item.as_table_like().map_or_else(|| vec![spot.clone()], |table| leaves(table, &spot))
    });
    below.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptor_names_are_those_of_systemd() {
        assert!(is_descriptor_name("http"));
        assert!(is_descriptor_name(&"x".repeat(255)));
        for bad in ["", "a:b", "a\tb", "ü", &"x".repeat(256)] {
            assert!(!is_descriptor_name(bad), "{bad:?}");
        }
    }
}
