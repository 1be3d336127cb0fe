//! The host that a client asks for, read out of the beginning of a TLS connection that goes on to a server as it is.
//!
//! rustls reads a ClientHello only to answer it, and refuses one that it would not answer: without
//! `signature_algorithms`, as clients of TLS 1.1 and older send it, or with an extension that it finds wrong. The server behind may
//! well take such a client, so no more is read here than where the name stands (RFC 8446 §4.1.2, RFC 6066 §3).

/// Reads a ClientHello in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// The handshake message so far, without the headers of the records that it came in.
    message: Vec<u8>,
    /// Where the next record begins among all bytes that came.
    next: usize,
}

/// What the beginning of a connection says.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientHelloName {
    /// Not enough yet.
    More,
    /// A ClientHello, with the host in lower case.
    Host(String),
    /// A ClientHello without a host, or no ClientHello at all.
    Nothing,
    /// A ClientHello that says of itself that it is longer than [`LONGEST_HELLO`].
    TooLong,
}

/// The longest ClientHello, in bytes. One with a key of X25519MLKEM768 has 2 KB; one with a ticket that has a chain of certificates
/// in it, some more.
pub const LONGEST_HELLO: usize = 32 * 1024;

/// The header of a record: content type, version, length (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;
/// The longest record before there are keys, in bytes (RFC 8446 §5.1).
const LONGEST_RECORD: usize = 1 << 14;
/// The header of a handshake message: its type and three bytes of length (RFC 8446 §4).
const MESSAGE_HEADER: usize = 4;
/// The content type of a handshake message, and the major version of all records.
const BEGINNING: [u8; 2] = [22, 3];
/// The type of a ClientHello (RFC 8446 §4).
const CLIENT_HELLO: u8 = 1;
/// The extension, and the type of a name in it (RFC 6066 §3).
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

impl HelloReader {
    /// Looks at all bytes that came so far: those that it has seen before, and more.
    pub fn look(&mut self, received: &[u8]) -> ClientHelloName {
        loop {
            let rest = received.get(self.next..).unwrap_or_default();
            if rest.iter().zip(BEGINNING).any(|(byte, wanted)| *byte != wanted) {
                return ClientHelloName::Nothing;
            }
            let [_, _, _, high, low, ..] = *rest else { return ClientHelloName::More };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || length > LONGEST_RECORD {
                return ClientHelloName::Nothing;
            }
            let Some(record) = rest.get(RECORD_HEADER..RECORD_HEADER + length) else {
                // its type and length are known as soon as they are there, not when the record is whole
                let begun = self.message.iter().chain(&rest[RECORD_HEADER..]).take(MESSAGE_HEADER).copied();
                return message_length(&begun.collect::<Vec<_>>()).err().unwrap_or(ClientHelloName::More);
            };
            self.message.extend_from_slice(record);
            self.next += RECORD_HEADER + length;
            match message_length(&self.message) {
                Err(said) => return said,
                Ok(Some(length)) if self.message.len() >= length => {
                    let host = host(&self.message[MESSAGE_HEADER..length]);
                    return host.map_or(ClientHelloName::Nothing, ClientHelloName::Host);
                }
                Ok(_) => {}
            }
        }
    }
}

/// How long the message is with its header; none when that is not there yet.
fn message_length(message: &[u8]) -> Result<Option<usize>, ClientHelloName> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(ClientHelloName::Nothing);
    }
    let [_, high, middle, low, ..] = *message else { return Ok(None) };
    let length = MESSAGE_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > LONGEST_HELLO { Err(ClientHelloName::TooLong) } else { Ok(Some(length)) }
}

/// The host in a ClientHello; none where it has none, or is cut off before it.
fn host(hello: &[u8]) -> Option<String> {
    let mut rest = hello.get(2 + 32..)?; // the version of old, and the random bytes
    field::<1>(&mut rest)?; // the session
    field::<2>(&mut rest)?; // the suites
    field::<1>(&mut rest)?; // the compression methods
    let mut extensions = field::<2>(&mut rest)?;
    loop {
        let (kind, after) = extensions.split_first_chunk()?;
        extensions = after;
        let mut content = field::<2>(&mut extensions)?;
        if u16::from_be_bytes(*kind) == SERVER_NAME {
            return host_name(field::<2>(&mut content)?);
        }
    }
}

/// The name of a host in a list of names: "the ServerNameList MUST NOT contain more than one name of the same name_type".
fn host_name(mut list: &[u8]) -> Option<String> {
    loop {
        let (kind, after) = list.split_first()?;
        list = after;
        let name = field::<2>(&mut list)?;
        if *kind == HOST_NAME {
            let name = std::str::from_utf8(name).ok()?;
            // "without a trailing dot", which some clients send all the same
            let name = name.strip_suffix('.').unwrap_or(name);
            return (!name.is_empty()).then(|| name.to_ascii_lowercase());
        }
    }
}

