//! Request targets and Host (RFC 9112 §3, RFC 9110 §7.2).

use crate::support::{Proxy, Server, Site};

#[test]
fn http_1_1_needs_exactly_one_host() {
    let site = Site::new();
    site.assert_refused("GET / HTTP/1.1\r\n\r\n", 400);
    site.assert_refused("GET / HTTP/1.1\r\nHost: $host\r\nHost: $host\r\n\r\n", 400);
    site.assert_refused("GET / HTTP/1.1\r\nHost: $host\r\nHost: other.test\r\n\r\n", 400);
    site.assert_refused("GET / HTTP/1.0\r\nHost: $host\r\nHost: $host\r\n\r\n", 400);
}

#[test]
fn a_host_that_two_parsers_could_read_differently_is_refused() {
    let site = Site::new();
    for host in [
        "",
        "user@$host",
        "user:word@$host",
        "$host, other.test",
        "$host other.test",
        "$host:",
        "$host:0",
        "$host:65536",
        "$host:80:80",
        "$host:+80",
        "$host:8o",
        "[::1",
        "::1",
        "[::g]",
        "[1.2.3.4]",
        "[::1]80",
        "$host/path",
        "$host?a",
        "$host#a",
        "$host\\a",
        "a%2eb",
        "a..b",
        ".$host",
    ] {
        if host == "$host:" {
            continue; // RFC 3986 §3.2.3: an empty port is none
        }
        site.assert_refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
    }
}

#[test]
fn a_host_finds_its_site_in_any_case_with_a_port_and_with_a_final_dot() {
    let site = Site::new();
    for host in [site.host.to_uppercase(), format!("{}:8080", site.host), format!("{}.", site.host)] {
        let head = site.sees(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(head.field("host"), Some(&*host), "the server gets the host as the client wrote it");
    }
}

#[test]
fn absolute_form_wins_over_host_and_goes_on_as_a_path() {
    let site = Site::new();
    let head = site.sees("GET http://$host/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(head.line(), "GET /a?b HTTP/1.1");
    assert_eq!(head.field("host"), Some(&*site.host));
}

#[test]
fn absolute_form_without_a_path_asks_for_the_root() {
    let site = Site::new();
    let head = site.sees("GET http://$host HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert_eq!(head.line(), "GET / HTTP/1.1");
    let head = site.sees("GET http://$host?a=b HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert_eq!(head.line(), "GET /?a=b HTTP/1.1");
}

/// RFC 9112 §3.2.4: OPTIONS for a whole server, as a proxy gets it.
#[test]
fn options_of_a_server_in_absolute_form_goes_on_as_a_star() {
    let site = Site::new();
    let head = site.sees("OPTIONS http://$host HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert_eq!(head.line(), "OPTIONS * HTTP/1.1");
}

#[test]
fn absolute_form_is_checked_like_a_host() {
    let site = Site::new();
    for target in [
        "http://user@$host/",
        "http:///",
        "http://$host:99999/",
        "http://[::1/",
        "ftp://$host/",
        "http:/$host/",
        "http//$host/",
    ] {
        site.assert_refused(format!("GET {target} HTTP/1.1\r\nHost: $host\r\n\r\n"), 400);
    }
    site.assert_refused("GET http://$host/ HTTP/1.1\r\n\r\n", 400);
}

#[test]
fn a_star_is_for_options_alone() {
    let site = Site::new();
    let head = site.sees("OPTIONS * HTTP/1.1\r\nHost: $host\r\n\r\n");
    assert_eq!(head.line(), "OPTIONS * HTTP/1.1");
    site.assert_refused("GET * HTTP/1.1\r\nHost: $host\r\n\r\n", 400);
}

#[test]
fn authority_form_is_refused() {
    let site = Site::new();
    site.assert_refused("GET $host:80 HTTP/1.1\r\nHost: $host\r\n\r\n", 400);
    site.assert_refused("CONNECT $host:443 HTTP/1.1\r\nHost: $host\r\n\r\n", 405);
    site.assert_refused("CONNECT / HTTP/1.1\r\nHost: $host\r\n\r\n", 405);
}

#[test]
fn what_must_be_percent_encoded_in_a_target_is_refused() {
    let site = Site::new();
    for target in ["/a#b", "/a b", "/\x01", "/\x7f", "/ä", "a", "?a", "/a?b#c"] {
        site.assert_refused(format!("GET {target} HTTP/1.1\r\nHost: $host\r\n\r\n"), 400);
    }
    let raw = [&b"GET /\xff HTTP/1.1\r\nHost: "[..], site.host.as_bytes(), b"\r\n\r\n"].concat();
    site.assert_refused(raw, 400);
}

#[test]
fn the_path_goes_on_as_it_came() {
    let site = Site::new();
    for path in ["/a/../b/./c", "/%2e%2E/%2f%5c", "//a//b", "/a;b=c?d=e&f=%00", "/?", "/a?b?c", "/[x]{y}|z^"] {
        let head = site.sees(&format!("GET {path} HTTP/1.1\r\nHost: $host\r\n\r\n"));
        assert_eq!(head.line(), format!("GET {path} HTTP/1.1"));
    }
}

#[test]
fn every_visible_character_but_one_goes_on_in_a_path_and_in_a_query() {
    let site = Site::new();
    let visible: String = ('!'..='~').filter(|one| *one != '#').collect();
    for target in [format!("/{visible}"), format!("/?{visible}"), format!("/{visible}?{visible}")] {
        let head = site.sees(&format!("GET {target} HTTP/1.1\r\nHost: $host\r\n\r\n"));
        assert_eq!(head.line(), format!("GET {target} HTTP/1.1"));
        let head = site.sees(&format!("GET http://$host{target} HTTP/1.1\r\nHost: $host\r\n\r\n"));
        assert_eq!(head.line(), format!("GET {target} HTTP/1.1"), "in absolute-form");
    }
}

#[test]
fn a_host_without_a_site_is_not_found() {
    let site = Site::new();
    let mut client = site.client();
    client.send("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 404);
    assert!(!answer.says_close(), "nothing is wrong with the connection");
    site.server.assert_untouched();
}

#[test]
fn http_1_0_without_a_host_goes_to_the_site_of_all_hosts() {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\n", server.address));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let mut upstream = server.accept();
    let head = upstream.head();
    assert_eq!(head.line(), "GET / HTTP/1.1");
    // an empty one is what nginx, for one, answers with 400
    let reached = client.stream().peer_addr().expect("connected").to_string();
    assert_eq!(head.fields("host"), [&*reached], "HTTP/1.1 needs one");
    assert!(!head.has("x-forwarded-host"), "the client named none: {}", head.text());
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

#[test]
fn an_ipv6_address_is_a_host() {
    let server = Server::new();
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\n", server.address));
    for host in ["[::1]", "[::1]:8080", "[2001:DB8::1]"] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let mut upstream = server.accept();
        assert_eq!(upstream.head().field("host"), Some(host));
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(client.answer().text(), "ok");
    }
}
