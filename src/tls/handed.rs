//! Certificates with their keys as bytes, for another process: it serves them where it cannot read their files.
//!
//! ```text
//! for each certificate: path of the certificate · path of the key · private key · number of certificates · each of them
//! ```
//! A number has 4 bytes, big endian, and stands before each part as its length too.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::certificate::{Certificate, CertificateFiles};

/// These certificates. The caller must not log the bytes or keep them in a file.
#[must_use]
pub fn to_bytes<'c>(certificates: impl Iterator<Item = &'c Certificate> + Clone) -> Zeroizing<Vec<u8>> {
    let parts = |one: &'c Certificate| {
        let files = [&one.files().certificate, &one.files().key].map(|path| path.as_os_str().as_bytes());
        files.into_iter().chain([one.private_key()]).chain(one.chain().iter().map(AsRef::as_ref))
    };
    // room for all: a buffer that grows leaves copies behind
    let length = certificates.clone().map(|one| 4 + parts(one).map(|part| 4 + part.len()).sum::<usize>()).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    for certificate in certificates {
        for (index, part) in parts(certificate).enumerate() {
            if index == 3 {
                bytes.extend_from_slice(&number(certificate.chain().len()));
            }
            bytes.extend_from_slice(&number(part.len()));
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

/// The certificates that another process had; what cannot be read, or is no certificate, is left out.
#[must_use]
pub fn from_bytes(mut bytes: &[u8]) -> Vec<Certificate> {
    let mut certificates = Vec::new();
    while let Some(one) = take(&mut bytes) {
        certificates.extend(one);
    }
    certificates
}

/// One certificate, if it is right; none at the end.
fn take(bytes: &mut &[u8]) -> Option<Option<Certificate>> {
    let [certificate, key] = [part(bytes)?, part(bytes)?].map(|path| PathBuf::from(OsString::from_vec(path.to_vec())));
    let private_key = Zeroizing::new(part(bytes)?.to_vec());
    let count = length(bytes)?;
    let mut chain = Vec::new();
    for _ in 0..count {
        chain.push(CertificateDer::from(part(bytes)?.to_vec()));
    }
    let key_der = PrivateKeyDer::try_from(private_key.as_slice()).ok().map(|key| key.clone_key());
    let read = key_der.and_then(|der| Certificate::new(&CertificateFiles { certificate, key }, chain, &der).ok());
    Some(read)
}

fn part<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = length(bytes)?;
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

fn length(bytes: &mut &[u8]) -> Option<usize> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

/// Files are 1 MiB at most.
fn number(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Root;
    use super::*;

    #[test]
    fn certificates_go_to_another_process_and_what_is_cut_off_is_left_out() {
        let (directory, other) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
        let root = Root::new("a root");
        let [one, two] = [&directory, &other].map(|directory| {
            let files = root.write(directory.path(), &["app.example"], |_| {});
            Certificate::load(&files).expect("a certificate")
        });
        let bytes = to_bytes([&one, &two].into_iter());
        let read = from_bytes(&bytes);
        assert_eq!(read.len(), 2);
        for (read, written) in read.iter().zip([&one, &two]) {
            assert!(read.is(written));
            assert_eq!((read.files(), read.private_key()), (written.files(), written.private_key()));
        }
        let first = to_bytes([&one].into_iter()).len();
        for cut in (0..bytes.len()).step_by(7) {
            assert_eq!(from_bytes(&bytes[..cut]).len(), usize::from(cut >= first), "{cut}");
        }
        let mut broken = bytes.to_vec();
        broken[first - 1] ^= 1; // a byte of a signature is none that is checked here, a length is
        let _ = from_bytes(&broken);
    }
}
