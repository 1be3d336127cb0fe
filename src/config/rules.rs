//! Rules that look at several values together: names, addresses, hosts, limits, files.

use std::collections::{BTreeMap, HashMap};

use toml_edit::TableLike;

use super::file::{File, IMPLICIT_LISTENER};
use super::merge::{Merged, Parsed};
use super::problem::{Place, Problem, Severity};
use super::report::{Report, quoted};
use super::spot::Spot;
use super::table::Given;
use super::{Address, TrustedProxy, address, units};

/// Names that can stand in a socket unit, and only once.
pub fn names(file: &File, report: &mut Report<'_>) {
    let listen = file.listen.iter().map(|(name, listen)| (name, &listen.spot));
    let tcp = file.tcp.iter().map(|(name, tcp)| (name, &tcp.spot));
    for (name, spot) in listen.chain(tcp).filter(|(name, _)| !is_descriptor_name(name)) {
        report
            .error(spot, format!("{} can't be the name of a listener", quoted(name)))
            .help("1 to 255 ASCII characters without colon and control characters, as in FileDescriptorName=");
    }
    for (name, pool) in &file.pool {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
            report
                .error(&pool.spot, format!("{} can't be the name of a pool", quoted(name)))
                .help("1 to 255 bytes without control characters");
        }
    }
    for (name, tcp) in &file.tcp {
        if let Some(listen) = file.listen.get(name) {
            let message = format!("there are two listeners named {}", quoted(name));
            report
                .clash(&tcp.spot, message, &listen.spot, "the other one")
                .help("a socket goes to the one listener with its name: give one of them another");
        }
    }
}

/// `"unix"` among the trusted proxies of a listener at an address of the network: no client of it comes that way.
pub fn trust(file: &File, report: &mut Report<'_>) {
    for listen in file.listen.values() {
        let is_tcp = listen.table.address.as_ref().is_some_and(|given| matches!(given.value, Address::Ip(_)));
        let trusted = listen.table.trusted_proxies.iter().flat_map(|given| &given.value);
        for given in trusted.filter(|given| is_tcp && given.value == TrustedProxy::Unix) {
            report
                .warning(&given.spot, "no client of this listener comes over a unix socket")
                .help("take it out, and write the networks of the proxies, such as \"127.0.0.0/8\" for this machine");
        }
    }
}

/// Addresses that can't be bound together.
pub fn addresses(file: &File, report: &mut Report<'_>) {
    let listen = file.listen.iter().filter_map(|(name, listen)| Some((name, listen.table.address.as_ref()?)));
    let tcp = file.tcp.iter().filter_map(|(name, tcp)| Some((name, tcp.table.0.listen.as_ref()?)));
    let mut all: Vec<(&String, &Given<Address>)> = listen.chain(tcp).collect();
    // Of two that clash, the one further down is to be changed.
    all.sort_by_cached_key(|(_, given)| report.order(&given.spot));
    for (index, (_, given)) in all.iter().enumerate() {
        if matches!(given.value, Address::Ip(ip) if ip.port() == 0) {
            report
                .warning(&given.spot, "the port 0 lets the kernel pick another one at each start")
                .help("write a port from 1 to 65535");
        }
        let before = &all[..index];
        if let Some((name, other)) = before.iter().find(|(_, other)| address::overlap(&given.value, &other.value)) {
            let message = match given.value == other.value {
                true => format!("the listener {} has this address already", quoted(name)),
                false => format!("the address of the listener {} takes this one too", quoted(name)),
            };
            report
                .clash(&given.spot, message, &other.spot, "it is taken here")
                .help("give one of them another port, or another address of this machine");
        }
    }
}

/// Hosts that are none, or that two sites claim.
pub fn hosts(file: &File, report: &mut Report<'_>) {
    let mut seen = HashMap::new();
    let mut sites: Vec<_> = file.site.iter().collect();
    sites.sort_by_cached_key(|(_, site)| report.order(&site.spot));
    for (host, site) in sites {
        match address::host_pattern(host) {
            Ok(pattern) => {
                if ["_", "default", "any", "all"].contains(&host.to_ascii_lowercase().as_str()) {
                    report
                        .warning(&site.spot, format!("{} is the name of one host, like any other", quoted(host)))
                        .help("write `[site.\"*\"]` for every host that no other site answers");
                }
                if let Some(first) = seen.insert(pattern, &site.spot) {
                    report
                        .clash(&site.spot, format!("the host {} has a site already", quoted(host)), first, "this one")
                        .help("case and a dot at the end make no difference: put the keys of both into one");
                }
            }
            Err(fault) => {
                let problem =
                    report.error(&site.spot, format!("{} can't be the host of a site: {fault}", quoted(host)));
                problem.help(match fault {
                    address::HostError::Url(instead)
                    | address::HostError::Port(instead)
                    | address::HostError::Brackets(instead)
                    | address::HostError::Star { instead: Some(instead) } => {
                        format!("write `[site.{}]`", quoted(&instead))
                    }
                    address::HostError::Several { first } => {
                        format!("write `[site.{}]`, and a table like it for each other one", quoted(&first))
                    }
                    _ => "write a host name, `*.example.com`, or `*` for every host".to_owned(),
                });
            }
        }
    }
    // Who has TCP listeners alone, and wrote no HTTP listener, wants no site.
    let wants_http = file.tcp.is_empty() || file.listen.values().any(|listen| report.is_given(&listen.spot));
    if file.site.is_empty() && wants_http && report.complete && !report.refuses() {
        let mut problem = Problem::new(
            Severity::Warning,
            "site",
            "no site: every request is answered 503, GET and HEAD with the welcome page",
        );
        problem.help("write `[site.\"*\"]` and below it `to = [\"10.0.0.11:80\"]`");
        report.general(problem);
    }
}

