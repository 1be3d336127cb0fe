//! The rules by which the two differ. Each one asks for what it speaks of, so that it explains nothing else.

use super::Difference;
use super::sides::{Body, Seen};
use crate::message::fields::is_forbidden_in_trailers;

/// The name of the rule that explains a difference between what the two make of `bytes`.
pub(super) fn explain(difference: &Difference<'_>, bytes: &[u8]) -> Option<&'static str> {
    match *difference {
        // a request of which no byte goes on: one of the two says earlier that it never will
        Difference::OurRefusal(_, None) => Some("refused before it is whole"),
        Difference::ItsRefusal(_, None) => Some("refused by hyper before it is whole"),
        Difference::OurBody(_, its) if its.body == Body::Cut => Some("a body is refused before it is whole"),
        Difference::ItsBody(_, ours) if ours.body == Body::Cut => Some("a body is refused by hyper before it is whole"),
        Difference::OurRefusal(rule, Some(its)) => find(&HEADS, rule, its, bytes),
        Difference::OurBody(rule, its) => find(&BODIES, rule, its, bytes),
        Difference::ItsRefusal(why, Some(ours)) => find(&TAKEN, why, ours, bytes),
        Difference::ItsBody(why, ours) => find(&TAKEN_BODIES, why, ours, bytes),
        Difference::Understood { ours, its } => understood(ours, its),
        Difference::WeClose(before) => {
            let options = before.values("connection").join(",");
            let closes = options.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
            (closes && options.contains("\\x"))
                .then_some("close beside an option of other bytes than ASCII (RFC 9110 5.5)")
        }
        Difference::Unlike => None,
    }
}

/// A reason, the name of the rule, and what has to be there for it.
type Rule = (&'static str, &'static str, fn(&Seen, &[u8]) -> bool);

fn find(rules: &[Rule], reason: &str, seen: &Seen, bytes: &[u8]) -> Option<&'static str> {
    let fits = |rule: &&Rule| reason.contains(rule.0) && rule.2(seen, bytes);
    rules.iter().find(fits).map(|rule| rule.1)
}

/// Requests that hyper serves and we refuse.
const HEADS: [Rule; 18] = [
    ("more than one Host", "two Host fields (RFC 9112 3.2)", |its, _| its.values("host").len() > 1),
    ("needs a Host", "no Host (RFC 9112 3.2)", |its, _| its.values("host").is_empty()),
    ("ost", "a Host that is none (RFC 9110 7.2)", |its, _| {
        let hosts = its.values("host").into_iter().chain(its.authority.clone());
        hosts.into_iter().any(|host| !is_plain_host(&host))
    }),
    ("port", "a port that is none (RFC 3986 3.2.3)", |its, _| {
        its.values("host").into_iter().chain(its.authority.clone()).any(|host| host.contains(':'))
    }),
    ("both Content-Length", "Content-Length beside Transfer-Encoding (RFC 9112 6.1)", |its, bytes| {
        !its.values("transfer-encoding").is_empty() && holds(bytes, b"content-length")
    }),
    ("not a single decimal", "a Content-Length that is no number below 2^63 (RFC 9112 6.3)", |its, bytes| {
        let is_number =
            |value: &String| value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<i64>().is_ok();
        // beside Transfer-Encoding hyper drops it
        let is_dropped = !its.values("transfer-encoding").is_empty() && holds(bytes, b"content-length");
        is_dropped || !its.values("content-length").iter().all(is_number)
    }),
    ("more than one Content-Length", "Content-Length twice (RFC 9112 6.3)", |_, bytes| holds(bytes, b"content-length")),
    ("not exactly chunked", "a list of transfer codings, or a tab beside one (RFC 9112 6.1)", |its, bytes| {
        let codings = its.values("transfer-encoding");
        codings.len() > 1 || codings.iter().any(|coding| coding.contains(',')) || bytes.contains(&b'\t')
    }),
    ("expectation", "an expectation that is not known (RFC 9110 10.1.1)", |its, _| {
        its.values("expect").iter().any(|value| !value.eq_ignore_ascii_case("100-continue"))
    }),
    ("CONNECT", "CONNECT (RFC 9110 9.3.6)", |its, _| its.method == "CONNECT"),
    ("longer than any that is known", "a method longer than any", |its, _| its.method.len() > 24),
    ("percent-encoded", "a target with bytes that no URI has (RFC 3986 2)", |its, bytes| {
        its.path.bytes().any(|byte| !byte.is_ascii() || b"\"<>\\^`{|}".contains(&byte)) || holds(bytes, b"#")
    }),
    ("neither a path", "a target of a form that the method does not have (RFC 9112 3.2)", |its, _| {
        its.path == "*" || its.authority.is_some() || !its.path.starts_with('/')
    }),
    ("one space between", "a request line that ends in LF alone (RFC 9112 2.2)", |_, bytes| has_bare_lf(bytes)),
    ("LF", "a line that ends in LF alone (RFC 9112 2.2)", |its, bytes| {
        // an LF before the request line is skipped, and may be half of what the body before took for its last bytes
        has_bare_lf(bytes) || holds(bytes, format!("\n{} ", its.method).as_bytes())
    }),
    ("CR", "a line that ends in LF alone (RFC 9112 2.2)", |_, bytes| has_bare_lf(bytes)),
    ("empty line", "more than one empty line before a request (RFC 9112 2.2)", |_, bytes| {
        holds(bytes, b"\n\r\n") || has_bare_lf(bytes)
    }),
    ("too many fields", "more fields than a request may have", |its, _| its.fields.len() >= 100),
];

