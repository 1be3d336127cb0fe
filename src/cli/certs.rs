//! `segue certs`: every certificate that the service serves, and what is wrong with it.

use std::process::ExitCode;

use super::reload::{not_asked, unexpected};
use super::status::TIMEOUT;
use super::table::{aligned, json, or_dash};
use super::{CertsArguments, print};
use crate::control::request::{ControlReply, Wish, ask};
use crate::control::status::{CertificateStatus, ServiceStatus};
use crate::observe::Plain;

/// Prints the certificates of the serving generation.
#[must_use]
pub fn run(arguments: CertsArguments) -> ExitCode {
    let CertsArguments { run_dir, json: as_json } = arguments;
    match ask(&run_dir.path(), Wish::Status, TIMEOUT) {
        Ok(ControlReply::Status(status)) if as_json => print(&(json(&certificates(&status)) + "\n")),
        Ok(ControlReply::Status(status)) => print(&page(certificates(&status))),
        Ok(reply) => unexpected(&reply),
        Err(fault) => not_asked(&fault),
    }
}

fn certificates(status: &ServiceStatus) -> &[CertificateStatus] {
    status.serving_worker().map_or(&[], |worker| &worker.certificates)
}

const HEADER: [&str; 8] = ["HOST", "EXPIRES", "DAYS", "STATE", "KEY", "ISSUER", "RENEWAL", "FILE"];

fn page(certificates: &[CertificateStatus]) -> String {
    if certificates.is_empty() {
        return "no site has a certificate: man segue.toml, tls of [site.\"HOST\"]\n".to_owned();
    }
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(certificates.iter().map(row));
    let wrong = certificates.iter().filter_map(wrong);
    let wrong: String = wrong.map(|problem| format!("{}\n", Plain(&problem))).collect();
    aligned(&rows) + if wrong.is_empty() { "" } else { "\n" } + &wrong
}

/// What is wrong with its files or its order.
fn wrong(one: &CertificateStatus) -> Option<String> {
    let order = one.acme.as_ref().and_then(|acme| acme.error.as_ref().zip(acme.next.as_ref()));
    let (host, order) = (one.hosts.first().map_or("*", String::as_str), order);
    match order {
        Some((error, next)) => Some(format!("{host}: not issued, tried again at {next}: {error}")),
        None => one.problem.clone(),
    }
}

/// When it is renewed: a day, or the time of this one.
fn renewal(one: &CertificateStatus) -> String {
    let Some(acme) = &one.acme else { return or_dash(None::<&str>) };
    let next = acme.next.as_deref().unwrap_or(&acme.order);
    Plain(if acme.order == "waiting" { next.split('T').next().unwrap_or(next) } else { &acme.order }).to_string()
}

fn row(one: &CertificateStatus) -> [String; HEADER.len()] {
    let text = |text: &Option<String>| or_dash(text.as_deref().map(Plain));
    let day = one.until.as_deref().map(|until| until.split('T').next().unwrap_or(until));
    [
        Plain(&one.hosts.join(", ")).to_string(),
        or_dash(day.map(Plain)),
        or_dash(one.days),
        Plain(&one.state).to_string(),
        text(&one.key),
        text(&one.issuer),
        renewal(one),
        text(&one.file),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_certificate_has_a_line_and_what_is_wrong_follows() {
        let good = json!({
            "hosts": ["a.test", "b.test"], "until": "2027-01-15T08:00:00Z", "days": 49, "state": "good",
            "key": "ECDSA P-256", "issuer": "CN=E5", "file": "/live/a.test/fullchain.pem",
        });
        let missing = json!({ "hosts": ["c.test"], "state": "missing", "problem": "/c.pem: there is no such file" });
        let next = "2027-02-01T08:00:00Z";
        let automatic = json!({ "hosts": ["d.test"], "state": "good", "acme": { "order": "waiting", "next": next } });
        let error = "connection: refused";
        let failed = json!({
            "hosts": ["e.test"], "state": "missing", "problem": error,
            "acme": { "order": "failed", "next": next, "error": error },
        });
        let all = [good, missing, automatic, failed];
        let generations = json!([{ "state": "serving", "worker": { "certificates": all } }]);
        let status: ServiceStatus = serde_json::from_value(json!({ "generations": generations })).expect("a status");
        let expected = "\
HOST            EXPIRES     DAYS  STATE    KEY          ISSUER  RENEWAL     FILE
a.test, b.test  2027-01-15  49    good     ECDSA P-256  CN=E5   -           /live/a.test/fullchain.pem
c.test          -           -     missing  -            -       -           -
d.test          -           -     good     -            -       2027-02-01  -
e.test          -           -     missing  -            -       failed      -

/c.pem: there is no such file
e.test: not issued, tried again at 2027-02-01T08:00:00Z: connection: refused
";
        assert_eq!(page(certificates(&status)), expected);
        assert!(page(&[]).starts_with("no site has a certificate"));
    }
}
