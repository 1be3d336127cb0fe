//! One order, from its beginning to the certificate, or on from where another process left it.
//!
//! ```text
//!   (none) ──newOrder──▶ pending ──answers are there──▶ ready ──finalize──▶ processing ──▶ valid ──▶ written
//!                           └──the authority refuses an answer──▶ invalid, and forgotten
//! ```
//!
//! The states are the authority's (RFC 8555 §7.1.6). The file of the order has its address before anything is done for it,
//! and its key before that is used: so what dies in between loses nothing.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::AcmeError;
use super::challenges::Challenges;
use super::hook::{self, HookAction};
use super::saved::{OpenOrder, SavedChallenge, SavedOrder};
use super::state_directory::{self, StateDirectory};
use crate::config::{AcmeChallenge, AcmeSettings};
use crate::tls::{Certificate, CertificateFiles};

/// What orders need.
pub struct CertificateOrders<'o> {
    /// Where all is kept.
    pub state: &'o StateDirectory,
    /// The settings.
    pub settings: &'o AcmeSettings,
}

/// How long an authority may take for one step of an order: it asks from several places, and may wait for logs.
const STEP: Duration = Duration::from_secs(150);

impl CertificateOrders<'_> {
    /// What is known of this host.
    #[must_use]
    pub fn load(&self, host: &str) -> SavedOrder {
        let path = self.state.order(host);
        let saved = state_directory::read_json::<SavedOrder>(&path).unwrap_or_default();
        if saved.directory == self.settings.directory {
            return saved;
        }
        SavedOrder { directory: self.settings.directory.clone(), ..SavedOrder::default() }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, host: &str, saved: &SavedOrder) -> Result<(), AcmeError> {
        state_directory::write_json(&self.state.order(host), saved)
    }

    /// Goes on with the order for `host`, or begins one, and writes the certificate. `replaces` names the one that it
    /// follows, where the authority wants to know.
    ///
    /// # Errors
    /// When there is none. The order stays open where it can go on later.
    pub async fn obtain(
        &self,
        account: &Account,
        host: &str,
        replaces: Option<CertificateIdentifier<'static>>,
        saved: &mut SavedOrder,
    ) -> Result<(), AcmeError> {
        let done = self.follow(account, host, replaces, saved).await;
        match &done {
            // the authority is asked about the same order again
            Err(error) if error.is_of_authority() || matches!(error, AcmeError::TooLate | AcmeError::File { .. }) => {}
            _ => self.close(host, saved).await?,
        }
        done
    }

    async fn follow(
        &self,
        account: &Account,
        host: &str,
        replaces: Option<CertificateIdentifier<'static>>,
        saved: &mut SavedOrder,
    ) -> Result<(), AcmeError> {
        let mut order = self.open(account, host, replaces, saved).await?;
        if order.state().status == OrderStatus::Pending {
            self.authorize(&mut order, host, saved).await?;
        }
        let key = saved.open.as_ref().map(|open| open.key.clone()).unwrap_or_default();
        if order.state().status == OrderStatus::Ready {
            order.finalize_csr(&request(host, &key)?).await?;
        }
        let chain = match order.state().status {
            OrderStatus::Invalid => return Err(refused(&mut order, host).await),
            OrderStatus::Valid => order.certificate().await?.unwrap_or_default(),
            _ => order.poll_certificate(&policy()).await.map_err(late)?,
        };
        self.write(host, &key, &chain)
    }

    /// The order that is open, if the authority still knows it, else a new one.
    async fn open(
        &self,
        account: &Account,
        host: &str,
        replaces: Option<CertificateIdentifier<'static>>,
        saved: &mut SavedOrder,
    ) -> Result<Order, AcmeError> {
        if let Some(open) = &saved.open {
            match account.order(open.url.clone()).await.map_err(AcmeError::from) {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        return Ok(order);
                    }
                }
                Err(error) if error.is_of_authority() => return Err(error),
                Err(_) => {} // the authority forgot it, or it is that of another account
            }
            self.close(host, saved).await?;
        }
        let identifiers = [Identifier::Dns(host.to_owned())];
        let new = |replaces: Option<CertificateIdentifier<'static>>| {
            let mut order = NewOrder::new(&identifiers);
            if let Some(replaces) = replaces {
                order = order.replaces(replaces);
            }
            if let Some(profile) = &self.settings.profile {
                order = order.profile(profile);
            }
            order
        };
        let mut order = account.new_order(&new(replaces.clone())).await;
        if replaces.is_some() && order.as_ref().is_err_and(is_about_replacing) {
            order = account.new_order(&new(None)).await;
        }
        let order = order?;
        let key = KeyPair::generate().map_err(|error| AcmeError::Key(error.to_string()))?;
        let key = Zeroizing::new(key.serialize_pem());
        saved.open = Some(OpenOrder { url: order.url().to_owned(), key, challenges: Vec::new() });
        self.save(host, saved)?;
        Ok(order)
    }

    /// Answers what the authority wants to see, and waits until it has seen it.
    async fn authorize(&self, order: &mut Order, host: &str, saved: &mut SavedOrder) -> Result<(), AcmeError> {
        let wanted = match self.settings.challenge {
            AcmeChallenge::Http01 => ChallengeType::Http01,
            AcmeChallenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            AcmeChallenge::Dns01 => ChallengeType::Dns01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status != AuthorizationStatus::Pending {
                continue; // valid from another order, or the order is invalid
            }
            let kind = self.settings.challenge;
            let offered = authorization.challenge(wanted.clone());
            let mut challenge = offered.ok_or_else(|| AcmeError::NotOffered(kind.name()))?;
            let key = challenge.key_authorization();
            let answer = SavedChallenge {
                kind: kind.name(),
                host: host.strip_prefix("*.").unwrap_or(host).to_owned(),
                token: challenge.token.clone(),
                authorization: if kind == AcmeChallenge::Dns01 { key.dns_value() } else { key.as_str().to_owned() },
                is_made: false,
            };
            self.answer(answer, host, saved).await?;
            if challenge.status == ChallengeStatus::Pending {
                challenge.set_ready().await?;
            }
        }
        match order.poll_ready(&policy()).await {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(refused(order, host).await),
            Err(instant_acme::Error::Api(_)) if order.state().status == OrderStatus::Invalid => {
                Err(refused(order, host).await)
            }
            Err(error) => Err(late(error)),
        }
    }

    /// Makes an answer, unless another process did.
    async fn answer(&self, answer: SavedChallenge, host: &str, saved: &mut SavedOrder) -> Result<(), AcmeError> {
        let Some(open) = &mut saved.open else { return Ok(()) };
        let is_made = open.challenges.iter().any(|one| one.is_made && one.token == answer.token);
        if !open.challenges.iter().any(|one| one.token == answer.token) {
            open.challenges.push(answer.clone());
            self.save(host, saved)?;
        }
        Challenges::new(self.state).put(&answer)?;
        if answer.kind() == Some(AcmeChallenge::Dns01) && !is_made {
            self.hook(HookAction::Present, &answer).await?;
        }
        let made = saved.open.iter_mut().flat_map(|open| &mut open.challenges);
        made.filter(|one| one.token == answer.token).for_each(|one| one.is_made = true);
        self.save(host, saved)
    }

    async fn hook(&self, action: HookAction, answer: &SavedChallenge) -> Result<(), AcmeError> {
        match &self.settings.dns_hook {
            Some(command) => hook::run(command, action, &answer.host, &answer.authorization).await,
            None => Err(AcmeError::Hook("the configuration names none any more".to_owned())),
        }
    }

    /// Forgets the open order, and takes its answers away.
    ///
    /// # Errors
    /// When that cannot be written.
    pub async fn close(&self, host: &str, saved: &mut SavedOrder) -> Result<(), AcmeError> {
        let Some(open) = saved.open.take() else { return Ok(()) };
        for challenge in &open.challenges {
            Challenges::new(self.state).remove(challenge);
            if challenge.kind() == Some(AcmeChallenge::Dns01) {
                // a record that stays does no harm
                let _ = self.hook(HookAction::CleanUp, challenge).await;
            }
        }
        self.save(host, saved)
    }

    /// Writes what was issued, once it is sure that it can be served.
    fn write(&self, host: &str, key: &str, chain: &str) -> Result<(), AcmeError> {
        let unusable = |why: String| AcmeError::Unusable(why);
        let path = self.state.certificate(host);
        let files = CertificateFiles { certificate: path.clone(), key: path.clone() };
        let certificates = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
        let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(error.to_string()))?;
        let certificate = Certificate::new(&files, certificates, &private);
        let certificate = certificate.map_err(|error| unusable(error.reason.to_string()))?;
        if !certificate.names().iter().any(|name| name == host) {
            return Err(unusable(format!("it is for {}, not for {host}", certificate.names().join(", "))));
        }
        let both = Zeroizing::new(format!("{key}\n{chain}"));
        state_directory::write(&path, both.as_bytes())
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(STEP)
}

