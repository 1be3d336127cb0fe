//! Our own words: what happened, with the request id, in the shape that the client asks for.

use crate::support::{Answer, Proxy, Server, Site};

/// The answer to a request for a host that nobody serves.
fn not_found(site: &Site, accept: &str) -> Answer {
    let mut client = site.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: nobody.test\r\n{accept}\r\n"));
    client.answer()
}

#[test]
fn a_page_comes_as_html_json_or_plain_text_as_the_client_asks() {
    let site = Site::new();
    for (accept, kind, start) in [
        ("", "text/plain; charset=utf-8", "404 Not Found\n"),
        ("Accept: */*\r\n", "text/plain; charset=utf-8", "404 Not Found\n"),
        ("Accept: text/html,application/xhtml+xml;q=0.9,*/*\r\n", "text/html; charset=utf-8", "<!doctype html>"),
        ("Accept: application/json\r\n", "application/json", "{"),
        ("Accept: application/problem+json\r\n", "application/json", "{"),
        ("Accept: application/json;q=0.5, text/html\r\n", "text/html; charset=utf-8", "<!doctype html>"),
        ("Accept: text/html;q=0, application/json\r\n", "application/json", "{"),
        ("Accept: image/png\r\nAccept: Text/HTML\r\n", "text/html; charset=utf-8", "<!doctype html>"),
    ] {
        let answer = not_found(&site, accept);
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.head.field("content-type"), Some(kind), "{accept:?}");
        assert_eq!(answer.head.field("cache-control"), Some("no-store"));
        assert!(answer.text().starts_with(start), "{accept:?}: {}", answer.text());
        assert!(answer.text().contains("nobody.test"), "{}", answer.text());
    }
}

#[test]
fn a_page_in_json_is_json() {
    let answer = not_found(&Site::new(), "Accept: application/json\r\n");
    let page: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((page["status"].as_u64(), page["error"].as_str()), (Some(404), Some("Not Found")));
    assert_eq!(page["request_id"].as_str().map(str::len), Some(26));
}

#[test]
fn every_page_names_its_request() {
    let site = Site::new();
    let id = |text: &str| {
        let (_, id) = text.split_once("Request id: ").expect("a request id");
        id.trim().to_owned()
    };
    let first = id(&not_found(&site, "").text());
    let second = id(&not_found(&site, "").text());
    assert!(first.len() == 26 && first != second, "{first} {second}");
}

/// The page of a refusal, with its status, in every shape.
#[track_caller]
fn assert_page(site: &Site, listener: &str, request: &str, status: u16) {
    for (accept, kind) in [("text/html", "text/html; charset=utf-8"), ("application/json", "application/json")] {
        let request = request.replace("$accept", &format!("Accept: {accept}\r\n"));
        let mut client = site.client_of(listener);
        client.send(&request);
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{request:?}");
        assert_eq!(answer.head.field("content-type"), Some(kind), "{request:?}");
        assert!(answer.text().contains("equest id") || answer.text().contains("request_id"), "{}", answer.text());
    }
}

#[test]
fn refusals_of_the_head_have_pages_too() {
    let site = Site::new();
    let long = "a".repeat(10_000);
    assert_page(&site, "http", "GET / HTTP/1.1\r\n$acceptHost: $host\r\nA : b\r\n\r\n", 400);
    assert_page(&site, "http", &format!("GET / HTTP/1.1\r\n$acceptHost: $host\r\nA: {}\r\n\r\n", long.repeat(4)), 431);
    assert_page(&site, "http", "CONNECT a:1 HTTP/1.1\r\n$acceptHost: $host\r\n\r\n", 405);
    assert_page(&site, "http", "POST / HTTP/1.1\r\n$acceptHost: $host\r\nExpect: x\r\n\r\n", 417);
    assert_page(&site, "http", "POST / HTTP/1.1\r\n$acceptHost: $host\r\nContent-Length: 99999999999\r\n\r\n", 413);
    assert_page(&site, "hasty", "GET / HTTP/1.1\r\n$acceptHost: $host\r\n", 408);
}

#[test]
fn a_refused_method_says_which_are_allowed() {
    let site = Site::new();
    let mut client = site.client();
    client.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 405);
    assert!(answer.head.field("allow").is_some_and(|allow| !allow.contains("CONNECT")), "{}", answer.head.text());
}

#[test]
fn pages_of_server_faults_do_not_name_what_is_behind_the_proxy() {
    let server = Server::new();
    let address = server.address;
    let proxy =
        Proxy::start(&format!("[site.\"*\"]\nto = \"secret-pool\"\n[pool.secret-pool]\nservers = [\"{address}\"]\n"));
    drop(server);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status(), 502);
    let text = answer.text();
    assert!(!text.contains("secret") && !text.contains(&address.to_string()), "{text}");
    assert!(text.contains("Request id"), "{text}");
}

#[test]
fn a_page_for_head_has_no_body() {
    let site = Site::new();
    let mut client = site.client();
    client.send("HEAD / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status(), 404);
    client.assert_silent();
    let mut client = site.client();
    client.send("HEAD / HTTP/1.0\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(client.head().status(), 404);
    client.assert_closed();
    let mut client = site.client();
    client.send("HEAD / HTTP/1.1\r\nHost : nobody.test\r\n\r\n");
    assert_eq!(client.head().status(), 400);
    client.assert_closed();
}

#[test]
fn what_a_client_wrote_is_harmless_in_a_page() {
    let answer = not_found(&Site::new(), "Accept: text/html\r\n");
    assert!(answer.head.has("content-type") && !answer.text().contains("<script"), "{}", answer.text());
}

#[test]
fn a_proxy_without_a_site_welcomes() {
    let proxy = Proxy::start("");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.head.field("retry-after")), (503, Some("5")));
    assert!(answer.text().contains("segue.toml"), "{}", answer.text());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status(), 503);
    assert_eq!(head.field("content-length"), Some(answer.body.len().to_string().as_str()));
    client.assert_silent();
}

#[test]
fn a_proxy_without_a_site_takes_nothing_from_a_client() {
    let proxy = Proxy::start("");
    for request in [
        "POST /pay HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(request);
        let answer = client.answer();
        assert_eq!(answer.status(), 503, "{request}");
        assert!(!answer.text().contains("segue.toml") && answer.text().contains("Request id"), "{}", answer.text());
    }
}

#[test]
fn a_fault_in_an_upload_that_nobody_reads_arrives_whole() {
    let site = Site::new();
    let mut client = site.client();
    client.send("POST / HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: 1000000\r\n\r\n");
    let _ = client.try_send(vec![b'x'; 1_000_000]);
    let answer = client.answer();
    assert_eq!((answer.status(), answer.says_close()), (404, true));
    client.assert_closed();
}
