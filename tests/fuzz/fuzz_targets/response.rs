//! A response head means the same in pieces, and nothing for one connection only is passed on.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use segue_fuzz::cut;
use segue_fuzz::http1::response::{Asked, ResponseBody, ResponseFault, ResponseHead, ResponseSearch};

fuzz_target!(|data: &[u8]| {
    let Some((cut, message)) = cut(data) else { return };
    let asked = Asked { head: data[0] & 1 == 1, upgrade: data[0] & 2 == 2, lenient: data[0] & 4 == 4 };
    let whole = in_pieces(message, [message.len()], asked);
    let text = format!("{whole:?}");
    assert_eq!(format!("{:?}", in_pieces(message, [cut, message.len()], asked)), text);
    assert_eq!(format!("{:?}", in_pieces(message, 0..=message.len(), asked)), text);
    if let Ok(Some(head)) = whole {
        may_be_passed_on(&head);
    }
});

fn in_pieces(
    message: &[u8],
    ends: impl IntoIterator<Item = usize>,
    asked: Asked,
) -> Result<Option<Box<ResponseHead>>, ResponseFault> {
    let (mut search, mut buffer, mut start) = (ResponseSearch::new(), BytesMut::new(), 0);
    for end in ends {
        buffer.extend_from_slice(&message[start..end]);
        start = end;
        if let Some(head) = search.look(&mut buffer, asked, 1024)? {
            assert!(message[..end].ends_with(&buffer), "what follows the head stays");
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// For one connection only.
const NOT_PASSED_ON: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn may_be_passed_on(head: &ResponseHead) {
    let text = [&head.fields[..], b"\r\n"].concat();
    let mut table = [httparse::EMPTY_HEADER; 256];
    let parsed = httparse::parse_headers(&text, &mut table).expect("fields").unwrap();
    assert_eq!(parsed.0, text.len(), "nothing but fields");
    let mut lengths = 0;
    for field in parsed.1 {
        let name = field.name.to_ascii_lowercase();
        let says_upgrade = (head.upgraded || head.demands_upgrade) && name == "upgrade";
        assert!(!NOT_PASSED_ON.contains(&&*name) || says_upgrade, "{name}");
        if name == "content-length" {
            lengths += 1;
            let length = std::str::from_utf8(field.value).expect("digits").parse().ok();
            assert!(length.is_some() && length == head.length);
        }
    }
    assert_eq!(lengths, usize::from(head.length.is_some()), "the length stands there once, if it is known");
    if let ResponseBody::Length(length) = head.body {
        assert_eq!(head.length, Some(length));
    }
    assert!(head.body != ResponseBody::Chunked || head.length.is_none());
    assert!(head.body != ResponseBody::UntilClose || !head.keep_alive);
}
