//! What `segue debug` asks for. It goes from the command line to the supervisor, and from there to each worker, with the
//! socket to which the lines go.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

/// What `segue debug` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugRequest {
    /// Which exchanges.
    pub filter: DebugFilter,
    /// For how long, [`LONGEST_DEBUG`] at most.
    pub lasts: Duration,
}

/// How many `segue debug` run at once: the supervisor refuses another one.
pub const MOST_DEBUG: usize = 8;

/// The longest time of a `segue debug`.
pub const LONGEST_DEBUG: Duration = Duration::from_secs(600);

/// Which exchanges `segue debug` shows: those that are of the client and of the site, as far as these are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DebugFilter {
    /// The network of the client, by its address as `X-Forwarded-For` of a trusted proxy has it.
    pub client: Option<IpNet>,
    /// The host that is asked for, or the HOST of a `[site."HOST"]`; in any case of letters.
    pub site: Option<String>,
}

impl DebugFilter {
    /// Whether an exchange of `client` that asks for `host`, to which `site` answers, is one of them. A client without an
    /// address is in no network.
    #[must_use]
    pub fn selects(&self, client: Option<IpAddr>, host: Option<&str>, site: Option<&str>) -> bool {
        let of_client = |wanted: IpNet| client.is_some_and(|client| wanted.contains(&client.to_canonical()));
        let of_site = |wanted: &str| [host, site].into_iter().flatten().any(|name| name.eq_ignore_ascii_case(wanted));
        (self.client.is_some() || self.site.is_some())
            && self.client.is_none_or(of_client)
            && self.site.as_deref().is_none_or(of_site)
    }
}

/// What a worker says on the socket once each of its threads shows what is asked for: no line before it is complete.
#[must_use]
pub fn shows(generation: u64) -> String {
    format!("-- generation {generation} shows its exchanges from here on")
}

/// Whether the terminal at the other end of this socket has gone.
#[must_use]
pub fn has_gone(socket: &OwnedFd) -> bool {
    // without events in the request, poll(2) reports nothing but the end of the other side
    let mut watched = [PollFd::new(socket, PollFlags::empty())];
    let polled = rustix::event::poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && !watched[0].revents().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugging_is_of_a_client_of_a_site_or_of_both() {
        let client = "10.0.0.7".parse().ok();
        let mapped = "::ffff:10.0.0.7".parse().ok();
        let net = "10.0.0.7/32".parse().ok();
        let of_client = DebugFilter { client: net, site: None };
        assert!(of_client.selects(client, None, None) && of_client.selects(mapped, Some("a"), None));
        assert!(!of_client.selects("10.0.0.8".parse().ok(), Some("a"), None) && !of_client.selects(None, None, None));
        let of_site = DebugFilter { client: None, site: Some("App.example.com".to_owned()) };
        assert!(of_site.selects(None, Some("app.example.com"), Some("*.example.com")));
        assert!(!of_site.selects(client, Some("b.example.com"), Some("*.example.com")));
        let of_net = DebugFilter { client: "10.0.0.0/24".parse().ok(), site: None };
        assert!(of_net.selects(client, None, None) && !of_net.selects("10.0.1.7".parse().ok(), None, None));
        let of_pattern = DebugFilter { client: net, site: Some("*.example.com".to_owned()) };
        assert!(of_pattern.selects(client, Some("b.example.com"), Some("*.example.com")));
        assert!(!of_pattern.selects(None, Some("b.example.com"), Some("*.example.com")));
        assert!(!DebugFilter::default().selects(client, Some("a"), Some("a")), "all is no choice");
    }
}
