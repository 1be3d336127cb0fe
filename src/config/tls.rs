//! The formats of certificates.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use figment::value::Value;

use super::address::HostPattern;
use super::problem::quoted;
use super::schema::{At, ValueFormat, default, table};
use super::spot::Spot;
use super::units;

/// A file, by its absolute path.
impl ValueFormat for PathBuf {
    type Value = Self;
    const FORM: &str = "the absolute path of a file, such as \"/etc/ssl/app.pem\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(path) = at.text().map(Self::from) else { return at.wrong(Self::FORM, None) };
        if path.is_absolute() { Some(path) } else { relative(at) }
    }

    fn show(value: &Self) -> String {
        value.display().to_string()
    }
}

/// The service has no directory that a path could start from.
fn relative<T>(at: &mut At<'_, '_>) -> Option<T> {
    let message = format!("{} is not an absolute path", quoted(&at.written()));
    at.unusable(message, "write the path from its beginning, with \"/\"")
}

table! {
    /// A certificate in two files, as in `{ certificate = "/etc/ssl/app.pem", key = "/etc/ssl/app.key" }`.
    TwoFiles "TLS" {
        /// The server's certificate, followed by those that lead to a root, as PEM.
        certificate: PathBuf = required("/etc/ssl/app.pem"),
        /// Its private key, as PEM and without a passphrase.
        key: PathBuf = required("/etc/ssl/app.key"),
    }
}

/// Where the certificate of a site is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SiteCertificate {
    /// A directory with `fullchain.pem` and `privkey.pem`, one with many certificates, or a file with certificate and key.
    Path(PathBuf),
    /// Two files.
    Files {
        /// The certificate, followed by those that lead to a root.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// A credential of the unit, by its name (`LoadCredential=` of systemd.exec(5)).
    Credential(String),
    /// One that a certificate authority issues when asked for it (ACME).
    Automatic,
    /// Any of these, such as one with a key of ECDSA and one with a key of RSA.
    Several(Vec<SiteCertificate>),
}

/// What has a certificate for clients, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateUser {
    /// A site, by its host.
    Site(HostPattern),
    /// A TCP listener, by its name.
    Tcp(String),
}

impl CertificateUser {
    /// As it stands in a sentence: `the site "app.example.com"`.
    #[must_use]
    pub fn named(&self) -> String {
        match self {
            Self::Site(host) => format!("the site \"{host}\""),
            Self::Tcp(name) => format!("the listener {}", quoted(name)),
        }
    }

    /// Its table, as a path in TOML's notation.
    #[must_use]
    pub fn table(&self) -> String {
        match self {
            Self::Site(host) => Spot::table("site", &host.to_string()).to_string(),
            Self::Tcp(name) => Spot::table("tcp", name).to_string(),
        }
    }

    /// The host of a site.
    #[must_use]
    pub fn host(&self) -> Option<&HostPattern> {
        match self {
            Self::Site(host) => Some(host),
            Self::Tcp(_) => None,
        }
    }
}

/// As it stands in a list: the host of a site, and what is none in brackets.
impl fmt::Display for CertificateUser {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site(host) => fmt::Display::fmt(host, to),
            Self::Tcp(name) => write!(to, "[tcp.{name}]"),
        }
    }
}

/// The word for an automatic certificate.
const AUTOMATIC: &str = "auto";
/// What stands before the name of a credential.
const CREDENTIAL: &str = "credential:";
/// How a certificate in files is written.
const DIRECTORY: &str =
    "a directory with fullchain.pem and privkey.pem, such as \"/etc/letsencrypt/live/app.example.com\"";
const TWO_FILES: &str = "{ certificate = \"…\", key = \"…\" }";

impl ValueFormat for SiteCertificate {
    type Value = Self;

    fn describe() -> String {
        format!("{DIRECTORY}, or \"{AUTOMATIC}\", or {TWO_FILES}")
    }

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        match at.text() {
            Some(AUTOMATIC) => Some(Self::Automatic),
            _ => in_files::<Self>(at),
        }
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Path(path) => PathBuf::show(path),
            Self::Files { certificate, key } => {
                let [certificate, key] = [certificate, key].map(|path| quoted(&PathBuf::show(path)));
                format!("{{ certificate = {certificate}, key = {key} }}")
            }
            Self::Credential(name) => format!("{CREDENTIAL}{name}"),
            Self::Automatic => AUTOMATIC.to_owned(),
            Self::Several(several) => several.iter().map(Self::show).collect::<Vec<_>>().join(", "),
        }
    }
}

/// The certificate of what is no site, and so has no host for which an authority could issue one.
pub struct CertificateInFiles;

impl ValueFormat for CertificateInFiles {
    type Value = SiteCertificate;

    fn describe() -> String {
        format!("{DIRECTORY}, or {TWO_FILES}")
    }

    fn read(at: &mut At<'_, '_>) -> Option<SiteCertificate> {
        if at.text() != Some(AUTOMATIC) {
            return in_files::<Self>(at);
        }
        let message = "an automatic certificate is for the host of a site, and there is none here";
        let help = at.write("\"/etc/letsencrypt/live/app.example.com\"");
        at.unusable(message.to_owned(), help)
    }

    fn show(value: &SiteCertificate) -> String {
        SiteCertificate::show(value)
    }
}

