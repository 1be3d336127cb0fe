//! The formats of IP networks, and of the proxies in front of this one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use figment::value::Value;
use ipnet::IpNet;

use super::problem::quoted;
use super::schema::{At, ValueFormat, Wrong};

impl ValueFormat for IpNet {
    type Value = Self;
    const FORM: &str = "an IP network such as \"10.0.0.0/8\", or one address";

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        let text = value.as_str().unwrap_or_default();
        let net = network(text).map_err(Self::wrong)?;
        if net.addr() != net.network() {
            let (whole, one) = (quoted(&net.trunc().to_string()), quoted(&net.addr().to_string()));
            let message = format!("{} has bits behind its prefix: all of {whole} is meant", quoted(text));
            let help = format!("write {whole}, or {one} for this address alone");
            at.warning(message, help);
        }
        Ok(net)
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

    fn read(value: &Value, at: &mut At<'_, '_>) -> Result<Self, Wrong> {
        match value.as_str() {
            Some("unix" | "unix:") => Ok(Self::Unix),
            _ => IpNet::read(value, at).map(Self::Net),
        }
    }

    fn show(value: &Self) -> String {
        value.to_string()
    }
}

/// The network or the address that a text that is neither was likely meant to be.
fn likely_net(text: &str) -> Option<String> {
    if text == "localhost" {
        return Some("127.0.0.0/8".to_owned());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_string());
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(address.to_string());
    }
    if let Some((address, prefix)) = text.split_once('/') {
        let address: IpAddr = address.trim().parse().ok()?;
        if let Ok(mask) = prefix.trim().parse::<IpAddr>() {
            let net = IpNet::with_netmask(address, mask).ok()?;
            return Some(net.trunc().to_string());
        }
        // a prefix that is too long, or none: the address alone is certain
        return Some(address.to_string());
    }
    let labels: Vec<&str> = text.trim_end_matches(['.', '*']).split('.').collect();
    let address = (text.ends_with('*') && labels.len() < 4).then(|| [&labels[..], &["0"; 4][labels.len()..]].concat());
    let address: IpAddr = address?.join(".").parse().ok()?;
    Some(format!("{address}/{}", labels.len() * 8))
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
