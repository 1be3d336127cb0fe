//! Versions and cipher suites of an open TLS connection, and how the keys of TLS 1.3 follow from a traffic secret.

use aws_lc_rs::aead::{self, LessSafeKey, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{self, Prk};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What seals and opens the records of one direction.
type KeyAndIv = (Zeroizing<[u8; KEY]>, Zeroizing<[u8; IV]>);

/// The longest traffic secret, in bytes: that of SHA-384. A shorter one is followed by zeros.
pub const SECRET: usize = 48;
/// The longest key, in bytes: that of AES-256 and ChaCha20.
pub const KEY: usize = 32;
/// A nonce, in bytes.
pub const IV: usize = 12;

/// The version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// RFC 5246, with AEAD suites only.
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

impl Version {
    /// The word, as OpenSSL and what is made with it have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// What seals records: the part of a cipher suite that lasts beyond the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-128-GCM, with SHA-256.
    Aes128Gcm,
    /// AES-256-GCM, with SHA-384.
    Aes256Gcm,
    /// ChaCha20-Poly1305, with SHA-256.
    Chacha20Poly1305,
}

impl Suite {
    /// How long a key is, in bytes.
    #[must_use]
    pub fn key_length(self) -> usize {
        self.aead().key_len()
    }

    /// How long a traffic secret of TLS 1.3 is, in bytes.
    #[must_use]
    pub fn secret_length(self) -> usize {
        self.hash().1
    }

    /// How many records one key may seal (RFC 8446 §5.5: 2^24.5 for AES-GCM, rounded down to a whole power).
    #[must_use]
    pub fn most_records(self) -> u64 {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 1 << 24,
            Self::Chacha20Poly1305 => u64::MAX - 1,
        }
    }

    /// A key, ready for use. What stands in `key` beyond the length of the suite's keys is not looked at.
    pub(super) fn prepare(self, key: &[u8; KEY]) -> Result<LessSafeKey, Unspecified> {
        UnboundKey::new(self.aead(), &key[..self.key_length()]).map(LessSafeKey::new)
    }

    /// Key and iv of a traffic secret (RFC 8446 §7.3).
    ///
    /// # Errors
    /// None that is known: the lengths are those of the RFC.
    pub(super) fn expand(self, secret: &[u8; SECRET]) -> Result<KeyAndIv, Unspecified> {
        let (mut key, mut iv) = (Zeroizing::new([0; KEY]), Zeroizing::new([0; IV]));
        self.expand_label(secret, b"key", &mut key[..self.key_length()])?;
        self.expand_label(secret, b"iv", &mut iv[..])?;
        Ok((key, iv))
    }

    /// The traffic secret after this one (RFC 8446 §7.2).
    ///
    /// # Errors
    /// As [`Suite::expand`].
    pub(super) fn next(self, secret: &[u8; SECRET]) -> Result<Zeroizing<[u8; SECRET]>, Unspecified> {
        let mut next = Zeroizing::new([0; SECRET]);
        self.expand_label(secret, b"traffic upd", &mut next[..self.secret_length()])?;
        Ok(next)
    }

    /// HKDF-Expand-Label without a context (RFC 8446 §7.1).
    fn expand_label(self, secret: &[u8; SECRET], label: &[u8], out: &mut [u8]) -> Result<(), Unspecified> {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let (algorithm, hash) = self.hash();
        let length = [0, u8::try_from(out.len()).map_err(|_| Unspecified)?];
        let label_length = [u8::try_from(6 + label.len()).map_err(|_| Unspecified)?];
        let info: [&[u8]; 5] = [&length, &label_length, b"tls13 ", label, &[0]];
        Prk::new_less_safe(algorithm, &secret[..hash]).expand(&info, Length(out.len()))?.fill(out)
    }

    fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128Gcm => &aead::AES_128_GCM,
            Self::Aes256Gcm => &aead::AES_256_GCM,
            Self::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        }
    }

    fn hash(self) -> (hkdf::Algorithm, usize) {
        match self {
            Self::Aes256Gcm => (hkdf::HKDF_SHA384, 48),
            Self::Aes128Gcm | Self::Chacha20Poly1305 => (hkdf::HKDF_SHA256, 32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::tests::hex;

    /// The client's and the server's application traffic secrets of RFC 8448 §3.
    #[test]
    fn keys_follow_from_a_traffic_secret_as_rfc_8448_shows() {
        let vectors = [
            (
                "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
                "17422dda596ed5d9acd890e3c63f5051",
                "5b78923dee08579033e523d9",
            ),
            (
                "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
                "9f02283b6c9c07efc26bb9f2ac92e356",
                "cf782b88dd83549aadf1e984",
            ),
        ];
        for (secret, key, iv) in vectors {
            let mut padded = [0; SECRET];
            padded[..32].copy_from_slice(&hex(secret));
            let (its_key, its_iv) = Suite::Aes128Gcm.expand(&padded).expect("expanded");
            assert_eq!(its_key[..16], hex(key));
            assert_eq!(its_key[16..], [0; 16]);
            assert_eq!(its_iv[..], hex(iv));
        }
    }
}
