//! The format of `sni`: which pool a TLS connection goes to that is not ended here.

use super::address::{HostPattern, host_pattern};
use super::problem::quoted;
use super::schema::{At, ValueFormat};

/// Host patterns, each with the name of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SniRoutes(pub Vec<(HostPattern, String)>);

impl ValueFormat for SniRoutes {
    type Value = Self;
    const FORM: &str = "a table of hosts with the name of a pool for each, such as { \"app.example.com\" = \"app\" }";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(dict) = at.value.as_dict() else {
            let help = at.write("{ \"app.example.com\" = \"app\" }");
            return at.wrong(Self::FORM, help);
        };
        let before = at.problems.refusing();
        let mut routes = Vec::<(HostPattern, String)>::new();
        for (host, pool) in dict {
            let (message, help) = match (host_pattern(host), pool.as_str()) {
                (Ok(HostPattern::Any), _) => {
                    ("every other host goes to `to`".to_owned(), "take it out, and write its pool as `to`")
                }
                (Ok(host), Some(pool)) if routes.iter().all(|(other, _)| *other != host) => {
                    routes.push((host, pool.to_owned()));
                    continue;
                }
                (Ok(_), Some(_)) => (format!("the host {} is here already", quoted(host)), "take one of them out"),
                (Ok(_), None) => {
                    (format!("{} needs the name of a pool", quoted(host)), "write the NAME of a `[pool.NAME]`")
                }
                (Err(fault), _) => {
                    let why = fault.why.split(';').next().unwrap_or_default(); // the rest is about sites
                    let message = format!("{} can't be the host that a client asks for: {why}", quoted(host));
                    (message, "write a host name, or `*.example.com` for all below it")
                }
            };
            at.problems.error(&at.spot.key(host).at_key(), message, help);
        }
        (at.problems.refusing() == before).then_some(Self(routes))
    }

    fn show(value: &Self) -> String {
        value.0.iter().map(|(host, pool)| format!("{host} → {pool}")).collect::<Vec<_>>().join(", ")
    }
}
