//! `bind` lines: the sockets of a frontend, and what is spoken on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::keyword::keyword;
use super::report::{Fate, ImportReport};
use super::section::Directive;
use crate::config::{Address, server_address};

/// One `bind` line.
#[derive(Clone, Debug, Default)]
pub struct Bind {
    /// Its line.
    pub line: usize,
    /// The sockets.
    pub addresses: Vec<Address>,
    /// Its options with their arguments; several of one name keep their order.
    pub options: BTreeMap<String, Vec<String>>,
    /// Why no client may come here: the line says something that decides which ones may, and cannot be said.
    pub barred: bool,
}

impl Bind {
    /// Of a `bind` line; says what becomes of its words, but for the addresses.
    #[must_use]
    pub fn read(directive: &Directive, report: &mut ImportReport) -> Self {
        let words = &directive.words[1..];
        let Some((addresses, options)) = words.split_first() else { return Self::default() };
        let mut bind = Self { line: directive.line, ..Self::default() };
        for text in addresses.split(',').filter(|text| !text.is_empty()) {
            match sockets(text) {
                Ok(sockets) => bind.addresses.extend(sockets),
                Err(why) => report.note(bind.line, Fate::Unsupported, format!("{text}: {why}")),
            }
        }
        bind.read_options(options, report);
        let only_six = bind.has("v6only") && bind.addresses.iter().any(|address| is_every(address, false));
        if only_six {
            let sentence = "`[::]` takes IPv4 too: BindIPv6Only=ipv6-only in a socket unit, man segue-units";
            report.note(bind.line, Fate::Differently, sentence);
        }
        bind
    }

    fn read_options(&mut self, mut words: &[String], report: &mut ImportReport) {
        while let Some((first, rest)) = words.split_first() {
            let Some(known) = keyword("bind", &words[..1]) else {
                self.barred = true;
                let sentence = format!("HAProxy has no `{first}` for a bind line as far as is known here");
                report.note(self.line, Fate::Unsupported, sentence);
                words = rest;
                continue;
            };
            let arguments = &rest[..known.arguments.min(rest.len())];
            self.options.entry(first.clone()).or_default().extend(arguments.iter().cloned());
            self.barred |= known.guards;
            if !matches!(known.fate, Fate::Kept | Fate::Default) {
                report.note(self.line, known.fate, format!("{first}: {}", known.sentence));
            }
            words = &rest[arguments.len()..];
        }
        if self.verify().is_some() && !self.has("ca-file") {
            self.barred = true;
            let sentence = "no ca-file says whose certificates are let in, which HAProxy refuses";
            report.note(self.line, Fate::Unsupported, sentence);
        }
        let protocol = self.option("proto");
        if protocol.is_some_and(|protocol| protocol != "h2" && protocol != "h1") {
            report.note(self.line, Fate::Unsupported, "HTTP/1 and HTTP/2 alone are spoken");
        }
    }

    /// Whether the line has this option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// The last argument of this option.
    #[must_use]
    pub fn option(&self, option: &str) -> Option<&str> {
        self.options.get(option)?.last().map(String::as_str)
    }

    /// Which clients have to show a certificate: `required`, `optional`, or none.
    #[must_use]
    pub fn verify(&self) -> Option<&str> {
        self.option("verify").filter(|verify| *verify != "none")
    }
}

/// A unix socket, if its path can be written here: `/0.0.0.0:80` is one for HAProxy, and most likely a slip.
fn unix(path: &str) -> Result<Vec<Address>, String> {
    match server_address(&format!("unix:{path}")) {
        Ok(_) => Ok(vec![Address::Unix(path.into())]),
        Err(_) => Err(format!("{path} is no path of a socket here")),
    }
}

/// The sockets that an address of HAProxy stands for.
fn sockets(text: &str) -> Result<Vec<Address>, String> {
    let (family, rest) = text.split_once('@').unwrap_or(("", text));
    match family {
        "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" => {}
        "unix" => return unix(rest),
        "fd" | "sockpair" => return Err("write FileDescriptorName= of a socket unit: man segue-units".to_owned()),
        "abns" | "abnsz" => return Err("sockets in the abstract namespace are those of socket units".to_owned()),
        _ => return Err("HTTP/3 and UDP are not spoken".to_owned()),
    }
    if rest.starts_with('/') {
        return unix(rest);
    }
    let Some((host, ports)) = rest.rsplit_once(':') else { return Err("it has no port".to_owned()) };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let no_port = || format!("{ports} is no port");
    let range = first.parse::<u16>().ok().zip(last.parse::<u16>().ok()).ok_or_else(no_port)?;
    let ip: IpAddr = match host.trim_matches(['[', ']']) {
        "" | "*" if family.ends_with('6') => Ipv6Addr::UNSPECIFIED.into(),
        "" | "*" => Ipv4Addr::UNSPECIFIED.into(),
        host => host.parse().map_err(|_| "a listener has an IP address, and no name: write that".to_owned())?,
    };
    if range.0 > range.1 || range.1 - range.0 >= 64 {
        return Err("64 ports are the most of one line here: write the others yourself".to_owned());
    }
    Ok((range.0..=range.1).map(|port| Address::Ip(SocketAddr::new(ip, port))).collect())
}

/// Whether it is every address of the machine: of IPv4 or IPv6.
#[must_use]
pub fn is_every(address: &Address, four: bool) -> bool {
    matches!(address, Address::Ip(address) if address.ip().is_unspecified() && address.is_ipv4() == four)
}

/// Whether `one` takes every address of the machine, and `other` fewer.
#[must_use]
pub fn is_wider(one: &Address, other: &Address) -> bool {
    let width = |address: &Address| u8::from(is_every(address, true)) + 2 * u8::from(is_every(address, false));
    width(one) > width(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_haproxy() {
        let read = |text| {
            let found = sockets(text).unwrap_or_default();
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read("*:80"), "0.0.0.0:80");
        assert_eq!(read(":80"), "0.0.0.0:80");
        assert_eq!(read(":::80"), "[::]:80");
        assert_eq!(read("[::1]:80"), "[::1]:80");
        assert_eq!(read("ipv6@:80"), "[::]:80");
        assert_eq!(read("10.0.0.1:80-82"), "10.0.0.1:80 10.0.0.1:81 10.0.0.1:82");
        assert_eq!(read("/run/x.sock"), "unix:/run/x.sock");
        assert_eq!(read("unix@/run/x.sock"), "unix:/run/x.sock");
        for bad in ["80", "/0.0.0.0:80", "host:80", "10.0.0.1:x", "fd@3", "quic4@:443", ":1-60000"] {
            assert!(sockets(bad).is_err(), "{bad}");
        }
    }
}
