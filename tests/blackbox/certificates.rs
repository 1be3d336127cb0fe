//! Certificates that change while they are served.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection};

use crate::support::{Run, Witness, socket, wait_for};

/// The certificate that a client gets which asks for `host`; the alert when it gets none. Without a host the client names
/// none (SNI).
pub fn shown(address: SocketAddr, host: Option<&str>) -> Result<CertificateDer<'static>, String> {
    let witness = Arc::new(Witness::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    let name = host.unwrap_or("127.0.0.1").to_owned().try_into().expect("a name");
    let mut client = ClientConnection::new(config.into(), name).expect("a client");
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
    while client.is_handshaking() {
        client.complete_io(&mut socket).map_err(|error| error.to_string())?;
    }
    Ok(witness.saw().0)
}

/// A certificate for this host that is valid for so many days.
fn issue(host: &str, days: u64) -> (CertificateDer<'static>, String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
    params.not_before = (SystemTime::now() - Duration::from_secs(3600)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(days * 24 * 3600 - 60)).into();
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.der().clone(), certificate.pem(), key.serialize_pem())
}

/// The directories of certbot for these hosts.
struct Certbot(tempfile::TempDir);

impl Certbot {
    fn new(hosts: &[&str]) -> (Self, Vec<CertificateDer<'static>>) {
        let certbot = Self(tempfile::tempdir().expect("a directory"));
        let issued = hosts.iter().map(|host| certbot.renew(host, 1, 90)).collect();
        (certbot, issued)
    }

    fn live(&self, host: &str) -> PathBuf {
        self.0.path().join("live").join(host)
    }

    /// Writes files with a number of their own, then turns the links, one after the other, as certbot does.
    fn renew(&self, host: &str, number: u32, days: u64) -> CertificateDer<'static> {
        let (archive, live) = (self.0.path().join("archive").join(host), self.live(host));
        std::fs::create_dir_all(&archive).expect("a directory");
        std::fs::create_dir_all(&live).expect("a directory");
        let (certificate, chain, key) = issue(host, days);
        for (name, text) in [("privkey", key), ("fullchain", chain)] {
            std::fs::write(archive.join(format!("{name}{number}.pem")), text).expect("written");
            let link = live.join(format!("{name}.pem"));
            let _ = std::fs::remove_file(&link); // there is none the first time
            let target = Path::new("../../archive").join(host).join(format!("{name}{number}.pem"));
            std::os::unix::fs::symlink(target, link).expect("a link");
        }
        certificate
    }

    fn config(&self, hosts: &[&str]) -> String {
        let sites = hosts.iter().map(|host| {
            format!("[site.\"{host}\"]\nto = [\"127.0.0.1:1\"]\ntls = \"{}\"\n", self.live(host).display())
        });
        format!("[listen.https]\ntls = true\n{}", sites.collect::<String>())
    }
}

#[track_caller]
fn wait_shown(address: SocketAddr, host: &str, certificate: &CertificateDer<'static>) {
    wait_for("the certificate", || (shown(address, Some(host)).as_ref() == Ok(certificate)).then_some(()));
}

#[test]
fn a_certificate_that_certbot_renews_is_served_without_a_reload() {
    let (certbot, first) = Certbot::new(&["a.test", "b.test"]);
    let (listener, address) = socket();
    let run = Run::new(&certbot.config(&["a.test", "b.test"])).socket("https", listener);
    let service = run.start();
    wait_shown(address, "a.test", &first[0]);
    let new = certbot.renew("a.test", 2, 80);
    wait_shown(address, "a.test", &new);
    wait_shown(address, "b.test", &first[1]);
    run.wait_log("Certificate of a.test taken, which expires on ");
    assert_eq!(service.serving().0, 1);
}

#[test]
fn a_certificate_that_breaks_is_served_on_over_reloads_crashes_and_upgrades_of_the_configuration() {
    let (certbot, first) = Certbot::new(&["a.test", "b.test"]);
    let (listener, address) = socket();
    let config = certbot.config(&["a.test", "b.test"]);
    let run = Run::new(&config).socket("https", listener);
    let service = run.start();
    std::fs::write(certbot.live("a.test").join("fullchain.pem"), "no certificate").expect("written");
    run.wait_log("Certificate of a.test cannot be taken, the one that expires on ");
    run.configure(&format!("{config}\n[log]\nslow = \"7s\"\n"));
    let (good, said) = service.reload();
    assert!(good, "{said}");
    wait_shown(address, "a.test", &first[0]);
    wait_shown(address, "b.test", &first[1]);
    run.wait_log("the site \"a.test\" keeps the certificate from before, which expires on ");
    let (_, worker) = service.settled();
    crate::support::signal(worker, rustix::process::Signal::KILL);
    wait_for("another worker", || (service.serving().1 != worker).then_some(()));
    wait_shown(address, "a.test", &first[0]);
    let new = certbot.renew("a.test", 3, 80);
    wait_shown(address, "a.test", &new);
}

