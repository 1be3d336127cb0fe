//! When a certificate is renewed: when its authority says so (ARI, RFC 9773), else by its lifetime.

use std::time::{Duration, SystemTime};

use instant_acme::{Account, CertificateIdentifier};
use rustls::pki_types::{CertificateDer, Der};
use serde::{Deserialize, Serialize};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::AcmeError;
use crate::tls::Certificate;

/// When the certificate of a host is renewed. It is kept: a new time at each reload would be no time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedRenewal {
    /// Which certificate that is about.
    pub certificate: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// When the authority is asked again, in seconds since 1970; none when it does not say such things.
    pub ask_again: Option<u64>,
    /// Where the authority says why.
    pub explanation: Option<String>,
}

/// A certificate shorter than this is renewed at half of its time, a longer one at two thirds.
const SHORT: Duration = Duration::from_secs(10 * 24 * 60 * 60);
/// The authority is asked at most so often, whatever it says, and at least so often (RFC 9773 §4.3.2).
const ASK: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(24 * 60 * 60)];
/// When it could not be asked.
const ASK_AFTER_FAILURE: Duration = Duration::from_secs(6 * 60 * 60);

/// What names a certificate for its authority (RFC 9773 §4.1); none when it does not say which key signed it.
#[must_use]
pub fn identifier(certificate: &CertificateDer<'_>) -> Option<CertificateIdentifier<'static>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let about = parsed.tbs_certificate();
    let (_, authority) = about.get_extension::<AuthorityKeyIdentifier>().ok()??;
    let key = authority.key_identifier?;
    // without tag and length, with the zero that keeps it positive
    let serial = about.serial_number().to_der().ok()?;
    let identifier = CertificateIdentifier::new(Der::from_slice(key.as_bytes()), Der::from_slice(serial.get(2..)?));
    Some(identifier.into_owned())
}

/// When a certificate is renewed of which the authority says nothing; `share` is between 0 and 1, so that what was issued
/// together is not renewed together.
#[must_use]
pub fn by_lifetime(from: SystemTime, until: SystemTime, share: f64) -> SystemTime {
    let life = until.duration_since(from).unwrap_or_default();
    let part = if life < SHORT { 1.0 / 2.0 } else { 2.0 / 3.0 };
    from + life.mul_f64(part - 0.02 * share.clamp(0.0, 1.0))
}

/// A time in the window, uniformly (RFC 9773 §4.2).
#[must_use]
pub fn in_window(start: SystemTime, end: SystemTime, share: f64) -> SystemTime {
    start + end.duration_since(start).unwrap_or_default().mul_f64(share.clamp(0.0, 1.0))
}

/// Asks the authority where that is due, and says when the certificate is renewed. What could not be asked is asked
/// later: no certificate waits for that.
pub async fn plan(
    account: &Account,
    certificate: &Certificate,
    before: Option<&SavedRenewal>,
    now: SystemTime,
) -> SavedRenewal {
    let id = certificate.chain().first().and_then(identifier);
    let name = name(certificate);
    let before = before.filter(|before| before.certificate == name);
    let mut plan = before.cloned().unwrap_or_else(|| by_lifetime_of(certificate, random()));
    let Some(id) = id else { return plan };
    if before.is_some_and(|before| before.ask_again.is_none_or(|again| seconds(now) < again)) {
        return plan;
    }
    match ask(account, &id).await {
        Ok((start, end, explanation, again)) => {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(plan.at);
            // the time that was picked stays, as long as the window allows
            if before.is_none() || at < start || at > end.min(last_time(certificate)) {
                plan.at = seconds(in_window(start, end, random()).min(last_time(certificate)));
            }
            plan.explanation = explanation;
            plan.ask_again = Some(seconds(now + again.clamp(ASK[0], ASK[1])));
        }
        Err(AcmeError::Authority(instant_acme::Error::Unsupported(_))) => plan.ask_again = None,
        Err(_) => plan.ask_again = Some(after_failure(now)),
    }
    plan
}

/// The plan without the authority.
#[must_use]
pub fn by_lifetime_of(certificate: &Certificate, share: f64) -> SavedRenewal {
    let at = seconds(by_lifetime(certificate.not_before(), certificate.not_after(), share));
    SavedRenewal { certificate: name(certificate), at, ask_again: Some(0), explanation: None }
}

/// What tells it from the one before.
#[must_use]
pub fn name(certificate: &Certificate) -> String {
    let id = certificate.chain().first().and_then(identifier);
    id.map_or_else(|| format!("until {}", seconds(certificate.not_after())), |id| id.to_string())
}

/// A window after this time is that of an authority with a wrong clock.
fn last_time(certificate: &Certificate) -> SystemTime {
    let (from, until) = (certificate.not_before(), certificate.not_after());
    from + until.duration_since(from).unwrap_or_default().mul_f64(0.9)
}

async fn ask(
    account: &Account,
    id: &CertificateIdentifier<'_>,
) -> Result<(SystemTime, SystemTime, Option<String>, Duration), AcmeError> {
    let (info, again) = account.renewal_info(id).await?;
    let window = info.suggested_window;
    Ok((window.start.into(), window.end.into(), info.explanation_url, again))
}

/// When it is asked again after it could not be.
#[must_use]
pub fn after_failure(now: SystemTime) -> u64 {
    seconds(now + ASK_AFTER_FAILURE)
}

/// Seconds since 1970.
#[must_use]
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Between 0 and 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // without it all renew at the same share of their time
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_time_and_a_short_one_at_half() {
        let (from, day) = (SystemTime::UNIX_EPOCH, Duration::from_secs(24 * 60 * 60));
        assert_eq!(by_lifetime(from, from + 90 * day, 0.0), from + 60 * day);
        assert_eq!(by_lifetime(from, from + 6 * day, 0.0), from + 3 * day);
        assert!(by_lifetime(from, from + 90 * day, 1.0) < from + 59 * day);
        assert_eq!(in_window(from, from + 2 * day, 0.5), from + day);
        assert_eq!(in_window(from + day, from, 0.5), from + day);
    }

    #[test]
    fn a_certificate_is_named_as_the_rfc_names_it() {
        // the example of RFC 9773 §4.1
        let key = [
            0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE, 0x01,
            0xC8, 0xD4,
        ];
        let id = CertificateIdentifier::new(Der::from_slice(&key), Der::from_slice(&[0, 0x87, 0x65, 0x43, 0x21]));
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }
}
