//! A request head means the same in pieces, and what passes is a request to the parsers behind us too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use segue_fuzz::cut;
use segue_fuzz::http1::request::{HeadLimits, HeadSearch, Refusal, RequestHead, check};

const LIMITS: HeadLimits = HeadLimits { max_head: 1024, max_target: 256, max_fields: 16 };

fuzz_target!(|data: &[u8]| {
    let Some((cut, message)) = cut(data) else { return };
    let whole = check(message, &LIMITS);
    assert_ne!(whole, Err(Refusal::Malformed), "the short way and the walk disagree");
    assert_eq!(in_pieces(message, [cut, message.len()]), whole);
    assert_eq!(in_pieces(message, 0..=message.len()), whole);
    if let Ok(Some(head)) = whole {
        passes_behind_us(&message[..head.len]);
    }
});

fn in_pieces(message: &[u8], ends: impl IntoIterator<Item = usize>) -> Result<Option<RequestHead>, Refusal> {
    let mut search = HeadSearch::new();
    for end in ends {
        if let Some(head) = search.look(&message[..end], &LIMITS)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn passes_behind_us(head: &[u8]) {
    let mut table = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut table);
    match request.parse(head) {
        Err(httparse::Error::Version) => return, // a later minor version, which httparse does not know
        parsed => assert_eq!(parsed, Ok(httparse::Status::Complete(head.len()))),
    }
    http::Method::from_bytes(request.method.unwrap_or_default().as_bytes()).expect("a method");
    for field in request.headers.iter() {
        http::HeaderName::from_bytes(field.name.as_bytes()).expect("a name");
        http::HeaderValue::from_bytes(field.value).expect("a value");
    }
    assert_eq!(head.iter().filter(|&&byte| byte == b'\n').count(), lines(head));
}

/// Lines that end in CRLF.
fn lines(head: &[u8]) -> usize {
    head.windows(2).filter(|pair| pair == b"\r\n").count()
}