#[test]
fn a_site_without_its_certificate_takes_no_other_one_down_and_has_it_once_it_is_there() {
    let (certbot, first) = Certbot::new(&["b.test"]);
    let (listener, address) = socket();
    let run = Run::new(&certbot.config(&["a.test", "b.test"])).socket("https", listener);
    let _service = run.start();
    wait_shown(address, "b.test", &first[0]);
    run.wait_log("the site \"a.test\" has no certificate: ");
    assert_eq!(shown(address, Some("a.test")).expect_err("none"), "received fatal alert: UnrecognisedName");
    let new = certbot.renew("a.test", 1, 80);
    wait_shown(address, "a.test", &new);
}

#[test]
fn an_unknown_host_learns_nothing_and_a_client_without_one_gets_no_certificate_where_there_are_several() {
    let (certbot, _) = Certbot::new(&["a.test", "b.test"]);
    let (listener, address) = socket();
    let run = Run::new(&certbot.config(&["a.test", "b.test"])).socket("https", listener);
    let _service = run.start();
    for host in [Some("c.test"), Some("x.a.test"), None] {
        assert_eq!(shown(address, host).expect_err("none"), "received fatal alert: UnrecognisedName", "{host:?}");
    }
}

#[test]
fn credentials_of_the_unit_are_a_file_with_both_or_the_files_of_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, chain, key) = issue("a.test", 90);
    std::fs::write(directory.path().join("a"), chain + &key).expect("written");
    let (b, chain, key) = issue("b.test", 90);
    std::fs::write(directory.path().join("b_fullchain.pem"), chain).expect("written");
    std::fs::write(directory.path().join("b_privkey.pem"), key).expect("written");
    let (listener, address) = socket();
    let sites =
        ["a", "b"].map(|name| format!("[site.\"{name}.test\"]\nto = [\"127.0.0.1:1\"]\ntls = \"credential:{name}\"\n"));
    let run = Run::new(&sites.concat()).socket("https", listener);
    let run = run.variable("CREDENTIALS_DIRECTORY", &directory.path().display().to_string());
    let _service = run.start();
    wait_shown(address, "a.test", &a);
    wait_shown(address, "b.test", &b);
}

#[test]
fn check_opens_the_files_and_says_what_is_wrong_and_what_to_do() {
    let (certbot, _) = Certbot::new(&["a.test", "b.test"]);
    let (key, other) = ["a.test", "b.test"].map(|host| certbot.live(host).join("privkey.pem")).into();
    std::fs::copy(&other, &key).expect("copied");
    let run = Run::new(&certbot.config(&["a.test", "b.test", "c.test"]));
    let config = run.config().display().to_string();
    let check =
        std::process::Command::new(env!("CARGO_BIN_EXE_segue")).args(["check", &config]).output().expect("segue");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success(), "a certificate refuses no configuration: {said}");
    let wrong = format!(
        "warning: the site \"a.test\" has no certificate: {}: the private key in it does not belong to the certificate in {}\n",
        key.display(),
        certbot.live("a.test").join("fullchain.pem").display()
    );
    assert!(said.contains(&wrong) && said.contains("help: `openssl x509 -noout -pubkey "), "{said}");
    let missing = format!("{}: there is no such file\n", certbot.live("c.test").join("fullchain.pem").display());
    assert!(said.contains(&missing) && !said.contains("the site \"b.test\""), "{said}");
}

#[test]
fn that_a_certificate_expires_is_said_once_over_reloads_and_restarts() {
    let (certbot, _) = Certbot::new(&["b.test"]);
    certbot.renew("a.test", 1, 5);
    let (listener, _) = socket();
    let config = certbot.config(&["a.test", "b.test"]);
    let run = Run::new(&config).socket("https", listener);
    {
        let service = run.start();
        run.wait_log("Certificate of a.test expires in 5 days, on ");
        run.notifications().wait_for("the certificate", |one| {
            one.value("STATUS").is_some_and(|line| line.ends_with("; certificate of a.test expires in 5 days"))
        });
        let shown = run.segue(&["certs"]);
        let (text, file) = (String::from_utf8_lossy(&shown.stdout), certbot.live("a.test").join("fullchain.pem"));
        let line = text.lines().find(|line| line.starts_with("a.test ")).expect("a line");
        assert!(
            line.contains("  5     expires  ECDSA P-256  ") && line.ends_with(&file.display().to_string()),
            "{text}"
        );
        assert!(text.lines().any(|line| line.starts_with("b.test ") && line.contains("  90    good  ")), "{text}");
        let json = run.segue(&["certs", "--json"]);
        let list: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
        assert_eq!(list[0]["days"], 5, "{list}");
        for slow in ["7s", "8s"] {
            run.configure(&format!("{config}\n[log]\nslow = \"{slow}\"\n"));
            service.reload_well();
            service.settled();
        }
        // it is looked at after a few seconds: what is said later shows that it was
        certbot.renew("b.test", 2, 6);
        run.wait_log("Certificate of b.test expires in 6 days, on ");
        let log = run.log();
        assert_eq!(log.matches("Certificate of a.test expires").count(), 1, "{log}");
    }
}