/// Bodies that hyper reads whole and we refuse.
const BODIES: [Rule; 6] = [
    ("may not come as trailers", "a trailer that frames (RFC 9110 6.5.1)", |its, _| {
        let Body::Whole { trailers, .. } = &its.body else { return false };
        let frames = ["content-length", "transfer-encoding", "host"];
        trailers.iter().any(|(name, _)| frames.contains(&name.as_str()))
    }),
    ("extension", "a chunk extension that breaks the grammar (RFC 9112 7.1.1)", |_, bytes| holds(bytes, b";")),
    ("hexadecimal", "white space behind a chunk size (RFC 9112 7.1)", |_, bytes| {
        holds(bytes, b" \r\n") || holds(bytes, b"\t\r\n")
    }),
    ("ends in white space", "white space at the end of a chunk size (RFC 9112 7.1)", |_, bytes| {
        holds(bytes, b" \r\n") || holds(bytes, b"\t\r\n")
    }),
    ("2^63", "a chunk size with more than 16 digits", |_, bytes| holds(bytes, b"00000000000000000")),
    ("LF", "a trailer that ends in LF alone (RFC 9112 2.2)", |_, bytes| has_bare_lf(bytes)),
];

/// Requests that hyper refuses and we serve.
const TAKEN: [Rule; 2] = [
    ("version", "HTTP/1.2 to 1.9 are served as 1.1 (RFC 9110 2.5)", |_, bytes| {
        (b'2'..=b'9').any(|minor| holds(bytes, &[b"http/1.", &[minor][..]].concat()))
    }),
    ("URI", "a target that http::Uri does not hold", |ours, _| {
        let authority = ours.authority.iter().any(|authority| authority.parse::<http::uri::Authority>().is_err());
        authority || ours.path.parse::<http::Uri>().is_err()
    }),
];

/// Bodies that hyper refuses and we read whole.
const TAKEN_BODIES: [Rule; 0] = [];

/// Requests that both serve.
fn understood(ours: &Seen, its: &Seen) -> Option<&'static str> {
    match (&ours.body, &its.body) {
        (Body::Whole { data, trailers }, Body::Whole { data: other, trailers: all })
            if ours.is_head_of(its) && data == other =>
        {
            let goes_on =
                |(name, _): &&(String, String)| !name.parse().is_ok_and(|name| is_forbidden_in_trailers(&name));
            let same = trailers.iter().eq(all.iter().filter(goes_on));
            same.then_some("trailers that are for the connection or for trust are dropped (RFC 9110 6.5.1)")
        }
        _ => None,
    }
}

fn is_plain_host(host: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    host.split('.').all(is_label)
}

/// Whether `part`, in lower case, stands in `bytes` in any case.
fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn has_bare_lf(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'\n') || bytes.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
}
