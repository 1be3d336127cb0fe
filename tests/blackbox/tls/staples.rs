//! Answers of OCSP that stand beside a certificate.

use rcgen::{CustomExtension, SerialNumber};

use super::*;
use crate::support::{Run, Witness, socket, wait_for};

/// The answer of OCSP that a client gets.
fn shown(address: std::net::SocketAddr, version: &'static rustls::SupportedProtocolVersion) -> Vec<u8> {
    let witness = Arc::new(Witness::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(witness.clone())
        .with_no_client_auth();
    let socket = TcpStream::connect(address).expect("connect");
    let client = ClientConnection::new(Arc::new(config), "a.test".try_into().expect("a name")).expect("a client");
    StreamOwned::new(client, socket).write_all(b"GET").expect("a handshake");
    witness.saw().1
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    let head = if length < 128 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [&head, content].concat()
}

/// An answer for the certificate with this serial number (RFC 6960 §4.2.1), until that year.
fn answer(serial: u8, year: &str) -> Vec<u8> {
    let id = [der(0x30, &[6, 1, 42]), der(4, b"name"), der(4, b"key"), der(2, &[serial])].concat();
    let until = der(0xa0, &der(0x18, format!("{year}1231000000Z").as_bytes()));
    let single = [der(0x30, &id), vec![0x80, 0], der(0x18, b"20250101000000Z"), until].concat();
    let data = [der(0xa2, &der(4, b"by")), der(0x18, b"20250101000000Z"), der(0x30, &der(0x30, &single))].concat();
    let basic = der(0x30, &der(0x30, &data));
    let bytes = [vec![6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1], der(4, &basic)].concat();
    der(0x30, &[vec![0x0a, 1, 0], der(0xa0, &der(0x30, &bytes))].concat())
}

#[test]
fn an_answer_beside_the_certificate_is_shown_and_taken_anew_and_left_out_when_it_is_too_old() {
    let files = tempfile::tempdir().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(["a.test".to_owned()]).expect("a name");
    params.serial_number = Some(SerialNumber::from(7));
    // a certificate that demands it
    let must_staple = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
    params.custom_extensions.push(must_staple);
    let certificate = params.self_signed(&key).expect("a certificate");
    std::fs::write(files.path().join("fullchain.pem"), certificate.pem()).expect("written");
    std::fs::write(files.path().join("privkey.pem"), key.serialize_pem()).expect("written");
    let (listening, address) = socket();
    let config = format!(
        "[listen.https]\ntls = true\n[site.'a.test']\nto = ['127.0.0.1:9']\ntls = '{}'\n",
        files.path().display()
    );
    let run = Run::new(&config).socket("https", listening);
    let _service = run.start();
    run.wait_log("there is no answer of OCSP for the site \"a.test\", and clients refuse its certificate without");
    let file = files.path().join("fullchain.pem.ocsp");
    for (answer, is_shown) in
        [(answer(7, "2100"), true), (answer(7, "2101"), true), (answer(8, "2100"), false), (answer(7, "2025"), false)]
    {
        std::fs::write(&file, &answer).expect("written");
        let expected = if is_shown { answer } else { Vec::new() };
        for version in VERSIONS {
            wait_for("the answer", || (shown(address, version) == expected).then_some(()));
        }
        if !is_shown {
            std::fs::remove_file(&file).expect("removed");
        }
    }
    std::fs::write(&file, answer(7, "2025")).expect("written");
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_segue")).arg("check").arg(run.config()).output();
    let text = String::from_utf8(check.expect("segue").stderr).expect("text");
    assert!(text.contains("the answer of OCSP is too old: a newer one was due on 2025-12-31T00:00:00Z"), "{text}");
}
