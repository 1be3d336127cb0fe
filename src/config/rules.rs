//! Rules about several values together: names, addresses, hosts, limits, files.

use std::collections::{BTreeMap, HashMap};

use toml_edit::TableLike;

use super::address::{self, Address};
use super::file::{IMPLICIT_LISTENER, WrittenTables};
use super::merge::{Merged, Parsed};
use super::networks::TrustedProxy;
use super::problem::{FilePosition, Problem, Severity, quoted};
use super::problems::Problems;
use super::spot::Spot;
use super::units::show_size;

/// Names that can't stand in a socket unit, or stand twice.
pub fn names(written: &WrittenTables, problems: &mut Problems<'_>) {
    let listen = written.listen.iter().map(|(name, listen)| (name, &listen.spot));
    let tcp = written.tcp.iter().map(|(name, tcp)| (name, &tcp.spot));
    for (name, spot) in listen.chain(tcp).filter(|(name, _)| !is_descriptor_name(name)) {
        let message = format!("{} can't be the name of a listener", quoted(name));
        let help = "1 to 255 ASCII characters without colon and control characters, as in FileDescriptorName=";
        problems.error(spot, message, help);
    }
    for (name, pool) in &written.pool {
        if name.is_empty() || name.len() > LONGEST_NAME || name.contains(char::is_control) {
            let message = format!("{} can't be the name of a pool", quoted(name));
            let help = "1 to 255 bytes without control characters";
            problems.error(&pool.spot, message, help);
        }
    }
    for (name, tcp) in &written.tcp {
        if let Some(listen) = written.listen.get(name) {
            let message = format!("there are two listeners named {}", quoted(name));
            let help = "a socket goes to the one listener with its name: give one of them another";
            problems.clash(&tcp.spot, message, (&listen.spot, "the other one"), help);
        }
    }
}

/// `"unix"` among the trusted proxies of a listener at an IP address: its clients never come over a unix socket.
pub fn trust(written: &WrittenTables, problems: &mut Problems<'_>) {
    for listen in written.listen.values().filter(|one| matches!(one.table.address, Some(Address::Ip(_)))) {
        let Some(list) = problems.good(&listen.spot, "trusted_proxies") else { continue };
        let proxies = listen.table.trusted_proxies.iter().enumerate();
        for (index, _) in proxies.filter(|(_, proxy)| **proxy == TrustedProxy::Unix) {
            let message = "no client of this listener comes over a unix socket";
            let help = "take it out, and write the networks of the proxies, such as \"127.0.0.0/8\" for this machine";
            problems.warning(&list.index(index, list.tag), message, help);
        }
    }
}

/// A listener of either kind: its name, its address, the key of that, its header.
type Listening<'a> = (&'a String, Option<&'a Address>, &'static str, &'a Spot);

fn listeners(written: &WrittenTables) -> impl Iterator<Item = Listening<'_>> {
    let listen = written.listen.iter().map(|(name, one)| (name, one.table.address.as_ref(), "address", &one.spot));
    listen.chain(written.tcp.iter().map(|(name, one)| (name, one.table.0.listen.as_ref(), "listen", &one.spot)))
}

/// Addresses that can't be bound together.
pub fn addresses(written: &WrittenTables, problems: &mut Problems<'_>) {
    let all =
        listeners(written).filter_map(|(name, address, key, table)| Some((name, address?, problems.spot(table, key)?)));
    let mut all: Vec<(&String, &Address, Spot)> = all.collect();
    // Of two that clash, the problem is with the later one.
    all.sort_by_cached_key(|(.., spot)| problems.order(spot));
    for (index, (_, address, spot)) in all.iter().enumerate() {
        if matches!(address, Address::Ip(ip) if ip.port() == 0) {
            let message = "the port 0 lets the kernel pick another one at each start";
            problems.warning(spot, message, "write a port from 1 to 65535");
        }
        if let Some((name, other, first)) = all[..index].iter().find(|(_, other, _)| address::overlap(address, other)) {
            let message = match address == other {
                true => format!("the listener {} has this address already", quoted(name)),
                false => format!("the address of the listener {} takes this one too", quoted(name)),
            };
            let help = "give one of them another port, or another address of this machine";
            problems.clash(spot, message, (first, "it is taken here"), help);
        }
    }
}

