//! The formats of `[acme]`.

use clap::ValueEnum;

use super::problem::quoted;
use super::schema::{At, ValueFormat};
use super::values::Word;

/// An address with `https://`, as it is written.
#[derive(Clone, Copy, Debug)]
pub struct HttpsUrl;

impl ValueFormat for HttpsUrl {
    type Value = String;
    const FORM: &str = "an address such as \"https://acme-v02.api.letsencrypt.org/directory\"";

    fn read(at: &mut At<'_, '_>) -> Option<String> {
        let Some(text) = at.text() else { return at.wrong(Self::FORM, None) };
        let url = text.parse::<http::Uri>().ok().filter(|url| url.host().is_some_and(|host| !host.is_empty()));
        match url.as_ref().and_then(http::Uri::scheme_str) {
            Some("https") => Some(text.to_owned()),
            Some("http") => {
                let message = format!("{} is without TLS, which ACME forbids (RFC 8555 §6.1)", quoted(text));
                let help = at.write(&quoted(&text.replacen("http", "https", 1)));
                at.unusable(message, help)
            }
            _ => at.wrong(Self::FORM, None),
        }
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

/// An e-mail address, without `mailto:`.
#[derive(Clone, Copy, Debug)]
pub struct MailAddress;

impl ValueFormat for MailAddress {
    type Value = String;
    const FORM: &str = "an e-mail address such as \"admin@example.com\"";

    fn read(at: &mut At<'_, '_>) -> Option<String> {
        let Some(text) = at.text() else { return at.wrong(Self::FORM, None) };
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let is_good = address.split_once('@').is_some_and(|(user, host)| {
            // RFC 8555 §7.3: one address, and no header fields
            !user.is_empty() && host.contains('.') && !host.contains('@')
        }) && !address.contains(|one: char| one.is_whitespace() || ",?".contains(one));
        if is_good { Some(address.to_owned()) } else { at.wrong(Self::FORM, None) }
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

/// How a certificate authority sees that a name belongs to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum AcmeChallenge {
    /// It asks for a file over plain HTTP, on port 80 (RFC 8555 §8.3).
    #[value(name = "http-01")]
    Http01,
    /// It does a TLS handshake on port 443 (RFC 8737).
    #[value(name = "tls-alpn-01")]
    TlsAlpn01,
    /// It looks for a TXT record (RFC 8555 §8.4).
    #[value(name = "dns-01")]
    Dns01,
}

impl AcmeChallenge {
    /// As the protocol names it.
    #[must_use]
    pub fn name(self) -> String {
        Word::show(&self)
    }

    /// The one with this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::from_str(name, false).ok()
    }
}