fn late(error: instant_acme::Error) -> AcmeError {
    if matches!(error, instant_acme::Error::Timeout(_)) { AcmeError::TooLate } else { error.into() }
}

/// The authority has a rule about what an order may replace, or does not know the certificate (RFC 9773 §5).
fn is_about_replacing(error: &instant_acme::Error) -> bool {
    match error {
        instant_acme::Error::Api(problem) => {
            let kind = problem.r#type.as_deref().unwrap_or_default();
            ["alreadyReplaced", "malformed", "notFound", "unauthorized"].iter().any(|one| kind.ends_with(one))
        }
        instant_acme::Error::Unsupported(_) => true,
        // what the authority makes of it stands in its answer
        instant_acme::Error::Other(error) => error.to_string().contains("replaces"),
        _ => false,
    }
}

/// The request for a certificate (RFC 2986), as DER.
fn request(host: &str, key: &str) -> Result<Vec<u8>, AcmeError> {
    let failed = |error: rcgen::Error| AcmeError::Key(error.to_string());
    let key = KeyPair::from_pem(key).map_err(failed)?;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(failed)?.der().to_vec())
}

/// What the authority saw when it looked at the answers.
async fn refused(order: &mut Order, host: &str) -> AcmeError {
    let of_order = order.state().error.as_ref().and_then(|problem| problem.detail.clone());
    let mut why = None;
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        why = why.or(errors.into_iter().find_map(|problem| problem.detail.clone()));
    }
    let why = why.or(of_order).unwrap_or_else(|| "the authority gives no reason".to_owned());
    AcmeError::Challenge { host: host.to_owned(), why }
}
