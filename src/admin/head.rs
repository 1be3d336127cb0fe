//! The head of a request before hyper gets it: what it is for, and fields that decide about the connection.

use std::time::Duration;

use memchr::memmem;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

/// The time for the head of the request: what says nothing keeps others waiting.
pub(super) const HEAD_DEADLINE: Duration = Duration::from_secs(2);
/// The most that is read of a request, in bytes; hyper takes no less.
pub(super) const LONGEST_HEAD: usize = 8192;

/// Reads until the end of the head is there, or as much as hyper would take of one. None of what says nothing for long, or has
/// gone.
pub(super) async fn read_head(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let read = async {
        let mut head = Vec::new();
        while head.len() < LONGEST_HEAD && memmem::find(&head, b"\r\n\r\n").is_none() {
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => head.extend_from_slice(&buffer[..read]),
            }
        }
        Some(head)
    };
    tokio::time::timeout(HEAD_DEADLINE, read).await.ok().flatten()
}

/// The path that a request gets, if it is a GET of HTTP/1.1.
pub(super) fn path_for_get(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let target = line.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1")?;
    std::str::from_utf8(target.split(|byte| *byte == b'?').next()?).ok()
}

/// The first field of this name.
pub(super) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut fields = lines.skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_any_case_of_letters() {
        let head = b"GET /lb/ HTTP/1.1\r\nHost: a\r\nauthorization: Basic eDp5\r\nSegue-Client: 10.0.0.1";
        assert_eq!(field(head, "authorization"), Some("Basic eDp5"));
        assert_eq!(field(head, "segue-client"), Some("10.0.0.1"));
        assert_eq!(field(head, "cookie"), None);
    }
}