/// Listeners that have two places to listen on, or none. `units` are the socket units of the service, by the name of
/// their socket; none where the service is not installed.
pub fn sockets(file: &File, units: Option<&BTreeMap<String, String>>, report: &mut Report<'_>) {
    let listen = file.listen.iter().map(|(name, one)| (name, one.table.address.as_ref(), &one.spot, "address"));
    let tcp = file.tcp.iter().map(|(name, one)| (name, one.table.0.listen.as_ref(), &one.spot, "listen"));
    let all: Vec<_> = listen.chain(tcp).filter(|(.., spot, _)| report.is_given(spot)).collect();
    for (name, address, spot, key) in all {
        let unit = units.and_then(|units| units.get(name));
        match (unit, address) {
            (Some(unit), Some(address)) => {
                let way_out = match unit.as_str() {
                    // the service starts it with itself, which only a mask keeps it from
                    "proxy-http.socket" => format!("`systemctl mask --now {unit}`"),
                    unit => format!("`systemctl disable --now {unit}`"),
                };
                let message = format!("`{key}` has no effect: the listener {} has the socket of {unit}", quoted(name));
                report
                    .warning(&address.spot.clone().at_key(), message)
                    .help(format!("take the line out; or {way_out}, and restart the service"));
            }
            (None, None) if name != IMPLICIT_LISTENER && !report.was_about(spot, key) => {
                let message = format!("nothing to listen on, unless systemd passes a socket named {}", quoted(name));
                report.warning(spot, message).help(format!(
                    "write `{key} = \":8080\"` below it, or FileDescriptorName={name} into a socket unit"
                ));
            }
            _ => {}
        }
    }
}

/// Limits that other limits make useless.
pub fn limits(file: &File, report: &mut Report<'_>) {
    for listen in file.listen.values() {
        let (Some(head), Some(target)) = (&listen.table.max_head, &listen.table.max_target) else {
            continue;
        };
        if target.value.0 <= head.value.0 {
            continue;
        }
        let (spot, message) = if report.is_given(&target.spot) {
            (&target.spot, format!("`max_target` is above `max_head`, {}", units::show_size(head.value.0)))
        } else {
            (&head.spot, format!("`max_head` is below `max_target`, {}", units::show_size(target.value.0)))
        };
        report.warning(spot, message).help("the target is a part of the head and can never be so long: change one");
    }
}

/// Keys that one file of `conf.d` sets and a later one sets again: allowed, and seldom meant.
#[must_use]
pub fn overridden(merged: &Merged, main: &str) -> Vec<Problem> {
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    let mut problems = Vec::new();
    for file in merged.files().iter().filter(|file| file.file != main) {
        let mut keys = Vec::new();
        leaves(file, file.document.as_table(), &Spot::root(), &mut keys);
        for (spot, place) in keys {
            let key = spot.to_string();
            if let Some(first) = seen.get(&key) {
                let message = format!("`{key}` is set in {} too; this file is later, and wins", first.file);
                let mut problem = Problem::new(Severity::Warning, key.clone(), message);
                problem.help("keep one of them");
                problem.place = Some(place.clone());
                problem.other = Some(("set here first".to_owned(), first.clone()));
                problems.push(problem);
            }
            seen.insert(key, place);
        }
    }
    problems
}

/// The rule of systemd for `FileDescriptorName=` (sd_listen_fds(3)), and a name that is there at all.
fn is_descriptor_name(name: &str) -> bool {
    let fine = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(fine)
}

const LONGEST_NAME: usize = 255;

fn leaves(file: &Parsed, table: &dyn TableLike, spot: &Spot, keys: &mut Vec<(Spot, Place)>) {
    for (key, item) in table.iter() {
        let spot = spot.key(key, spot.tag).at_key();
        match item.as_table_like() {
            Some(table) => leaves(file, table, &spot, keys),
            None => keys.extend(file.place(&spot).map(|place| (spot, place))),
        }
    }
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
