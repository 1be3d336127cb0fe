//! What is wrong with the certificates of a configuration, and what can be done about it, for `segue check` and a reload.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use super::certificates::{CertificateStore, CertificateView};
use crate::config::load::FileProblem;
use crate::config::{CertificateUser, HostPattern, user_name};
use crate::observe::words::Day;
use crate::tls::{Certificate, CertificateError, CertificateReason};

/// One thing that is wrong. It refuses no configuration: the other sites have nothing to do with it.
#[derive(Debug, PartialEq, Eq)]
pub struct CertificateProblem {
    /// The site or listener that it is about.
    pub user: CertificateUser,
    /// The key there.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Whether the reason is that this process may not read a file; another user perhaps can.
    pub is_denied: bool,
}

impl CertificateProblem {
    /// The same, for its place in the configuration.
    #[must_use]
    pub fn into_warning(self) -> FileProblem {
        let Self { user, key, message, help, is_denied: _ } = self;
        FileProblem { table: user.table(), key, message, help, refuses: false }
    }
}

/// Everything that is wrong with the certificates of `store`. This thread has the user that reads their files.
#[must_use]
pub fn problems(store: &CertificateStore, now: SystemTime) -> Vec<CertificateProblem> {
    let user = user_name().unwrap_or_else(|| "segue".to_owned());
    let mut problems = Vec::new();
    for view in store.views() {
        problems.extend(of_files(store, &view, &user));
        problems.extend(view.certificate.and_then(|one| of_time(&view, one, now)));
        problems.extend(of_staple(&view));
        if let Some(certificate) = view.certificate {
            let hosts = view.users.iter().filter_map(CertificateUser::host).filter(|host| !is_covered(store, host));
            problems.extend(hosts.map(|host| of_another_host(host, certificate)));
        }
    }
    for clients in store.client_certificates() {
        if let Some(since) = clients.too_old(now) {
            let message = format!(
                "no client of {} is let in: a newer revocation list was due on {}",
                clients.user.named(),
                Day(since)
            );
            let help =
                Some("take a new one from the authority; the service reads it by itself, without a reload".to_owned());
            let user = clients.user.clone();
            problems.push(CertificateProblem { user, key: "client_crl", message, help, is_denied: false });
        }
        let Some(error) = &clients.wrong else { continue };
        let consequence = match clients.verifier.number() {
            0 => "no client is let in",
            _ => "those from before count",
        };
        let message = format!("{} has no such client certificates, and {consequence}: {error}", clients.user.named());
        problems.push(CertificateProblem {
            user: clients.user.clone(),
            key: "client_ca",
            message,
            help: help(error, &user),
            is_denied: is_denied(error),
        });
    }
    problems.dedup();
    problems
}

/// Days from `now` to `time`, one that has begun as a whole one; below zero when it is over.
#[must_use]
pub fn days(now: SystemTime, time: SystemTime) -> i64 {
    let days = |seconds: u64| i64::try_from(seconds.div_ceil(24 * 60 * 60)).unwrap_or(i64::MAX);
    match time.duration_since(now) {
        Ok(left) => days(left.as_secs()),
        Err(over) => -days(over.duration().as_secs()).max(1),
    }
}

/// `1 day`
fn counted_days(days: i64) -> String {
    format!("{days} day{}", if days == 1 { "" } else { "s" })
}

fn of_files(store: &CertificateStore, view: &CertificateView<'_>, user: &str) -> Option<CertificateProblem> {
    let (error, user_of) = (view.wrong?, view.users.first()?);
    let sites = match view.users.len() - 1 {
        0 => user_of.named(),
        more => format!("{} (and {more} more)", user_of.named()),
    };
    let others = store.views().any(|other| other.users == view.users && other.certificate.is_some());
    let message = match view.certificate {
        Some(kept) => {
            let until = Day(kept.not_after());
            format!("{sites} keeps the certificate from before, which expires on {until}: {error}")
        }
        None if others => format!("a certificate of {sites} is left out: {error}"),
        None => format!("{sites} has no certificate: {error}"),
    };
    if view.is_automatic && view.certificate.is_none() && is_missing(error) {
        return None; // `segue certs` says when it comes
    }
    let is_denied = is_denied(error);
    Some(CertificateProblem { user: user_of.clone(), key: "tls", message, help: help(error, user), is_denied })
}

