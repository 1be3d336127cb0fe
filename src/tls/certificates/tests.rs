//! Which certificate a client gets.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use super::super::certificate::CertificateFiles;
use super::super::tests::Root;
use super::*;

const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];
const BOTH: &[SignatureScheme] = &[SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A certificate that holds between two times, in seconds.
fn certificate(names: &[&str], (from, until): (u64, u64)) -> Arc<Certificate> {
    let directory = tempfile::tempdir().expect("a directory");
    let files = Root::new("a root").write(directory.path(), names, |params: &mut CertificateParams| {
        params.not_before = at(from).into();
        params.not_after = at(until).into();
    });
    Arc::new(Certificate::load(&files).expect("a certificate"))
}

/// One whose key is RSA.
fn rsa(names: &[&str]) -> Arc<Certificate> {
    let directory = tempfile::tempdir().expect("a directory");
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
    params.not_after = at(u32::MAX.into()).into();
    let file = directory.path().join("rsa.pem");
    let pem = params.self_signed(&key).expect("a certificate").pem() + &key.serialize_pem();
    std::fs::write(&file, pem).expect("written");
    let files = CertificateFiles { certificate: file.clone(), key: file };
    Arc::new(Certificate::load(&files).expect("a certificate"))
}

/// To choose from, without sites.
fn from(certificates: &[&Arc<Certificate>]) -> Certificates {
    let list: Vec<_> = certificates.iter().map(|one| (Arc::clone(one), Vec::new())).collect();
    Certificates::new(&list, None)
}

fn picked<'c>(certificates: &'c Certificates, host: &str, schemes: &[SignatureScheme]) -> Option<&'c Arc<Certificate>> {
    certificates.pick(Some(host), schemes, at(1000))
}

#[track_caller]
fn assert_is(picked: Option<&Arc<Certificate>>, expected: &Arc<Certificate>) {
    assert!(picked.is_some_and(|picked| Arc::ptr_eq(picked, expected)), "{picked:?} and not {expected:?}");
}

#[test]
fn an_exact_name_goes_before_a_wildcard() {
    let wildcard = certificate(&["*.example", "example"], (0, 9000));
    let exact = certificate(&["app.example"], (0, 2000));
    let certificates = from(&[&wildcard, &exact]);
    assert_is(picked(&certificates, "app.example", ECDSA), &exact);
    assert_is(picked(&certificates, "APP.Example", ECDSA), &exact);
    assert_is(picked(&certificates, "other.example", ECDSA), &wildcard);
    assert_is(picked(&certificates, "example", ECDSA), &wildcard);
    for unknown in ["x.app.example", "example.org", "", ".", "*.com"] {
        assert!(picked(&certificates, unknown, ECDSA).is_none(), "{unknown}");
        assert!(!certificates.know(Some(unknown)), "{unknown}");
    }
    assert!(certificates.know(Some("OTHER.example")) && !certificates.know(None));
}

#[test]
fn of_several_the_one_that_holds_now_and_longest_is_taken() {
    let names = &["app.example"];
    let (old, soon, next) =
        (certificate(names, (0, 500)), certificate(names, (0, 2000)), certificate(names, (1500, 9000)));
    let later = certificate(names, (0, 3000));
    let certificates = from(&[&old, &soon, &next, &later]);
    assert_is(picked(&certificates, "app.example", ECDSA), &later);
    assert_is(certificates.pick(Some("app.example"), ECDSA, at(4000)), &next);
    let expired = from(&[&old]);
    assert_is(picked(&expired, "app.example", ECDSA), &old);
}

#[test]
fn a_wildcard_that_holds_goes_before_an_exact_name_that_has_expired() {
    let (exact, wildcard) = (certificate(&["app.example"], (0, 500)), certificate(&["*.example"], (0, 2000)));
    let certificates = from(&[&exact, &wildcard]);
    assert_is(picked(&certificates, "app.example", ECDSA), &wildcard);
}

#[test]
fn rsa_is_for_clients_that_know_nothing_else() {
    let (ecdsa, rsa) = (certificate(&["app.example"], (0, 2000)), rsa(&["app.example"]));
    let certificates = from(&[&rsa, &ecdsa]);
    assert_is(picked(&certificates, "app.example", BOTH), &ecdsa);
    assert_is(picked(&certificates, "app.example", &BOTH[..1]), &rsa);
}

// sslyze took access_denied, which rustls sends without any, for a defect of the server
#[test]
fn a_client_that_can_check_no_certificate_gets_one_with_which_its_handshake_fails() {
    let (ecdsa, rsa) = (certificate(&["app.example"], (0, 2000)), rsa(&["app.example"]));
    let certificates = from(&[&rsa, &ecdsa]);
    assert_is(picked(&certificates, "app.example", &[SignatureScheme::ED25519]), &ecdsa);
    assert!(picked(&certificates, "other.example", &[SignatureScheme::ED25519]).is_none());
}

#[test]
fn a_client_that_names_no_host_gets_the_certificate_for_that_or_none() {
    let certificate = certificate(&["app.example"], (0, 2000));
    let none = from(&[&certificate]);
    assert!(none.pick(None, ECDSA, at(0)).is_none());
    let one = Certificates::new(&[], Some(certificate.clone()));
    assert_is(one.pick(None, ECDSA, at(0)), &certificate);
    assert!(one.know(None) && !one.know(Some("app.example")));
}

#[test]
fn the_certificate_of_a_site_goes_before_others_for_its_host() {
    let (of_site, longer) = (certificate(&["app.example"], (0, 2000)), certificate(&["app.example"], (0, 3000)));
    let hosts = vec!["app.example".to_owned()];
    let certificates = Certificates::new(&[(longer, vec!["*.example".to_owned()]), (of_site.clone(), hosts)], None);
    assert_is(picked(&certificates, "app.example", ECDSA), &of_site);
}

#[test]
fn a_site_whose_certificate_does_not_name_its_host_gives_it_all_the_same_where_no_other_does() {
    let (other, below) = (certificate(&["other.example"], (0, 2000)), certificate(&["x.test"], (0, 2000)));
    let named = certificate(&["named.site.test"], (0, 2000));
    let host = |host: &str| vec![host.to_owned()];
    let list = [(other.clone(), host("app.example")), (below.clone(), host("*.site.test")), (named.clone(), vec![])];
    let certificates = Certificates::new(&list, None);
    assert_is(picked(&certificates, "app.example", ECDSA), &other);
    assert_is(picked(&certificates, "a.b.site.test", ECDSA), &below);
    assert_is(picked(&certificates, "named.site.test", ECDSA), &named);
    assert!(!certificates.know(Some("site.test")) && !certificates.know(Some("xsite.test")));
}
