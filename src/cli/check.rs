//! `segue check`: prints everything that is wrong with a configuration. Changes nothing, uses no network.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use super::{CONFIG, service_user, socket_units};
use crate::config::load::{Checked, FileProblem, Sources};
use crate::config::problem::{Problem, RenderStyle};
use crate::config::{CertificateUser, Config, PoolSettings, SiteCertificate};
use crate::proxy::certificate_files::secret_path;
use crate::proxy::certificate_problem::{CertificateProblem, problems};
use crate::proxy::certificates::CertificateStore;
use crate::proxy::upstream_tls::UpstreamTlsFiles;
use crate::tls::TicketKeys;
use crate::worker::configuration::warning_of_ticket_keys;

/// Checks the configuration that is named; prints every problem and a summary to stderr.
///
/// The exit code is 0 when it can be used, else 78 (`EX_CONFIG` of sysexits.h(3)).
#[must_use]
pub fn run(arguments: &super::Check) -> ExitCode {
    let super::Check { file, config: super::ConfigArguments { config, set } } = arguments;
    let main = file.as_ref().unwrap_or(config);
    // a second proxy has units of its own, which are made from templates
    let units = (main == Path::new(CONFIG) || !main.starts_with("/etc/segue")).then(socket_units::of_the_service);
    let units = units.flatten();
    let verdict = Verdict::of(
        main,
        service_user::sources(main, set).map(|sources| {
            let mut checked = sources.check_for(&units);
            if let Some(config) = &checked.config {
                checked.problems.extend(of_certificates(&sources, config));
                checked.problems.extend(of_ticket_keys(&sources, config));
                checked.problems.extend(of_servers(&sources, config));
                sources.sort(&mut checked.problems);
                if checked.problems.iter().any(Problem::refuses) {
                    checked.config = None;
                }
            }
            checked
        }),
    );
    verdict.print()
}

/// What is wrong with the certificates, as the service sees them.
fn of_certificates(sources: &Sources, config: &Config) -> Vec<Problem> {
    let found = service_user::run(|| problems(&CertificateStore::load(config), SystemTime::now()));
    let found = found.into_iter().chain(hidden(config)).map(|one| match service_user::is_another() && one.is_denied {
        true => {
            let message = one.message.replace("the service may not read it", "this user may not read it");
            let help = Some("`sudo segue check` looks at it as the service does".to_owned());
            CertificateProblem { message, help, ..one }
        }
        false => one,
    });
    sources.problems_of_files(found.map(CertificateProblem::into_warning).collect())
}

/// What is wrong with the keys of session tickets, as the service sees them.
fn of_ticket_keys(sources: &Sources, config: &Config) -> Vec<Problem> {
    let Some(path) = config.tls.ticket_keys.as_ref().map(secret_path) else { return Vec::new() };
    let Err(error) = service_user::run(|| TicketKeys::load(&path)) else { return Vec::new() };
    let message = format!("the keys of session tickets cannot be used: {}: {error}", path.display());
    sources.problems_of_files(vec![warning_of_ticket_keys(message)])
}

/// What is wrong with the files for TLS to servers, as the service sees them.
fn of_servers(sources: &Sources, config: &Config) -> Vec<Problem> {
    let found = service_user::run(|| UpstreamTlsFiles::load(config).problems);
    let mut found: Vec<_> = found
        .iter()
        .map(|one| match service_user::is_another() && one.is_denied {
            true => FileProblem {
                message: one.message.replace("the service may not read it", "this user may not read it"),
                help: Some("`sudo segue check` looks at it as the service does".to_owned()),
                ..one.as_problem(false)
            },
            false => one.as_problem(true),
        })
        .collect();
    if service_user::exists() {
        found.extend(config.pools.iter().flat_map(hidden_from_servers));
    }
    sources.problems_of_files(found)
}

/// Files of a pool that the sandbox of the service hides.
fn hidden_from_servers(pool: &PoolSettings) -> impl Iterator<Item = FileProblem> {
    let ca = pool.tls_ca.as_deref().filter(is_hidden).map(|path| ("tls_ca", path));
    let certificate = pool.tls_certificate.as_ref().and_then(hidden_path).map(|path| ("tls_certificate", path));
    ca.into_iter().chain(certificate).map(|(key, path)| FileProblem {
        table: pool.path.clone(),
        key,
        message: format!("the service does not see {}", path.display()),
        help: Some(HIDDEN.to_owned()),
        refuses: false,
    })
}

/// What `ProtectHome=` and `PrivateTmp=` of proxy.service leave.
const HIDDEN: &str = "it sees no file below /home, /root, /run/user, /tmp and /var/tmp: use /etc/ssl";