fn is_denied(error: &CertificateError) -> bool {
    matches!(&error.reason, CertificateReason::Unreadable(error) if error.kind() == ErrorKind::PermissionDenied)
}

/// Whether there is no such file.
fn is_missing(error: &CertificateError) -> bool {
    matches!(&error.reason, CertificateReason::Unreadable(error) if error.kind() == ErrorKind::NotFound)
}

fn of_time(view: &CertificateView<'_>, certificate: &Certificate, now: SystemTime) -> Option<CertificateProblem> {
    let (user, file) = (view.users.first()?, certificate.files().certificate.display());
    let whose = user.named();
    let (message, help) = if now > certificate.not_after() {
        let (ago, on) = (counted_days(-days(now, certificate.not_after())), Day(certificate.not_after()));
        let message = format!("the certificate of {whose} expired {ago} ago, on {on}: {file}");
        (message, "renew it; the service takes the new files by itself, without a reload")
    } else if now < certificate.not_before() {
        let from = Day(certificate.not_before());
        let message = format!("the certificate of {whose} is not valid before {from}: {file}");
        (message, "look at the clock of this machine, and wait until then or take another certificate")
    } else {
        return None;
    };
    Some(CertificateProblem { user: user.clone(), key: "tls", message, help: Some(help.to_owned()), is_denied: false })
}

/// Clients refuse a certificate that demands an answer of OCSP, where there is none.
fn of_staple(view: &CertificateView<'_>) -> Option<CertificateProblem> {
    let (user, certificate) = (view.users.first()?.clone(), view.certificate?);
    let whose = user.named();
    let demands = certificate.must_staple() && certificate.staple().is_none();
    let demanded = if demands { ", and clients refuse its certificate without (must-staple)" } else { "" };
    let (message, help) = match view.staple {
        Some(error) => (format!("clients of {whose} are shown no answer of OCSP{demanded}: {error}"), help(error, "")),
        None if demands => {
            let file = certificate.files().staple();
            let message = format!("there is no answer of OCSP for {whose}{demanded}: {}", file.display());
            (message, Some(format!("have `openssl ocsp -respout {}` write it, and again in time", file.display())))
        }
        None => return None,
    };
    Some(CertificateProblem { user, key: "tls", message, help, is_denied: false })
}

/// Whether a certificate names the host of a site, or with a wildcard something below it.
fn is_covered(store: &CertificateStore, host: &HostPattern) -> bool {
    store.certificates().any(|certificate| match host {
        HostPattern::Exact(host) if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() => true,
        HostPattern::Exact(host) => certificate.covers(host),
        HostPattern::Suffix(suffix) => {
            certificate.names().iter().any(|name| name.strip_suffix(suffix).is_some_and(|front| front.ends_with('.')))
        }
        HostPattern::Any => true,
    })
}

fn of_another_host(host: &HostPattern, certificate: &Certificate) -> CertificateProblem {
    let file = certificate.files().certificate.display();
    let message = match certificate.names() {
        [] => format!("the certificate of the site \"{host}\" names no host, and clients refuse it: {file}"),
        names => {
            let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if names.len() > 5 { ", …" } else { "" };
            format!("the certificate of the site \"{host}\" is for {shown}{more}, and clients refuse it: {file}")
        }
    };
    let help = format!("take one with \"{host}\" among its names (subjectAltName), or write the host that it is for");
    let user = CertificateUser::Site(host.clone());
    CertificateProblem { user, key: "tls", message, help: Some(help), is_denied: false }
}

