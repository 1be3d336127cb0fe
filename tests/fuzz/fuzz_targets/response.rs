//! A response head means the same in pieces, and nothing for one connection only is passed on.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use segue_fuzz::cut;
use segue_fuzz::http1::fields::is_hop_by_hop;
use segue_fuzz::http1::response::{Asked, ResponseBody, ResponseFault, ResponseHead, ResponseSearch};

fuzz_target!(|data: &[u8]| {
    let Some((cut, message)) = cut(data) else { return };
    let asked = Asked { head: data[0] & 1 == 1, upgrade: data[0] & 2 == 2 };
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

fn may_be_passed_on(head: &ResponseHead) {
    for name in head.headers.keys() {
        assert!(!is_hop_by_hop(name) || (head.upgraded && name == "upgrade"), "{name}");
    }
    let lengths: Vec<_> = head.headers.get_all("content-length").iter().collect();
    assert!(lengths.len() <= 1);
    if let ResponseBody::Length(length) = head.body {
        assert_eq!(lengths, [&length.to_string()]);
    }
    assert!(head.body != ResponseBody::Chunked || lengths.is_empty());
    assert!(head.body != ResponseBody::UntilClose || !head.keep_alive);
}
