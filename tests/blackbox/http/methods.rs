//! Methods, and how far a request may go.

use crate::support::Site;

#[test]
fn methods_that_are_not_known_go_on() {
    let site = Site::new();
    for method in ["PATCH", "PROPFIND", "VERSION-CONTROL", "get", "X!#$%&'*+-.^_`|~9"] {
        let head = site.sees(&format!("{method} / HTTP/1.1\r\nHost: $host\r\n\r\n"));
        assert_eq!(head.line(), format!("{method} / HTTP/1.1"));
    }
}

#[test]
fn a_method_too_long_to_be_one_is_not_implemented() {
    Site::new().assert_refused(format!("{} / HTTP/1.1\r\nHost: $host\r\n\r\n", "M".repeat(100)), 501);
}

/// RFC 9110 §7.6.2: the last one allowed answers itself.
#[test]
fn max_forwards_of_zero_is_answered_here() {
    let site = Site::new();
    let mut client = site.client();
    client.send("OPTIONS /a HTTP/1.1\r\nHost: $host\r\nMax-Forwards: 0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.head.field("content-length")), (200, Some("0")));
    assert!(!answer.says_close());
    client.send("TRACE /a?b HTTP/1.1\r\nHost: $host\r\nMax-Forwards: 0\r\nCookie: secret\r\nX-A: b\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.head.field("content-type")), (200, Some("message/http")));
    let text = answer.text();
    assert!(text.starts_with("TRACE /a?b HTTP/1.1\r\nHost: ") && text.ends_with("\r\n\r\n"), "{text}");
    assert!(text.contains("X-A: b\r\n") && !text.contains("secret"), "{text}");
    site.server.assert_untouched();
}

#[test]
fn max_forwards_is_counted_down() {
    let site = Site::new();
    for method in ["OPTIONS", "TRACE"] {
        let head = site.sees(&format!("{method} / HTTP/1.1\r\nHost: $host\r\nMax-Forwards: 10\r\n\r\n"));
        assert_eq!(head.field("max-forwards"), Some("9"));
    }
}

#[test]
fn max_forwards_of_other_methods_goes_on_as_it_came() {
    let site = Site::new();
    for value in ["0", "10"] {
        let head = site.sees(&format!("GET / HTTP/1.1\r\nHost: $host\r\nMax-Forwards: {value}\r\n\r\n"));
        assert_eq!(head.field("max-forwards"), Some(value));
    }
}

#[test]
fn max_forwards_that_is_no_number_is_refused() {
    let site = Site::new();
    for value in ["-1", "x", "", "1, 2", "99999999999999999999"] {
        let mut client = site.client();
        client.send(format!("OPTIONS / HTTP/1.1\r\nHost: $host\r\nMax-Forwards: {value}\r\n\r\n"));
        assert_eq!(client.answer().status(), 400, "{value:?}");
    }
    site.server.assert_untouched();
}