/// What can be done, as far as the reason shows it.
pub(super) fn help(error: &CertificateError, user: &str) -> Option<String> {
    let CertificateError { file, reason } = error;
    let shown = file.display();
    let help = match reason {
        CertificateReason::Unreadable(error) => return help_to_read(file, error.kind(), user),
        CertificateReason::NotAFile => "name a file, or a directory with fullchain.pem and privkey.pem".to_owned(),
        CertificateReason::NoneInDirectory => {
            "put fullchain.pem and privkey.pem there, or name the directory in which they are".to_owned()
        }
        CertificateReason::TooLong | CertificateReason::NoCertificate => {
            format!("`head {shown}` shows what it is; certbot's files are fullchain.pem and privkey.pem")
        }
        CertificateReason::NotPem(_) | CertificateReason::Unparsable(..) => {
            format!("`openssl x509 -in {shown} -noout -text` has to read it: write the file anew")
        }
        CertificateReason::BrokenChain { .. } => {
            "write the certificates in this order: the server's, its issuer's, and so on; leave the root out".to_owned()
        }
        CertificateReason::WrongOrder(_) => "write the server's certificate first, then its issuer's".to_owned(),
        CertificateReason::NoRevocationList => "name the file with the revocation list of the authority".to_owned(),
        CertificateReason::UnusableRevocationList(_) => {
            "`openssl crl -in FILE -noout -text` shows what is in it; take a new one from the authority".to_owned()
        }
        CertificateReason::Staple(_) => {
            "have a newer one written, with `openssl ocsp -respout FILE`; without the file no client is shown any"
                .to_owned()
        }
        CertificateReason::NoKey => "name the file with the private key; certbot's is privkey.pem".to_owned(),
        CertificateReason::EncryptedKey => {
            format!("`openssl pkey -in {shown} -out NEW` asks for the passphrase, and writes a key without one")
        }
        CertificateReason::UnknownKey => "have a certificate issued for a new key of one of these kinds".to_owned(),
        CertificateReason::OtherKey(certificate) => format!(
            "`openssl x509 -noout -pubkey -in {}` and `openssl pkey -pubout -in {shown}` have to show the same",
            certificate.display()
        ),
    };
    Some(help)
}

fn help_to_read(file: &Path, kind: ErrorKind, user: &str) -> Option<String> {
    match kind {
        ErrorKind::NotFound if file.is_symlink() => Some("it is a link to a file that is not there".to_owned()),
        ErrorKind::NotFound if file.starts_with("/run/credentials") => {
            let name = file.file_name()?.to_string_lossy();
            let line = format!("LoadCredential={name}:/etc/letsencrypt/live/app.example.com");
            Some(format!("`systemctl edit proxy`, with `{line}` below `[Service]`, and restart the service"))
        }
        ErrorKind::NotFound => {
            Some("write the path of what there is; `ls /etc/letsencrypt/live` shows certbot's".to_owned())
        }
        ErrorKind::PermissionDenied if file.starts_with(CERTBOT) => {
            let both = format!("{CERTBOT}/live {CERTBOT}/archive");
            Some(format!("`chgrp -R {user} {both} && chmod -R g+rX {both}`; it holds for renewals too"))
        }
        ErrorKind::PermissionDenied => {
            let hidden = ["/home", "/root", "/run/user"].iter().any(|hidden| file.starts_with(hidden));
            if hidden {
                return Some(
                    "the service sees nothing below it (ProtectHome=): put the files into /etc/ssl".to_owned(),
                );
            }
            Some(
                help_to_enter(file, user)
                    .unwrap_or_else(|| format!("`chgrp {user} {0} && chmod g+r {0}`", file.display())),
            )
        }
        _ => None,
    }
}

const CERTBOT: &str = "/etc/letsencrypt";

/// How `user` gets into the directory that keeps it from `file`, if one does.
fn help_to_enter(file: &Path, user: &str) -> Option<String> {
    let directory = closed_directory(file)?;
    let (group, directory) = (std::fs::metadata(directory).ok()?.gid(), directory.display());
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let mut named = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = named.find(|fields| fields.get(2).is_some_and(|number| number.parse() == Ok(group)));
    Some(match name.as_ref().and_then(|fields| fields.first()) {
        // a group that was made for this, such as ssl-cert of /etc/ssl/private, counts from the next start on
        Some(name) if group != 0 => format!("`usermod -aG {name} {user} && systemctl restart proxy`"),
        _ => format!("`chgrp {user} {directory} && chmod g+x {directory}`, and the file likewise"),
    })
}

/// The first directory on the way to `file` that this process may not enter.
fn closed_directory(file: &Path) -> Option<&Path> {
    let mut above: Vec<_> = file.ancestors().skip(1).collect();
    above.reverse();
    above.windows(2).find_map(|pair| {
        let [_, directory] = pair else { return None };
        let inside = std::fs::metadata(directory.join("."));
        inside.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied).then_some(*directory)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_that_have_begun_count_and_are_below_zero_when_the_time_is_over() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!([0, 23, 24, 49].map(|left| days(now, now + hours(left))), [0, 1, 1, 3]);
        assert_eq!([1, 24, 49].map(|over| days(now, now - hours(over))), [-1, -1, -3]);
        assert_eq!(Day(now).to_string(), "2027-01-15");
    }
}
