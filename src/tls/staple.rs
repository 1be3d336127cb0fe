//! What an authority says of a certificate, as its server shows it to clients (OCSP, RFC 6960; stapling, RFC 6066 §8).
//!
//! No more is read of an answer than whether it is good for this certificate, and for how long: its signature is looked at
//! by clients, and it comes from a file of the operator's.

use std::fmt;
use std::time::SystemTime;

use x509_cert::der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier};
use x509_cert::der::{Class, Decode, Reader, SliceReader, Tag, Tagged};

/// An answer that is good.
#[derive(Clone, PartialEq, Eq)]
pub struct Staple {
    bytes: Vec<u8>,
    /// When a newer one is due; none when the authority does not say.
    until: Option<SystemTime>,
}

/// Why an answer cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StapleError {
    /// It is something else.
    #[error("it is no answer of OCSP (as \"openssl ocsp -respout FILE\" writes it)")]
    NotOcsp,
    /// The authority has no answer.
    #[error("the authority did not answer (OCSP says that the request failed)")]
    Failed,
    /// It is for another certificate.
    #[error("the answer of OCSP is for another certificate")]
    OtherCertificate,
    /// The certificate is revoked, or the authority does not know it.
    #[error("OCSP does not say that the certificate is good")]
    NotGood,
    /// Its time is over: clients refuse it.
    #[error("the answer of OCSP is too old: a newer one was due on {}", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
}

/// `id-pkix-ocsp-basic`.
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

impl Staple {
    /// The answer for the certificate with this serial number.
    ///
    /// # Errors
    /// When it is not one to show at `now`.
    pub fn read(bytes: &[u8], serial: &[u8], now: SystemTime) -> Result<Self, StapleError> {
        let mut response = parts(bytes).ok_or(StapleError::NotOcsp)?;
        let status = next(&mut response).filter(|status| status.tag() == Tag::Enumerated);
        if status.ok_or(StapleError::NotOcsp)?.value() != [0] {
            return Err(StapleError::Failed);
        }
        let answers = answers(&mut response).ok_or(StapleError::NotOcsp)?;
        let answer = answers.into_iter().find(|answer| answer.serial == serial);
        let OcspAnswer { is_good, until, .. } = answer.ok_or(StapleError::OtherCertificate)?;
        match until {
            _ if !is_good => Err(StapleError::NotGood),
            Some(until) if until <= now => Err(StapleError::Expired(until)),
            until => Ok(Self { bytes: bytes.to_vec(), until }),
        }
    }

    /// As it goes to clients.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it may be shown at `now`.
    #[must_use]
    pub fn holds_at(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What is said of one certificate.
struct OcspAnswer<'b> {
    serial: &'b [u8],
    is_good: bool,
    until: Option<SystemTime>,
}

/// The answers in the rest of an `OCSPResponse` (RFC 6960 §4.2.1).
fn answers<'b>(response: &mut SliceReader<'b>) -> Option<Vec<OcspAnswer<'b>>> {
    let mut bytes = inside(next(response)?)?;
    let mut bytes = inside(next(&mut bytes)?)?;
    if next(&mut bytes)?.decode_as::<ObjectIdentifier>().ok()? != BASIC {
        return None;
    }
    let mut basic = parts(next(&mut bytes)?.value())?;
    let mut data = inside(next(&mut basic)?)?;
    // the version, the name of the answering one and the time stand before them
    let list = std::iter::from_fn(|| next(&mut data)).find(|part| part.tag() == Tag::Sequence)?;
    let mut list = inside(list)?;
    std::iter::from_fn(|| next(&mut list)).map(answer).collect()
}

fn answer(single: AnyRef<'_>) -> Option<OcspAnswer<'_>> {
    let mut parts = inside(single)?;
    let mut id = inside(next(&mut parts)?)?;
    let serial = std::iter::from_fn(|| next(&mut id)).find(|part| part.tag() == Tag::Integer)?.value();
    const GOOD: u32 = 0;
    let status = next(&mut parts)?.tag();
    let is_good = status.class() == Class::ContextSpecific && status.number().value() == GOOD;
    let _since = next(&mut parts)?;
    let until = next(&mut parts).filter(|part| part.tag().number().value() == 0);
    let until = until.map(|part| next(&mut inside(part)?)?.decode_as::<GeneralizedTime>().ok());
    let until = match until {
        Some(until) => Some(until?.to_system_time()),
        None => None,
    };
    Some(OcspAnswer { serial, is_good, until })
}

fn parts(der: &[u8]) -> Option<SliceReader<'_>> {
    inside(AnyRef::from_der(der).ok()?)
}

fn inside(one: AnyRef<'_>) -> Option<SliceReader<'_>> {
    SliceReader::new(one.value()).ok()
}

fn next<'b>(reader: &mut SliceReader<'b>) -> Option<AnyRef<'b>> {
    if reader.is_finished() { None } else { AnyRef::decode(reader).ok() }
}

impl fmt::Debug for Staple {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Staple").field("until", &self.until).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("short");
        let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content].concat()
    }

    /// An answer that says this of one certificate until the end of 2030.
    fn response(serial: &[u8], status: u8) -> Vec<u8> {
        let id = der(0x30, &[&der(0x30, &[&[6, 1, 42]]), &der(4, &[b"name"]), &der(4, &[b"key"]), &der(2, &[serial])]);
        let until = der(0xa0, &[&der(0x18, &[b"20301231000000Z"])]);
        let single = der(0x30, &[&id, &der(status, &[]), &der(0x18, &[b"20250101000000Z"]), &until]);
        let by = der(0xa2, &[&der(4, &[b"by"])]);
        let data = der(0x30, &[&by, &der(0x18, &[b"20250101000000Z"]), &der(0x30, &[&single])]);
        let basic = der(4, &[&der(0x30, &[&data])]);
        let bytes = der(0x30, &[&[6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1], &basic]);
        der(0x30, &[&[0x0a, 1, 0], &der(0xa0, &[&bytes])])
    }

    fn at(year: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952)
    }

    #[test]
    fn an_answer_counts_for_its_certificate_and_its_time_when_it_is_good() {
        let good = response(&[1, 2], 0x80);
        let staple = Staple::read(&good, &[1, 2], at(2026)).expect("good");
        assert_eq!(staple.bytes(), good);
        assert!(staple.holds_at(at(2030)) && !staple.holds_at(at(2032)));
        assert_eq!(Staple::read(&good, &[1, 3], at(2026)), Err(StapleError::OtherCertificate));
        assert!(matches!(Staple::read(&good, &[1, 2], at(2032)), Err(StapleError::Expired(_))));
        assert_eq!(Staple::read(&response(&[1, 2], 0x82), &[1, 2], at(2026)), Err(StapleError::NotGood));
        assert_eq!(Staple::read(&[0x30, 3, 0x0a, 1, 6], &[1, 2], at(2026)), Err(StapleError::Failed));
    }

    #[test]
    fn what_is_cut_off_or_changed_ends_nothing() {
        let good = response(&[1, 2], 0x80);
        for length in 0..good.len() {
            assert!(Staple::read(&good[..length], &[1, 2], at(2026)).is_err());
            let mut changed = good.clone();
            changed[length] ^= 0x85;
            let _ = Staple::read(&changed, &[1, 2], at(2026));
        }
    }
}
