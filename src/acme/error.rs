//! Why there is no certificate.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Why an order did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The authority refused something, or could not be spoken with.
    #[error("{}", of_authority(.0))]
    Authority(#[from] instant_acme::Error),
    /// The authority found that the host is not this machine.
    #[error("{host}: {why}")]
    Challenge {
        /// The host.
        host: String,
        /// What the authority saw.
        why: String,
    },
    /// The authority does not offer the challenge.
    #[error("the authority does not offer the challenge {0}")]
    NotOffered(String),
    /// It took longer than any authority needs.
    #[error("the authority did not finish the order in time")]
    TooLate,
    /// What was issued cannot be used.
    #[error("the certificate that was issued cannot be used: {0}")]
    Unusable(String),
    /// The state directory, or a file that the configuration names.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file that the configuration names is not what it should be.
    #[error("{}: {what}", .path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// The library for cryptography.
    #[error("no key could be made: {0}")]
    Key(String),
    /// The command for records in the DNS.
    #[error("dns_hook: {0}")]
    Hook(String),
}

/// What stands before the name of an error (RFC 8555 §6.7).
const URN: &str = "urn:ietf:params:acme:error:";

impl AcmeError {
    /// As the file or directory of an error of the system.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }

    /// The type of the error that the authority gave, without what all types begin with.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Authority(instant_acme::Error::Api(problem)) => {
                problem.r#type.as_deref().map(|kind| kind.strip_prefix(URN).unwrap_or(kind))
            }
            _ => None,
        }
    }

    /// Whether the reason has nothing to do with the order: other orders would fail too.
    #[must_use]
    pub fn is_of_authority(&self) -> bool {
        match self {
            Self::Authority(instant_acme::Error::Api(_)) => {
                matches!(
                    self.kind(),
                    Some(
                        "accountDoesNotExist"
                            | "badNonce"
                            | "serverInternal"
                            | "externalAccountRequired"
                            | "userActionRequired"
                    )
                )
            }
            Self::Authority(_) => true,
            _ => false,
        }
    }
}

fn of_authority(error: &instant_acme::Error) -> String {
    match error {
        instant_acme::Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or("error");
            let kind = kind.strip_prefix(URN).unwrap_or(kind);
            let more = problem.subproblems.iter().map(|one| format!("; {one}")).collect::<String>();
            format!("{kind}: {}{more}", problem.detail.as_deref().unwrap_or("the authority says no more"))
        }
        instant_acme::Error::Other(error) => with_causes(error.as_ref()),
        other => other.to_string(),
    }
}

/// What lies below tells most: "client error (Connect)" alone says nothing.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The pause after an order failed for the `failures`th time in a row, before `wanted`, which the authority named.
///
/// A host that fails its challenge is tried four times in the first hour, of which Let's Encrypt allows five. An authority that
/// does not answer is asked sooner.
#[must_use]
pub fn pause(error: &AcmeError, failures: u32, wanted: Option<SystemTime>, now: SystemTime) -> Duration {
    let (first, factor, longest) = match error {
        _ if error.is_of_authority() => (Duration::from_secs(5), 2_u32, Duration::from_secs(60 * 60)),
        _ => (Duration::from_secs(60), 4, Duration::from_secs(6 * 60 * 60)),
    };
    let pause = first.saturating_mul(factor.saturating_pow(failures.saturating_sub(1))).min(longest);
    let wanted = wanted.and_then(|wanted| wanted.duration_since(now).ok()).unwrap_or_default();
    let rate = if error.kind() == Some("rateLimited") && wanted.is_zero() { RATE_LIMITED } else { Duration::ZERO };
    pause.max(wanted.min(LONGEST_WANTED)).max(rate)
}

/// The pause when the authority names a limit and no time.
const RATE_LIMITED: Duration = Duration::from_secs(60 * 60);
/// An authority that names a later time is asked then all the same: a certificate lives for no longer than that.
const LONGEST_WANTED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn api(kind: &str) -> AcmeError {
        let json = format!(r#"{{ "type": "{URN}{kind}", "detail": "no" }}"#);
        instant_acme::Error::Api(serde_json::from_str(&json).expect("a problem")).into()
    }

    #[test]
    fn a_host_that_fails_its_challenge_is_tried_four_times_in_an_hour() {
        let (error, now) = (api("unauthorized"), SystemTime::now());
        let (mut at, mut tries) = (Duration::ZERO, 0);
        while at < Duration::from_secs(3600) {
            tries += 1;
            at += pause(&error, tries, None, now);
        }
        assert_eq!(tries, 4);
        assert_eq!(pause(&error, 99, None, now), Duration::from_secs(6 * 3600));
    }

    #[test]
    fn the_time_that_the_authority_names_holds_and_a_limit_without_one_is_an_hour() {
        let now = SystemTime::now();
        let named = Some(now + Duration::from_secs(7200));
        assert_eq!(pause(&api("rateLimited"), 1, named, now), Duration::from_secs(7200));
        assert_eq!(pause(&api("rateLimited"), 1, None, now), RATE_LIMITED);
        assert_eq!(pause(&api("rateLimited"), 1, Some(now + 99 * LONGEST_WANTED), now), LONGEST_WANTED);
        assert_eq!(pause(&api("badNonce"), 1, None, now), Duration::from_secs(5));
    }
}
