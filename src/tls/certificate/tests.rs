//! What is wrong with files is said in words that name the file.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, SanType};
use rustls::SignatureScheme;

use super::super::tests::Root;
use super::*;

const APP: &[&str] = &["app.example", "*.app.example"];

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The words for what is wrong, without the directory.
fn refused(files: &CertificateFiles) -> String {
    let error = Certificate::load(files).expect_err("refused");
    let directory = error.file.parent().expect("a directory").display().to_string();
    error.to_string().replace(&(directory + "/"), "")
}

/// The files of a good certificate, after a change.
fn changed(change: impl FnOnce(&CertificateFiles)) -> String {
    let directory = directory();
    let files = Root::new("a root").write(directory.path(), APP, |_| {});
    change(&files);
    refused(&files)
}

fn put(file: &Path, text: impl AsRef<[u8]>) {
    std::fs::write(file, text).expect("written");
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a file")
}

#[test]
fn a_certificate_tells_its_names_and_when_it_expires() {
    let directory = directory();
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let files = Root::new("a root").write(
        directory.path(),
        &["App.Example", "*.app.example"],
        |params: &mut CertificateParams| {
            params.not_before = at(1_700_000_000).into();
            params.not_after = at(1_800_000_000).into();
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        },
    );
    let certificate = Certificate::load(&files).expect("a certificate");
    assert_eq!(certificate.names(), APP);
    assert_eq!((certificate.not_before(), certificate.not_after()), (at(1_700_000_000), at(1_800_000_000)));
    assert_eq!(certificate.files(), &files);
    for (time, holds) in [(1_699_999_999, false), (1_700_000_000, true), (1_800_000_000, true), (1_800_000_001, false)]
    {
        assert_eq!(certificate.holds_at(at(time)), holds, "{time}");
    }
    let hosts = [
        ("app.example", true),
        ("APP.example", true),
        ("x.app.example", true),
        ("x.y.app.example", false),
        ("example", false),
    ];
    for (host, covers) in hosts {
        assert_eq!(certificate.covers(host), covers, "{host}");
    }
    assert!(certificate.signs_as(&[SignatureScheme::ECDSA_NISTP256_SHA256]));
    assert!(!certificate.signs_as(&[SignatureScheme::RSA_PSS_SHA256]));
}

#[test]
fn certificate_and_key_may_stand_in_one_file_in_any_order() {
    let directory = directory();
    let (certificate, key) = Root::new("a root").issue(APP, |_| {});
    let file = directory.path().join("all.pem");
    for text in [certificate.clone() + &key.serialize_pem(), key.serialize_pem() + &certificate] {
        put(&file, text);
        let files = CertificateFiles { certificate: file.clone(), key: file.clone() };
        assert_eq!(Certificate::load(&files).expect("a certificate").names(), APP);
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let gone = |file: &Path| std::fs::remove_file(file).expect("removed");
    assert_eq!(changed(|files| gone(&files.certificate)), "fullchain.pem: there is no such file");
    assert_eq!(changed(|files| gone(&files.key)), "privkey.pem: there is no such file");
    let directory = changed(|files| {
        gone(&files.key);
        std::fs::create_dir(&files.key).expect("a directory");
    });
    assert_eq!(directory, "privkey.pem: it is no file");
}

#[test]
fn a_file_that_holds_something_else_is_named() {
    assert_eq!(
        changed(|files| put(&files.certificate, "")),
        "fullchain.pem: there is no certificate in it (no line \"-----BEGIN CERTIFICATE-----\")"
    );
    assert_eq!(
        changed(|files| put(&files.key, text(&files.certificate))),
        "privkey.pem: there is no private key in it (no line \"-----BEGIN PRIVATE KEY-----\")"
    );
    assert_eq!(
        changed(|files| put(&files.certificate, vec![b'x'; 2 << 20])),
        "fullchain.pem: the file is longer than 1 MiB: it is no certificate"
    );
    let cut = changed(|files| put(&files.certificate, &text(&files.certificate)[..200]));
    assert_eq!(cut, "fullchain.pem: the line \"-----END CERTIFICATE-----\" is missing: the file is cut off");
    let no_base64 = changed(|files| put(&files.certificate, text(&files.certificate).replace("MII", "***")));
    assert_eq!(no_base64, "fullchain.pem: what stands between BEGIN and END is not base64");
    let no_pem = changed(|files| put(&files.certificate, "-----BEGIN CERTIFICATE\nAAAA\n-----END CERTIFICATE-----\n"));
    assert_eq!(no_pem, "fullchain.pem: the line \"-----BEGIN CERTIFICATE\" is not correct PEM");
    let wrong = changed(|files| {
        put(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    });
    assert!(wrong.starts_with("fullchain.pem: certificate 1 in it cannot be read: "), "{wrong}");
}

#[test]
fn a_key_that_cannot_be_used_is_told_why() {
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let new = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for pem in [old, new] {
        assert_eq!(
            changed(|files| put(&files.key, pem)),
            "privkey.pem: the private key in it is encrypted; \"openssl pkey -in FILE -out FILE\" writes it without a \
             passphrase"
        );
    }
    let unknown = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        changed(|files| put(&files.key, unknown)),
        "privkey.pem: the private key in it cannot be used: RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, and \
         Ed25519 can"
    );
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let other = changed(|files| put(&files.key, Root::new("another").issue(APP, |_| {}).1.serialize_pem()));
    assert!(other.starts_with("privkey.pem: the private key in it does not belong to the certificate in "), "{other}");
    assert!(other.ends_with("fullchain.pem"), "{other}");
}

#[test]
fn a_chain_in_another_order_is_told() {
    let root = Root::new("a root");
    let directory = directory();
    let files = root.write(directory.path(), APP, |_| {});
    let own = text(&files.certificate).replace(&root.pem(), "");
    put(&files.certificate, root.pem() + &own);
    assert_eq!(
        refused(&files),
        "fullchain.pem: the private key belongs to certificate 2 in it: that one has to come first"
    );
    put(&files.certificate, own.clone() + &Root::new("another root").pem() + &root.pem());
    assert_eq!(
        refused(&files),
        "fullchain.pem: certificate 2 in it did not issue certificate 1: the server's own comes first, then its issuer"
    );
    put(&files.certificate, own);
    assert!(Certificate::load(&files).is_ok(), "clients may have the issuer themselves");
}
