//! What a client asks for, as it stands in the target of a request, and how a server answers it.

use std::time::Duration;

use super::Lost;
use super::content::Content;
use super::wire::Wire;

/// One request and its answer: how long both bodies are, and how they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub content: Content,
    /// Bytes of the request's body; none for a GET.
    pub up: u64,
    /// Bytes of the answer's body.
    pub down: u64,
    /// In how many pieces the longer of the two is sent.
    pub pieces: u64,
    /// How long is waited before each of them.
    pub pause: Duration,
    /// Chunked, or with its length.
    pub chunked: bool,
}

impl Wanted {
    /// A GET of so many bytes, answered at once.
    pub fn get(down: u64) -> Self {
        Self { content: Content::new(), up: 0, down, pieces: 1, pause: Duration::ZERO, chunked: false }
    }

    pub fn target(&self) -> String {
        let Self { content, up, down, pieces, pause, chunked } = self;
        format!("/{}/{up}/{down}/{pieces}/{}/{}", content.key, pause.as_millis(), u8::from(*chunked))
    }

    /// The other way round; nothing for another target, as that of a check.
    pub fn of_target(target: &str) -> Option<Self> {
        let mut numbers = target.strip_prefix('/')?.split('/').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            content: Content { key: next()? },
            up: next()?,
            down: next()?,
            pieces: next()?.max(1),
            pause: Duration::from_millis(next()?),
            chunked: next()? == 1,
        })
    }

    /// The line of the head that says how a body of this length is framed.
    pub fn framing(&self, length: u64) -> String {
        if self.chunked { "Transfer-Encoding: chunked\r\n".to_owned() } else { format!("Content-Length: {length}\r\n") }
    }

    /// Sends a body piece by piece.
    pub async fn send(&self, wire: &mut Wire, content: Content, length: u64) -> Result<(), Lost> {
        let piece = length.div_ceil(self.pieces).max(1);
        let mut at = 0;
        while at < length {
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            let now = piece.min(length - at);
            wire.send(self.frame(content.bytes(at, now as usize))).await?;
            at += now;
        }
        if self.chunked { wire.send("0\r\n\r\n").await } else { Ok(()) }
    }

    fn frame(&self, piece: Vec<u8>) -> Vec<u8> {
        if !self.chunked {
            return piece;
        }
        let size = format!("{:x}\r\n", piece.len());
        [size.as_bytes(), &piece, b"\r\n"].concat()
    }
}

#[test]
fn a_target_reads_back_as_it_was_written() {
    let wanted = Wanted { up: 3, pieces: 7, pause: Duration::from_millis(20), chunked: true, ..Wanted::get(5) };
    assert_eq!(Wanted::of_target(&wanted.target()), Some(wanted));
    assert_eq!(Wanted::of_target("/check"), None);
}