/// Texts that are no host, and hosts that two sites have.
pub fn hosts(written: &WrittenTables, problems: &mut Problems<'_>) {
    let mut seen = HashMap::new();
    let mut sites: Vec<_> = written.site.iter().collect();
    sites.sort_by_cached_key(|(_, site)| problems.order(&site.spot));
    for (host, site) in sites {
        match address::host_pattern(host) {
            Ok(pattern) => {
                if ["_", "default", "any", "all"].contains(&host.to_ascii_lowercase().as_str()) {
                    let message = format!("{} is the name of one host, like any other", quoted(host));
                    let help = "write `[site.\"*\"]` for every host that no other site answers";
                    problems.warning(&site.spot, message, help);
                }
                if let Some(first) = seen.insert(pattern, &site.spot) {
                    let message = format!("the host {} has a site already", quoted(host));
                    let help = "case and a dot at the end make no difference: put the keys of both into one";
                    problems.clash(&site.spot, message, (first, "this one"), help);
                }
            }
            Err(fault) => {
                let message = format!("{} can't be the host of a site: {fault}", quoted(host));
                let help = "write a host name, `*.example.com`, or `*` for every host";
                problems.error(&site.spot, message, fault.help.unwrap_or_else(|| help.to_owned()));
            }
        }
    }
    // A configuration with TCP listeners and without a written HTTP listener needs no site.
    let wants_http = written.tcp.is_empty() || written.listen.values().any(|listen| problems.is_given(&listen.spot));
    if written.site.is_empty() && wants_http && problems.complete && problems.refusing() == 0 {
        let mut problem = Problem::new(
            Severity::Warning,
            "site",
            "no site: every request is answered 503, GET and HEAD with the welcome page",
        );
        problem.help("write `[site.\"*\"]` and below it `to = [\"10.0.0.11:80\"]`");
        problems.general(problem);
    }
}

/// Listeners with two sockets, or with none. `units` are the socket units of the service, by the name of their socket;
/// none where the service is not installed.
pub fn sockets(written: &WrittenTables, units: Option<&BTreeMap<String, String>>, problems: &mut Problems<'_>) {
    for (name, address, key, spot) in listeners(written) {
        if !problems.is_given(spot) {
            continue;
        }
        let unit = units.and_then(|units| units.get(name));
        match (unit, address.and_then(|_| problems.spot(spot, key))) {
            (Some(unit), Some(address)) => {
                let without = match unit.as_str() {
                    // the service starts it with itself, unless it is masked
                    "proxy-http.socket" => format!("`systemctl mask --now {unit}`"),
                    unit => format!("`systemctl disable --now {unit}`"),
                };
                let message = format!("`{key}` has no effect: the listener {} has the socket of {unit}", quoted(name));
                let help = format!("take the line out; or {without}, and restart the service");
                problems.warning(&address.at_key(), message, help);
            }
            (None, None) if name != IMPLICIT_LISTENER && !problems.are_about(spot, key) => {
                let message = format!("nothing to listen on, unless systemd passes a socket named {}", quoted(name));
                let help =
                    format!("write `{key} = \":8080\"` below it, or FileDescriptorName={name} into a socket unit");
                problems.warning(spot, message, help);
            }
            _ => {}
        }
    }
}

/// Limits that can never be reached because of other limits.
pub fn limits(written: &WrittenTables, problems: &mut Problems<'_>) {
    for listen in written.listen.values() {
        let (head, target) = (listen.table.max_head, listen.table.max_target);
        let [head_spot, target_spot] = ["max_head", "max_target"].map(|key| problems.spot(&listen.spot, key));
        let is_wrong = [&head_spot, &target_spot].into_iter().flatten().any(|spot| problems.is_wrong(spot));
        let (spot, message) = match (head_spot, target_spot) {
            _ if is_wrong || target <= head => continue,
            (_, Some(spot)) => (spot, format!("`max_target` is above `max_head`, {}", show_size(head as u64))),
            (Some(spot), None) => (spot, format!("`max_head` is below `max_target`, {}", show_size(target as u64))),
            (None, None) => continue,
        };
        problems.warning(&spot, message, "the target is a part of the head and can never be so long: change one");
    }
}

/// Keys that one file of `conf.d` sets and a later one sets again: allowed, and seldom intended.
#[must_use]
pub fn overridden(merged: &Merged, main: &str) -> Vec<Problem> {
    let mut seen: BTreeMap<String, FilePosition> = BTreeMap::new();
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

/// The rule of systemd for `FileDescriptorName=` (sd_listen_fds(3)); an empty name is none.
fn is_descriptor_name(name: &str) -> bool {
    let fine = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(fine)
}

const LONGEST_NAME: usize = 255;

fn leaves(file: &Parsed, table: &dyn TableLike, spot: &Spot, keys: &mut Vec<(Spot, FilePosition)>) {
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