/// Files that this process may read, and that the sandbox of the service hides from it.
fn hidden(config: &Config) -> Vec<CertificateProblem> {
    if !service_user::exists() {
        return Vec::new();
    }
    let of_clients = |path: &'_ Option<PathBuf>| path.as_deref().filter(is_hidden).map(Path::to_owned);
    let sites = config
        .sites
        .iter()
        .map(|site| (CertificateUser::Site(site.host.clone()), site.tls.as_ref(), &site.client_ca, &site.client_crl));
    let tcp = config
        .tcp
        .iter()
        .map(|tcp| (CertificateUser::Tcp(tcp.name.clone()), tcp.tls.as_ref(), &tcp.client_ca, &tcp.client_crl));
    let paths = sites.chain(tcp).flat_map(|(user, tls, client_ca, client_crl)| {
        let tls = tls.and_then(hidden_path).map(Path::to_owned);
        let all = [("tls", tls), ("client_ca", of_clients(client_ca)), ("client_crl", of_clients(client_crl))];
        all.into_iter().filter_map(move |(key, path)| Some((user.clone(), key, path?)))
    });
    let problem = |(user, key, path): (CertificateUser, &'static str, PathBuf)| CertificateProblem {
        user,
        key,
        message: format!("the service does not see {}", path.display()),
        help: Some(HIDDEN.to_owned()),
        is_denied: false,
    };
    paths.map(problem).collect()
}

/// `ProtectHome=` and `PrivateTmp=` of proxy.service.
fn is_hidden(path: &&Path) -> bool {
    ["/home", "/root", "/run/user", "/tmp", "/var/tmp"].iter().any(|hidden| path.starts_with(hidden))
}

/// The first of these files that is hidden.
fn hidden_path(tls: &SiteCertificate) -> Option<&Path> {
    match tls {
        SiteCertificate::Path(path) => Some(path.as_path()).filter(is_hidden),
        SiteCertificate::Files { certificate, key } => {
            [certificate, key].map(|path| path.as_path()).into_iter().find(is_hidden)
        }
        SiteCertificate::Credential(_) | SiteCertificate::Automatic => None,
        SiteCertificate::Several(several) => several.iter().find_map(hidden_path),
    }
}

/// The result of a check.
#[derive(Debug)]
pub struct Verdict {
    /// Everything wrong, in order.
    pub problems: Vec<Problem>,
    /// One line.
    pub summary: String,
    /// Whether the configuration can be used.
    pub good: bool,
}

/// `EX_CONFIG` of sysexits.h(3).
const EX_CONFIG: u8 = 78;

impl Verdict {
    /// The verdict on the configuration whose main file is `main`.
    #[must_use]
    pub fn of(main: &Path, checked: Result<Checked, Vec<Problem>>) -> Self {
        let Checked { config, problems } = checked.unwrap_or_else(|problems| Checked { config: None, problems });
        let refusing = problems.iter().filter(|problem| problem.refuses()).count();
        let warnings = problems.len() - refusing;
        let mut summary = match &config {
            Some(config) => format!("{} is good: {}", main.display(), contents(config)),
            None => format!("{}: {}", main.display(), count(refusing, "problem")),
        };
        if warnings > 0 {
            summary.push_str(", ");
            summary.push_str(&count(warnings, "warning"));
        }
        Self { problems, summary, good: config.is_some() }
    }

    /// Every problem with its excerpt, then the summary.
    #[must_use]
    pub fn render(&self, look: RenderStyle) -> String {
        let mut text: String = self.problems.iter().map(|problem| problem.render(look) + "\n").collect();
        text.push_str(&self.summary);
        text.push('\n');
        text
    }

    pub(super) fn print(&self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        let plain = !stderr.is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let look = if plain { RenderStyle::Plain } else { RenderStyle::Coloured };
        // stderr may be closed; the exit code has the verdict all the same
        let _ = stderr.write_all(self.render(look).as_bytes());
        if self.good { ExitCode::SUCCESS } else { ExitCode::from(EX_CONFIG) }
    }
}

/// `1 listener, 2 sites, 3 pools, 7 servers`
fn contents(config: &Config) -> String {
    let servers = config.pools.iter().map(|pool| pool.servers.len()).sum();
    [
        count(config.listeners.len() + config.tcp.len(), "listener"),
        count(config.sites.len(), "site"),
        count(config.pools.len(), "pool"),
        count(servers, "server"),
    ]
    .join(", ")
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        Verdict::of(Path::new("segue.toml"), Ok(Sources::from_text(text).check()))
    }

    #[test]
    fn the_summary_counts_what_there_is() {
        let good = verdict("[site.'*']\nto = ['a:1', 'b:1']\n[tcp.db]\nto = ['c:1']\n");
        assert!(good.good);
        assert_eq!(good.summary, "segue.toml is good: 2 listeners, 1 site, 2 pools, 3 servers");
    }

    #[test]
    fn the_summary_of_a_refusal_counts_problems_and_warnings_apart() {
        let bad = verdict("colour = 1\n[pool.x]\nservers = ['a:1']\n[pool.y]\nservers = []\n");
        assert!(!bad.good);
        assert_eq!(bad.summary, "segue.toml: 2 problems, 2 warnings");
    }
}
