//! The formats of IP networks, and of the proxies in front of this one.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::meant::meant;
use super::problem::quoted;
use super::schema::{At, ValueFormat};

impl ValueFormat for IpNet {
    type Value = Self;
    const FORM: &str = "an IP network such as \"10.0.0.0/8\", or one address";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let text = at.text().unwrap_or_default();
        let net = match network(text) {
            Ok(net) => net,
            Err(instead) => return at.wrong(Self::FORM, instead),
        };
        if net.addr() != net.network() {
            let (whole, one) = (quoted(&net.trunc().to_string()), quoted(&net.addr().to_string()));
            let message = format!("{} has bits behind its prefix: all of {whole} is meant", quoted(text));
            at.warning(message, format!("write {whole}, or {one} for this address alone"));
        }
        Some(net)
    }

    fn show(value: &Self) -> String {
        value.to_string()
    }
}

/// The network that `text` names; one address is the network of itself.
///
/// # Errors
/// When it names none, with what to write instead.
pub fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    text.parse::<IpNet>().map_err(|_| match likely_net(text) {
        Some(instead) => format!("write {}", quoted(&instead)),
        None => "write for example \"10.0.0.0/8\", or one address such as \"10.0.0.1\"".to_owned(),
    })
}

/// The same for a network of clients, in the family that they are known by here.
///
/// # Errors
/// What is wrong with it, in words.
pub fn client_network(text: &str) -> Result<IpNet, String> {
    let octets = || text.split(['.', '/']).take(4).filter_map(|octet| octet.parse::<u64>().ok());
    if let Some(large) = octets().find(|octet| *octet > 255).filter(|_| text.matches('.').count() == 3) {
        return Err(format!("no part of an address is above 255, and {large} is"));
    }
    let network = network(text.trim()).map_err(|help| format!("it is no address: {help}"))?;
    match network {
        IpNet::V6(six) if six.prefix_len() == 128 => Ok(IpAddr::from(six.addr()).to_canonical().into()),
        other => Ok(other.trunc()),
    }
}

/// A proxy in front of this one, by where it connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// An address of this network.
    Net(IpNet),
    /// A unix socket, which has no address: every process that may connect to it.
    Unix,
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => net.fmt(out),
            Self::Unix => out.write_str("unix"),
        }
    }
}

impl ValueFormat for TrustedProxy {
    type Value = Self;

    fn describe() -> String {
        format!("{}, or \"unix\" for whatever connects to a unix socket", IpNet::describe())
    }

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        match at.text() {
            Some("unix" | "unix:") => Some(Self::Unix),
            _ => IpNet::read(at).map(Self::Net),
        }
    }

    fn show(value: &Self) -> String {
        value.to_string()
    }
}

/// The network or the address that a text that is neither was likely meant to be.
fn likely_net(text: &str) -> Option<String> {
    let with_mask = text
        .split_once('/')
        .and_then(|(address, mask)| IpNet::with_netmask(address.trim().parse().ok()?, mask.trim().parse().ok()?).ok());
    let is_good = |guess: &str| guess.parse::<IpNet>().is_ok() || guess.parse::<IpAddr>().is_ok();
    with_mask.map(|net| net.trunc().to_string()).or_else(|| meant("network", text, is_good)?.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_guessed() {
        for (text, meant) in [
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
            ("10.*", "10.0.0.0/8"),
            ("192.168.1.*", "192.168.1.0/24"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]", "::1"),
            ("::1/200", "::1"),
        ] {
            assert_eq!(likely_net(text).as_deref(), Some(meant), "{text}");
        }
        for none in ["", "private", "10.0.0", "x/8", "*", "1.2.3.4.*"] {
            assert_eq!(likely_net(none), None, "{none}");
        }
    }
}
