//! What is kept of the orders for a host, from one generation to the next.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::renewal::SavedRenewal;
use crate::config::AcmeChallenge;

/// What is known of the certificate of a host and its orders. The next version of the program reads it: a new field has a
/// default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedOrder {
    /// The directory of the authority: an order of another one is nothing.
    pub directory: String,
    /// The order that is open.
    pub open: Option<OpenOrder>,
    /// How many orders failed in a row.
    pub failures: u32,
    /// When the next one may begin, in seconds since 1970; none when it may at once.
    pub next_try: Option<u64>,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When the certificate is renewed.
    pub renewal: Option<SavedRenewal>,
}

/// An order that is open at the authority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenOrder {
    /// Its address.
    pub url: String,
    /// The private key of the certificate, as PEM.
    pub key: Zeroizing<String>,
    /// The answers that were made for it.
    pub challenges: Vec<SavedChallenge>,
}

/// An answer to a challenge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedChallenge {
    /// The type, as the protocol names it.
    pub kind: String,
    /// The host, without `*.`.
    pub host: String,
    /// What the authority calls it.
    pub token: String,
    /// The key authorization; with DNS the value of the record.
    pub authorization: String,
    /// Whether it is there: it is noted before it is made, so that it is removed in any case.
    pub is_made: bool,
}

impl SavedChallenge {
    /// The type; none for one of another version.
    #[must_use]
    pub fn kind(&self) -> Option<AcmeChallenge> {
        AcmeChallenge::of_name(&self.kind)
    }
}