/// Takes a field off the front that begins with its length in `N` bytes.
fn field<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<N>()?;
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

#[cfg(test)]
mod tests {
    use rustls::server::Acceptor;

    use super::super::tests::{Server, client, sent, suites};
    use super::*;

    fn look(bytes: &[u8]) -> ClientHelloName {
        HelloReader::default().look(bytes)
    }

    /// The same message in records of this length.
    fn in_records(hello: &[u8], length: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1, 0, part.len() as u8][..], part].concat();
        hello[RECORD_HEADER..].chunks(length).flat_map(record).collect()
    }

    /// A record with a ClientHello that has these extensions.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
        let body = [&[3, 1][..], &[7; 32], &[0], &[0, 2, 0, 0x2f], &[1, 0], &length(extensions), extensions].concat();
        let message = [&[CLIENT_HELLO, 0], &length(&body)[..], &body].concat();
        [&[22, 3, 1], &length(&message)[..], &message].concat()
    }

    #[test]
    fn the_host_is_found_whatever_pieces_and_records_the_message_comes_in() {
        let server = Server::new();
        let found = || ClientHelloName::Host("app.example".to_owned());
        for suite in suites() {
            let hello = sent(&mut client(&server.client_with(suite, &[b"h2"])));
            for piece in [1, 5, 6, 100, hello.len()] {
                let mut reader = HelloReader::default();
                for end in (piece..hello.len()).step_by(piece) {
                    assert_eq!(reader.look(&hello[..end]), ClientHelloName::More, "{end} of {}", hello.len());
                }
                assert_eq!(reader.look(&hello), found());
            }
            for length in [1, 3, 4, 70] {
                let records = in_records(&hello, length);
                assert_eq!(look(&records), found());
                let mut reader = HelloReader::default();
                for end in 0..records.len() {
                    assert_eq!(reader.look(&records[..end]), ClientHelloName::More, "{end} of {}", records.len());
                }
                assert_eq!(reader.look(&records), found());
            }
            assert_eq!(look(&[&hello[..], b"more"].concat()), found());
        }
    }

    #[test]
    fn a_client_hello_that_rustls_would_not_answer_has_its_host_too() {
        let extensions = [0x0a, 0x0a, 0, 1, 0, 0, 0, 0, 10, 0, 8, 0, 0, 5, b'A', b'.', b'b', b'c', b'.'];
        let old = hello(&extensions);
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &old[..]).expect("a slice");
        assert!(acceptor.accept().is_err(), "it has no signature_algorithms");
        assert_eq!(look(&old), ClientHelloName::Host("a.bc".to_owned()));
    }

    #[test]
    fn a_client_hello_without_a_host_that_can_be_read_names_none() {
        for extensions in [
            &[][..],
            &[0, 1],
            &[0, 1, 0, 9],
            &[0, 0, 0, 0],
            &[0, 0, 0, 2, 0, 0],
            &[0, 0, 0, 5, 0, 3, 1, 0, 0],
            &[0, 0, 0, 6, 0, 4, 0, 0, 1, b'.'],
            &[0, 0, 0, 6, 0, 4, 0, 0, 1, 255],
            &[0, 0, 0, 6, 0, 4, 0, 0, 2, b'a'],
        ] {
            assert_eq!(look(&hello(extensions)), ClientHelloName::Nothing, "{extensions:?}");
        }
        assert_eq!(look(&[22, 3, 1, 0, 4, 1, 0, 0, 0]), ClientHelloName::Nothing, "nothing is in it");
    }

    #[test]
    fn what_is_no_client_hello_is_told_at_its_first_wrong_byte() {
        for bytes in [
            &b"G"[..],
            &[22, 2],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0x40, 1],
            &[22, 3, 1, 0, 4, 2],
            &[22, 3, 1, 0, 1, 1, 23],
        ] {
            assert_eq!(look(bytes), ClientHelloName::Nothing, "{bytes:?}");
            assert_eq!(look(&bytes[..bytes.len() - 1]), ClientHelloName::More, "{bytes:?}");
        }
    }

    #[test]
    fn one_that_is_too_long_is_told_as_soon_as_it_says_so() {
        let record =
            |length: usize| [&[22, 3, 1, 0x40, 0, CLIENT_HELLO, 0][..], &(length as u16).to_be_bytes()].concat();
        assert_eq!(look(&record(LONGEST_HELLO - MESSAGE_HEADER)), ClientHelloName::More);
        assert_eq!(look(&record(LONGEST_HELLO - MESSAGE_HEADER + 1)), ClientHelloName::TooLong);
    }
}
