//! What a site with a certificate demands of its clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Proxy, Server};

struct Setup {
    proxy: Proxy,
    roots: Arc<RootCertStore>,
    _files: tempfile::TempDir,
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let files = tempfile::tempdir().expect("a directory");
    let mut roots = RootCertStore::empty();
    let server = Server::new();
    let mut config = "[listen.behind]\ntrusted_proxies = [\"127.0.0.0/8\"]\n".to_owned();
    for (site, names, more) in [
        ("a.test", &["a.test", "also-a.test"][..], "hsts = { max_age = \"1h\", include_subdomains = true }"),
        ("b.test", &["b.test"], "https_redirect = false"),
        ("*.c.test", &["*.c.test"], ""),
    ] {
        let directory = files.path().join(names[0]);
        issue(&directory, names, &mut roots);
        config +=
            &format!("[site.\"{site}\"]\nto = [\"{}\"]\ntls = \"{}\"\n{more}\n", server.address, directory.display());
    }
    for site in ["also-a.test", "plain.test"] {
        config += &format!("[site.\"{site}\"]\nto = [\"{}\"]\n", server.address);
    }
    std::thread::spawn(move || serve(&server));
    let proxy = Proxy::with_listeners(&config, &["http", "https", "behind"]);
    Setup { proxy, roots: roots.into(), _files: files }
});

/// Answers every request with 200; where the target says so, with a field of its own.
fn serve(server: &Server) {
    loop {
        let mut wire = server.accept();
        let own = if wire.head().line().contains("/own") { "Strict-Transport-Security: max-age=7\r\n" } else { "" };
        wire.send(format!("HTTP/1.1 200 OK\r\n{own}Content-Length: 2\r\nConnection: close\r\n\r\nok"));
    }
}

fn issue(directory: &Path, names: &[&str], roots: &mut RootCertStore) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
    std::fs::create_dir_all(directory).expect("a directory");
    std::fs::write(directory.join("fullchain.pem"), certificate.pem()).expect("written");
    std::fs::write(directory.join("privkey.pem"), key.serialize_pem()).expect("written");
    roots.add(certificate.der().clone()).expect("a root");
}

/// The head of the response to this request without TLS.
fn plain(listener: &str, request: &str) -> String {
    let mut client = SETUP.proxy.client_of(listener);
    client.send(request);
    client.answer().head.text().to_owned()
}

/// The heads of the responses to these requests over one TLS connection for `name`.
fn over_tls(name: &str, requests: &[&str]) -> Vec<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(SETUP.roots.clone())
        .with_no_client_auth();
    let socket: TcpStream = SETUP.proxy.client_of("https").stream().try_clone().expect("a descriptor");
    let name = name.to_owned().try_into().expect("a name");
    let mut client = StreamOwned::new(ClientConnection::new(config.into(), name).expect("a client"), socket);
    let mut heads = Vec::new();
    for request in requests {
        client.write_all(request.as_bytes()).expect("written");
        heads.push(head(&mut client));
    }
    heads
}

/// Reads a head, and the body that its length tells of.
fn head(client: &mut impl Read) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    client.read_exact(&mut vec![0; length.parse().expect("a number")]).expect("a body");
    head
}

fn location(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("location: "))
}

#[test]
fn a_client_without_tls_is_sent_to_the_same_place_over_tls() {
    for (request, wanted) in [
        ("GET /x?y=z%20 HTTP/1.1\r\nHost: A.test:8080\r\n\r\n", "https://a.test/x?y=z%20"),
        ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n", "https://a.test/"),
        ("GET http://x.c.test//evil HTTP/1.1\r\nHost: x.c.test\r\n\r\n", "https://x.c.test//evil"),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", "https://a.test/"),
    ] {
        let head = plain("http", request);
        assert!(head.starts_with("HTTP/1.1 308 "), "{request}: {head}");
        assert_eq!(location(&head), Some(wanted), "{request}");
        assert!(!head.contains("strict-transport-security"), "it must not go out without TLS: {head}");
    }
}

#[test]
fn sites_without_a_certificate_and_those_that_say_so_answer_without_tls() {
    for host in ["plain.test", "b.test", "also-a.test"] {
        let head = plain("http", &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{host}: {head}");
    }
}

#[test]
fn the_challenge_of_a_certificate_authority_is_answered_without_tls() {
    let head = plain("http", "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[test]
fn what_a_trusted_proxy_took_over_tls_is_not_sent_there_again() {
    for (field, status) in [
        ("X-Forwarded-Proto: https\r\n", 200),
        ("Forwarded: for=192.0.2.1;proto=https\r\n", 200),
        ("", 200),
        ("X-Forwarded-Proto: http\r\n", 308),
    ] {
        let head = plain("behind", &format!("GET / HTTP/1.1\r\nHost: a.test\r\n{field}\r\n"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{field}: {head}");
    }
    let head = plain("http", "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 308 "), "no peer of this listener is trusted: {head}");
}

#[test]
fn a_request_for_another_host_than_that_of_the_connection_is_misdirected() {
    let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let hosts = ["b.test", "a.test", "A.TEST:443", "also-a.test", "plain.test"].map(request);
    let heads = over_tls("a.test", &hosts.each_ref().map(String::as_str));
    let statuses: Vec<_> = heads.iter().map(|head| &head[9..12]).collect();
    assert_eq!(statuses, ["421", "200", "200", "200", "421"], "the connection goes on after each");
    let heads = over_tls("x.c.test", &[&request("y.c.test"), &request("a.test")]);
    assert!(heads[0].starts_with("http/1.1 200 ") && heads[1].starts_with("http/1.1 421 "), "{heads:?}");
}

#[test]
fn browsers_are_told_to_come_over_tls_unless_the_server_tells_them() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let heads = over_tls("a.test", &[&get("/"), &get("/own")]);
    let said = |head: &str| head.matches("strict-transport-security: ").count();
    assert!(heads[0].contains("\r\nstrict-transport-security: max-age=3600; includesubdomains\r\n"), "{}", heads[0]);
    assert!(heads[1].contains("\r\nstrict-transport-security: max-age=7\r\n") && said(&heads[1]) == 1, "{}", heads[1]);
    assert_eq!(said(&over_tls("b.test", &["GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"])[0]), 0);
}