/// The files of a certificate, or a list with elements of the format `F`.
fn in_files<F: ValueFormat<Value = SiteCertificate>>(at: &mut At<'_, '_>) -> Option<SiteCertificate> {
    match at.value {
        // The table is a value here: a line below its own could not add the key.
        Value::Dict(_, dict) if dict.contains_key("certificate") != dict.contains_key("key") => {
            let path = |key: &str, example: &str| quoted(at.get(key).and_then(Value::as_str).unwrap_or(example));
            let (certificate, key) = (path("certificate", "/etc/ssl/app.pem"), path("key", "/etc/ssl/app.key"));
            let help = at.write(&format!("{{ certificate = {certificate}, key = {key} }}"));
            let missing = if dict.contains_key("key") { "certificate" } else { "key" };
            at.unusable(format!("`tls` has no `{missing}`"), help)
        }
        Value::Dict(..) => at.table().map(|TwoFiles { certificate, key }| SiteCertificate::Files { certificate, key }),
        Value::Array(_, list) if list.is_empty() => {
            at.unusable("`tls` names no certificate".to_owned(), "name one, or take the line out")
        }
        Value::Array(..) => Vec::<F>::read(at).map(SiteCertificate::Several),
        Value::String(_, text) => Some(match file(at, text)? {
            SecretFile::Path(path) => SiteCertificate::Path(path),
            SecretFile::Credential(name) => SiteCertificate::Credential(name),
        }),
        _ => at.wrong(&F::describe(), None),
    }
}

impl SiteCertificate {
    /// Whether it, or one of several, is had from a certificate authority.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        match self {
            Self::Automatic => true,
            Self::Several(several) => several.iter().any(Self::is_automatic),
            Self::Path(_) | Self::Files { .. } | Self::Credential(_) => false,
        }
    }
}

/// A file with something secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretFile {
    /// Its path.
    Path(PathBuf),
    /// A credential of the unit, by its name (`LoadCredential=` of systemd.exec(5)).
    Credential(String),
}

impl ValueFormat for SecretFile {
    type Value = Self;
    const FORM: &str = "the absolute path of a file, or \"credential:NAME\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(text) = at.text() else { return at.wrong(Self::FORM, None) };
        if text.len() > 20 && !text.starts_with(CREDENTIAL) && !text.contains(['/', '.']) {
            // what is written is not shown: it is the secret itself
            let message = format!("`{}` is the path of a file with the secret, not the secret", at.name());
            let help = "write it into a file that the service alone can read, and that file's path here";
            return at.unusable(message, help);
        }
        file(at, text)
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Path(path) => PathBuf::show(path),
            Self::Credential(name) => format!("{CREDENTIAL}{name}"),
        }
    }
}

/// The file that `text` names; the name of a credential is one of a file (systemd.exec(5)).
fn file(at: &mut At<'_, '_>, text: &str) -> Option<SecretFile> {
    match text.strip_prefix(CREDENTIAL) {
        None if text.starts_with('/') => Some(SecretFile::Path(text.into())),
        None => relative(at),
        Some(name) if !(1..=255).contains(&name.len()) || name.contains(['/', '\0']) || [".", ".."].contains(&name) => {
            let message = format!("{} names no credential", quoted(&at.written()));
            at.unusable(message, "write the name of `LoadCredential=NAME:PATH`, as in \"credential:app\"")
        }
        Some(name) => Some(SecretFile::Credential(name.to_owned())),
    }
}

/// Whether the clients of a site have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientVerify {
    /// All of them.
    Required,
    /// Those that have one.
    Optional,
}

table! {
    /// What `Strict-Transport-Security` says.
    HstsSettings "HSTS" {
        /// How long.
        max_age: MaxAge = required("1y"),
        /// Whether hosts below that of the site count too.
        include_subdomains: bool = false,
        /// Whether browsers may ship with it, which <https://hstspreload.org> asks for.
        preload: bool = false,
    }
}

/// A duration of any length.
pub struct MaxAge;

impl ValueFormat for MaxAge {
    type Value = Duration;
    const FORM: &str = "a duration such as \"1y\"";

    fn read(at: &mut At<'_, '_>) -> Option<Duration> {
        max_age(Self::FORM, at)
    }

    fn show(value: &Duration) -> String {
        units::show_duration(*value)
    }
}

fn max_age(format: &str, at: &mut At<'_, '_>) -> Option<Duration> {
    let help = at.write("\"1y\"");
    at.text().and_then(units::duration).or_else(|| at.wrong(format, help))
}

/// The value of `Strict-Transport-Security` (RFC 6797 §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts(String);

impl Hsts {
    /// As it goes out.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ValueFormat for Hsts {
    type Value = Self;
    const FORM: &str = "a duration such as \"1y\", or { max_age = \"1y\", include_subdomains = true }";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let HstsSettings { max_age, include_subdomains, preload } = match at.value {
            Value::Dict(_, dict) if !dict.contains_key("max_age") => {
                let help = at.write("{ max_age = \"1y\" }");
                return at.unusable("`hsts` has no `max_age`".to_owned(), help);
            }
            Value::Dict(..) => at.table()?,
            _ => HstsSettings { max_age: max_age(Self::FORM, at)?, ..default() },
        };
        let include_subdomains = if include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if preload { "; preload" } else { "" };
        Some(Self(format!("max-age={}{include_subdomains}{preload}", max_age.as_secs())))
    }

    fn show(value: &Self) -> String {
        value.0.clone()
    }
}
