//! The account at the certificate authority: registered once, then kept.

use base64ct::{Base64UrlUnpadded, Encoding};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::AcmeError;
use super::client::{AcmeClient, RetryAfter};
use super::state_directory::{self, StateDirectory};
use crate::config::{AcmeSettings, SecretFile};

/// The file of an account.
#[derive(Serialize, Deserialize)]
struct SavedAccount {
    /// The key, and the address of the account.
    credentials: AccountCredentials,
    /// What the authority knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contact: Option<String>,
    /// The external account that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eab_kid: Option<String>,
}

/// An account that can be asked, and whether it is a new one.
pub struct OpenAccount {
    /// The account.
    pub account: Account,
    /// Whether it was registered just now.
    pub is_new: bool,
}

/// Opens the account of these settings, or registers it.
///
/// # Errors
/// When the authority cannot be asked, or refuses the account.
pub async fn open(
    state: &StateDirectory,
    settings: &AcmeSettings,
    retry_after: &RetryAfter,
) -> Result<OpenAccount, AcmeError> {
    let path = state.account(&settings.directory);
    let (ca, retry_after) = (settings.ca.clone(), retry_after.clone());
    // the roots of a system are some hundred files' worth of parsing
    let client = tokio::task::spawn_blocking(move || AcmeClient::new(ca.as_deref(), retry_after)).await;
    let client = client.map_err(|error| AcmeError::Key(error.to_string()))??;
    let builder = Account::builder_with_http(Box::new(client));
    let contact = settings.contact.as_ref().map(|address| format!("mailto:{address}"));
    let contacts: Vec<_> = contact.as_deref().into_iter().collect();
    let saved = state_directory::read_json::<SavedAccount>(&path);
    if let Some(mut saved) = saved.filter(|saved| saved.eab_kid == settings.eab_kid) {
        let again: AccountCredentials = copy(&saved.credentials)?;
        let account = builder.from_credentials(again).await?;
        if saved.contact != contact {
            account.update_contacts(&contacts).await?;
            saved.contact = contact;
            state_directory::write_json(&path, &saved)?;
        }
        return Ok(OpenAccount { account, is_new: false });
    }
    let external = external(settings)?;
    let new = NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder.create(&new, settings.directory.clone(), external.as_ref()).await?;
    let saved = SavedAccount { credentials, contact, eab_kid: settings.eab_kid.clone() };
    state_directory::write_json(&path, &saved)?;
    Ok(OpenAccount { account, is_new: true })
}

/// Whether there is an account to open.
#[must_use]
pub fn is_registered(state: &StateDirectory, settings: &AcmeSettings) -> bool {
    state.account(&settings.directory).exists()
}

/// Forgets the account: the authority does not know it any more.
pub fn forget(state: &StateDirectory, settings: &AcmeSettings) {
    state_directory::remove(&state.account(&settings.directory));
}

/// The library gives no other copy.
fn copy(credentials: &AccountCredentials) -> Result<AccountCredentials, AcmeError> {
    let json = serde_json::to_value(credentials).and_then(serde_json::from_value);
    json.map_err(|error| AcmeError::Authority(error.into()))
}

/// The external account (RFC 8555 §7.3.4); none without one.
fn external(settings: &AcmeSettings) -> Result<Option<ExternalAccountKey>, AcmeError> {
    let Some((kid, file)) = settings.eab_kid.as_ref().zip(settings.eab_key.as_ref()) else { return Ok(None) };
    let path = match file {
        SecretFile::Path(path) => path.clone(),
        SecretFile::Credential(name) => {
            std::env::var_os("CREDENTIALS_DIRECTORY").map(std::path::PathBuf::from).unwrap_or_default().join(name)
        }
    };
    let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(AcmeError::file(&path))?);
    // some authorities write it with padding, or in the other alphabet
    let key = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let key = Zeroizing::new(
        Base64UrlUnpadded::decode_vec(&key)
            .map_err(|_| AcmeError::BadFile { path, what: "it is no key in base64url" })?,
    );
    Ok(Some(ExternalAccountKey::new(kid.clone(), &key)))
}
