//! The formats of certificates.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Dict, Value};

use super::address::HostPattern;
use super::problem::quoted;
use super::schema::{At, ValueFormat, table};
use super::spot::PathStep;
use super::units;
use super::values::word;

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
    at.unusable(message, "write the path from its beginning, with \"/\"".to_owned())
}

fn half_of_a_pair<T>(at: &mut At<'_, '_>, dict: &Dict) -> Option<T> {
    let path = |key: &str, example: &str| quoted(dict.get(key).and_then(Value::as_str).unwrap_or(example));
    let missing = if dict.contains_key("key") { "certificate" } else { "key" };
    let both = format!(
        "{{ certificate = {}, key = {} }}",
        path("certificate", "/etc/ssl/app.pem"),
        path("key", "/etc/ssl/app.key")
    );
    let help = at.write(&both);
    at.unusable(format!("`tls` has no `{missing}`"), help)
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

/// How a certificate is written where none can be had automatically.
const IN_FILES: &str = "a directory with fullchain.pem and privkey.pem, such as \
                        \"/etc/letsencrypt/live/app.example.com\", or { certificate = \"…\", key = \"…\" }";
/// The word for an automatic certificate.
const AUTOMATIC: &str = "auto";
/// What stands before the name of a credential.
const CREDENTIAL: &str = "credential:";

impl ValueFormat for SiteCertificate {
    type Value = Self;
    const FORM: &str = "a directory with fullchain.pem and privkey.pem, such as \
                        \"/etc/letsencrypt/live/app.example.com\", or \"auto\", or { certificate = \"…\", key = \"…\" }";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        match at.value {
            Value::Dict(_, dict) => {
                // The table is a value here: a line below its own could not add the key.
                if dict.contains_key("certificate") != dict.contains_key("key") {
                    return half_of_a_pair(at, dict);
                }
                at.table().map(|TwoFiles { certificate, key }| Self::Files { certificate, key })
            }
            Value::Array(_, list) if list.is_empty() => {
                at.unusable("`tls` names no certificate".to_owned(), "name one, or take the line out")
            }
            Value::Array(..) => Vec::<Self>::read(at).map(Self::Several),
            Value::String(_, path) if path.starts_with('/') => Some(Self::Path(path.into())),
            Value::String(_, text) if text == AUTOMATIC => Some(Self::Automatic),
            Value::String(_, text) => match text.strip_prefix(CREDENTIAL) {
                Some(name) => credential_name(at, name).map(Self::Credential),
                None => relative(at),
            },
            _ => {
                let is_of_tcp = at.spot.path.first() == Some(&PathStep::Key("tcp".to_owned()));
                at.wrong(if is_of_tcp { IN_FILES } else { Self::FORM }, None)
            }
        }
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Path(path) => path.display().to_string(),
            Self::Files { certificate, key } => {
                format!(
                    "{{ certificate = {}, key = {} }}",
                    quoted(&certificate.display().to_string()),
                    quoted(&key.display().to_string())
                )
            }
            Self::Credential(name) => format!("{CREDENTIAL}{name}"),
            Self::Automatic => AUTOMATIC.to_owned(),
            Self::Several(several) => several.iter().map(Self::show).collect::<Vec<_>>().join(", "),
        }
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

/// The name is one of a file (systemd.exec(5)).
fn credential_name(at: &mut At<'_, '_>, name: &str) -> Option<String> {
    let is_name =
        |name: &str| (1..=255).contains(&name.len()) && !name.contains(['/', '\0']) && name != "." && name != "..";
    if is_name(name) {
        return Some(name.to_owned());
    }
    let message = format!("{} names no credential", quoted(&at.written()));
    at.unusable(message, "write the name of `LoadCredential=NAME:PATH`, as in \"credential:app\"")
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
        match text.strip_prefix(CREDENTIAL) {
            Some(name) => credential_name(at, name).map(Self::Credential),
            None if text.starts_with('/') => Some(Self::Path(text.into())),
            None if text.len() > 20 && !text.contains(['/', '.']) => {
                // what is written is not shown: it is the secret itself
                let message = format!("`{}` is the path of a file with the secret, not the secret", at.name());
                at.unusable(message, "write it into a file that the service alone can read, and that file's path here")
            }
            None => relative(at),
        }
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Path(path) => path.display().to_string(),
            Self::Credential(name) => format!("{CREDENTIAL}{name}"),
        }
    }
}

/// Whether the clients of a site have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientVerify {
    /// All of them.
    Required,
    /// Those that have one.
    Optional,
}

impl ValueFormat for ClientVerify {
    type Value = Self;
    const FORM: &str = "\"required\" or \"optional\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        word(&[Self::Required, Self::Optional], at)
    }

    fn show(value: &Self) -> String {
        match value {
            Self::Required => "required".to_owned(),
            Self::Optional => "optional".to_owned(),
        }
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxAge(Duration);

impl ValueFormat for MaxAge {
    type Value = Self;
    const FORM: &str = "a duration such as \"1y\"";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(max_age) = at.text().and_then(units::duration) else {
            let help = at.write("\"1y\"");
            return at.wrong(Self::FORM, help);
        };
        Some(Self(max_age))
    }

    fn show(value: &Self) -> String {
        units::show_duration(value.0)
    }
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

    fn new(max_age: Duration) -> Self {
        Self(format!("max-age={}", max_age.as_secs()))
    }
}

impl ValueFormat for Hsts {
    type Value = Self;
    const FORM: &str = "a duration such as \"1y\", or { max_age = \"1y\", include_subdomains = true }";

    fn read(at: &mut At<'_, '_>) -> Option<Self> {
        let Some(dict) = at.value.as_dict() else {
            let Some(max_age) = at.text().and_then(units::duration) else {
                let help = at.write("\"1y\"");
                return at.wrong(Self::FORM, help);
            };
            return Some(Self::new(max_age));
        };
        if !dict.contains_key("max_age") {
            let help = at.write("{ max_age = \"1y\" }");
            return at.unusable("`hsts` has no `max_age`".to_owned(), help);
        }
        let HstsSettings { max_age, include_subdomains, preload } = at.table()?;
        let mut value = Self::new(max_age.0).0;
        if include_subdomains {
            value.push_str("; includeSubDomains");
        }
        if preload {
            value.push_str("; preload");
        }
        Some(Self(value))
    }

    fn show(value: &Self) -> String {
        value.0.clone()
    }
}
