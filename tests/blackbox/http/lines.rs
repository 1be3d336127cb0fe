//! The lines of a request head (RFC 9112 §2 to §5), without the lenient parts.

use crate::support::Site;

/// A GET with these raw lines after Host.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: $host\r\n{lines}\r\n")
}

#[test]
fn a_line_ends_in_crlf_and_nothing_else() {
    let site = Site::new();
    for request in [
        "GET / HTTP/1.1\nHost: $host\n\n",
        "GET / HTTP/1.1\r\nHost: $host\n\r\n",
        "GET / HTTP/1.1\r\nHost: $host\r\n\n",
        "GET / HTTP/1.1\nHost: $host\r\n\r\n",
        "GET / HTTP/1.1\rHost: $host\r\r",
        "GET / HTTP/1.1\r\nHost: $host\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: $host\r\nA: b\rContent-Length: 5\r\n\r\n",
    ] {
        site.assert_refused(request, 400);
    }
}

#[test]
fn folded_lines_are_refused() {
    let site = Site::new();
    site.assert_refused(get("A: b\r\n c\r\n"), 400);
    site.assert_refused(get("A: b\r\n\tc\r\n"), 400);
    site.assert_refused("GET / HTTP/1.1\r\n Host: $host\r\n\r\n", 400);
}

#[test]
fn a_field_name_is_a_token_right_before_its_colon() {
    let site = Site::new();
    for line in [
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        ": b\r\n",
        "A\r\n",
        "A(b): c\r\n",
        "A b: c\r\n",
        "\"A\": c\r\n",
        "A\0: c\r\n",
        "Ä: c\r\n",
    ] {
        site.assert_refused(get(line), 400);
    }
}

#[test]
fn a_field_value_holds_no_control_characters() {
    let site = Site::new();
    for byte in ["\0", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x7f"] {
        site.assert_refused(get(&format!("A: b{byte}c\r\n")), 400);
    }
}

#[test]
fn one_empty_line_before_a_request_is_skipped_and_two_are_not() {
    let site = Site::new();
    let head = site.sees(&format!("\r\n{}", get("")));
    assert_eq!(head.line(), "GET / HTTP/1.1");
    site.assert_refused(format!("\r\n\r\n{}", get("")), 400);
    site.assert_refused(format!("\n{}", get("")), 400);
}

#[test]
fn a_request_line_is_three_parts_with_one_space_between() {
    let site = Site::new();
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / a HTTP/1.1",
        "GET HTTP/1.1",
        "GET /",
        "GET",
        "G(T / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1.01",
        "GET / HTTP/01.1",
        "GET / HTTP/01.01",
        "GET / HTTP/2",
        "GET / HTTPS/1.1",
    ] {
        site.assert_refused(format!("{line}\r\nHost: $host\r\n\r\n"), 400);
    }
}

#[test]
fn a_major_version_other_than_1_is_none_of_ours() {
    let site = Site::new();
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0"] {
        site.assert_refused(format!("GET / {version}\r\nHost: $host\r\n\r\n"), 505);
    }
}

#[test]
fn a_later_minor_version_is_served_as_1_1() {
    let site = Site::new();
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let request = format!("GET / {version}\r\nHost: $host\r\n\r\n");
        let (head, answer) = site.exchange(&request, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!((head.line(), head.field("via")), ("GET / HTTP/1.1", Some("1.1 segue")));
        assert!(answer.status() == 200 && !answer.says_close());
    }
}

#[test]
fn the_preface_of_http_2_is_no_request_here() {
    Site::new().assert_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

#[test]
fn a_tls_greeting_is_answered_in_plain_words() {
    Site::new().assert_refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let site = Site::new();
    let mut client = site.client();
    for byte in get("A: b\r\n").replace("$host", &site.host).bytes() {
        client.send([byte]);
    }
    let mut server = site.server.accept();
    assert_eq!(server.head().field("a"), Some("b"));
    server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
}

#[test]
fn field_values_pass_as_they_came_but_for_the_space_around_them() {
    let site = Site::new();
    let mut client = site.client();
    let mut request = get("").replace("$host", &site.host).into_bytes();
    request.truncate(request.len() - 2);
    request.extend_from_slice(b"A: \t x  \"y\"\tz \xe4\xff \r\nEmpty:\r\n\r\n");
    client.send(request);
    let mut server = site.server.accept();
    let seen = server.until(b"\r\n\r\n");
    let wanted = b"x  \"y\"\tz \xe4\xff\r\n";
    assert!(seen.windows(wanted.len()).any(|window| window == wanted), "{}", String::from_utf8_lossy(&seen));
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}

/// Some clients send one after a body (RFC 9112 §2.2).
#[test]
fn an_empty_line_after_a_body_is_skipped() {
    let site = Site::new();
    let mut client = site.client();
    client.send("POST /1 HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\nhello\r\n");
    let mut server = site.server.accept();
    server.head();
    server.expect("hello");
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
    client.send(get(""));
    assert_eq!(server.head().line(), "GET / HTTP/1.1");
    server.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.answer().status(), 204);
}
