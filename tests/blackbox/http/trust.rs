//! Whose word is taken of where a request comes from.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::support::{DEADLINE, Head, Run, Server, Site, socket, wait_for};

const FORGED: &str = "GET / HTTP/1.1\r\nHost: $host\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: forged.test\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /p\r\n\
                      Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: forged\r\n\r\n";

/// What the server gets of a request on this listener.
fn sees(site: &Site, listener: &str, request: &str) -> Head {
    let mut client = site.client_of(listener);
    client.send(request);
    let mut server = site.server.accept();
    let head = server.head();
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    head
}

#[test]
fn a_server_is_told_who_asks_and_for_what() {
    let site = Site::new();
    let head = site.sees("GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert_eq!(head.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.field("x-forwarded-proto"), Some("http"));
    assert_eq!(head.field("x-forwarded-host"), Some(&*site.host));
    assert!(head.field("x-request-id").is_some_and(|id| id.len() == 26), "{}", head.text());
}

#[test]
fn what_an_untrusted_client_says_of_itself_is_replaced_and_never_added_to() {
    let site = Site::new();
    let head = sees(&site, "http", FORGED);
    assert_eq!(head.fields("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.fields("x-forwarded-proto"), ["http"]);
    assert_eq!(head.fields("x-forwarded-host"), [&*site.host]);
    assert!(!head.has("x-forwarded-port") && !head.has("x-forwarded-prefix") && !head.has("forwarded"));
    assert_eq!(head.fields("x-real-ip"), ["127.0.0.1"]);
    assert!(head.field("x-request-id").is_some_and(|id| id != "forged"));
    assert!(!head.text().contains("6.6.6.6") && !head.text().contains("forged"), "{}", head.text());
}

#[test]
fn the_word_of_a_trusted_proxy_is_kept_and_added_to() {
    let site = Site::new();
    let head = sees(&site, "trusting", FORGED);
    assert_eq!(head.fields("x-forwarded-for"), ["6.6.6.6, 127.0.0.1"]);
    assert_eq!(head.fields("x-forwarded-proto"), ["https"]);
    assert_eq!(head.fields("x-forwarded-host"), ["forged.test"]);
    assert_eq!(head.fields("x-forwarded-port"), ["1"]);
    assert_eq!(head.fields("forwarded"), ["for=6.6.6.6"]);
    assert_eq!(head.fields("x-real-ip"), ["6.6.6.6"]);
    assert_eq!(head.fields("x-request-id"), ["forged"]);
}

#[test]
fn a_trusted_proxy_that_says_nothing_is_the_client() {
    let site = Site::new();
    let head = sees(&site, "trusting", "GET / HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert_eq!(head.fields("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.fields("x-forwarded-proto"), ["http"]);
    assert_eq!(head.fields("x-request-id").len(), 1);
}

#[test]
fn empty_words_of_a_trusted_proxy_are_none() {
    let site = Site::new();
    let request = "GET / HTTP/1.1\r\nHost: $host\r\nX-Forwarded-For:\r\nX-Forwarded-Proto:\r\nX-Forwarded-Host:\r\n\
                   X-Forwarded-Port:\r\nX-Request-Id:\r\n\r\n";
    let head = sees(&site, "trusting", request);
    assert_eq!(head.fields("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(head.fields("x-forwarded-proto"), ["http"]);
    assert_eq!(head.fields("x-forwarded-host"), [&*site.host]);
    assert!(!head.has("x-forwarded-port"), "{}", head.text());
    assert!(matches!(*head.fields("x-request-id"), [id] if id.len() == 26), "{}", head.text());
}

#[test]
fn forwarded_lines_of_a_trusted_proxy_become_one() {
    let site = Site::new();
    let request = "GET / HTTP/1.1\r\nHost: $host\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
                   X-Request-Id: a\r\nX-Request-Id: b\r\n\r\n";
    let head = sees(&site, "trusting", request);
    assert_eq!(head.fields("x-forwarded-for"), ["1.1.1.1, 2.2.2.2, 127.0.0.1"]);
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let site = Site::new();
    let ids = [0, 1].map(|_| site.sees("GET / HTTP/1.1\r\nHost: $host\r\n\r\n"));
    assert_ne!(ids[0].field("x-request-id"), ids[1].field("x-request-id"));
}

/// What the server gets of a request that comes in over a unix socket whose listener has these settings, and what the
/// record says of its client.
fn sees_over_unix(settings: &str, fields: &str) -> (Head, String) {
    let server = Server::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("in.sock");
    let config = format!(
        "[listen.http]\n{settings}\n[listen.local]\naddress = \"unix:{}\"\n{settings}\n[site.\"*\"]\nto = [\"{}\"]\n",
        path.display(),
        server.address
    );
    let run = Run::new(&config).socket("http", socket().0);
    let _service = run.start();
    let mut client = UnixStream::connect(&path).expect("a connection");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client.write_all(format!("GET /told HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n").as_bytes()).expect("write");
    let mut upstream = server.accept();
    let head = upstream.head();
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    let mut answer = [0; 1024];
    let read = client.read(&mut answer).expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 204"));
    let record = wait_for("the record", || run.log().lines().find(|line| line.contains("/told")).map(str::to_owned));
    (head, record)
}

const TOLD: &str = "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n\
                    X-Forwarded-Port: 443\r\nX-Real-IP: 192.0.2.7\r\n";

#[test]
fn what_comes_over_a_unix_socket_is_believed_where_the_listener_trusts_it() {
    let (head, record) = sees_over_unix("trusted_proxies = [\"unix\"]", TOLD);
    assert_eq!(head.fields("x-forwarded-for"), ["6.6.6.6, 192.0.2.7"], "the peer has no address to add");
    assert_eq!(head.fields("x-forwarded-proto"), ["https"]);
    assert_eq!(head.fields("x-forwarded-host"), ["shop.test"]);
    assert_eq!(head.fields("x-forwarded-port"), ["443"]);
    assert_eq!(head.fields("x-real-ip"), ["192.0.2.7"]);
    assert!(record.contains("192.0.2.7"), "{record}");
}

#[test]
fn what_comes_over_a_unix_socket_is_not_believed_where_only_networks_are_trusted() {
    let (head, record) = sees_over_unix("trusted_proxies = [\"0.0.0.0/0\", \"::/0\"]", TOLD);
    assert!(!head.has("x-forwarded-for") && !head.has("x-real-ip") && !head.has("x-forwarded-port"), "{}", head.text());
    assert_eq!(head.fields("x-forwarded-proto"), ["http"]);
    assert_eq!(head.fields("x-forwarded-host"), ["a.test"]);
    assert!(!record.contains("192.0.2.7"), "{record}");
}

#[test]
fn a_trusted_proxy_may_name_the_client_in_other_fields() {
    let trusting = "trusted_proxies = [\"unix\", \"10.0.0.0/8\"]";
    let (head, _) = sees_over_unix(trusting, "X-Real-IP: 192.0.2.7\r\n");
    assert_eq!(head.fields("x-forwarded-for"), ["192.0.2.7"]);
    let forwarded = "Forwarded: for=6.6.6.6;proto=http, for=\"[2001:db8::7]:4711\";proto=https;host=\"shop.test\", for=10.0.0.1\r\n";
    let (head, record) = sees_over_unix(trusting, forwarded);
    assert!(record.contains("2001:db8::7"), "{record}");
    assert_eq!(head.fields("x-forwarded-for"), ["2001:db8::7"]);
    assert_eq!(head.fields("x-forwarded-proto"), ["https"]);
    assert_eq!(head.fields("x-forwarded-host"), ["shop.test"]);
    assert!(head.has("forwarded"));
}
