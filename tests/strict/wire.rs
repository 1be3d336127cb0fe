//! One end of a connection that speaks HTTP/1.1 or plain bytes, and checks what comes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::content::Content;
use super::{Lost, in_time};

/// What no head is longer than.
const LONGEST_HEAD: usize = 64 << 10;
/// Room for one read.
const ROOM: usize = 64 << 10;

/// A connection, with TLS or without.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// One end of a connection.
pub struct Wire {
    stream: Box<dyn Duplex>,
    /// Read and not yet looked at.
    ahead: Vec<u8>,
}

/// The head of a message.
pub struct Head {
    pub line: String,
    fields: Vec<(String, String)>,
}

/// What came of a connection on which nothing was expected.
pub enum Silence {
    Kept,
    Ended,
    Spoke,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        // small pieces are sent when they are written, else a pause of 40 ms would be ours and not the proxy's
        let _ = stream.set_nodelay(true);
        Self::over(stream)
    }

    pub fn over(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), ahead: Vec::new() }
    }

    /// `connected` is told of the socket.
    pub async fn connect(address: SocketAddr, connected: impl FnOnce(&TcpStream)) -> Result<Self, Lost> {
        let connecting = async { Ok(Self::new(TcpStream::connect(address).await.inspect(connected)?)) };
        in_time("connection", connecting).await.map_err(|lost| Lost::new(format!("connect: {lost}")))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Lost> {
        in_time("room to write", async {
            self.stream.write_all(bytes.as_ref()).await?;
            Ok(self.stream.flush().await?)
        })
        .await
    }

    /// Says that nothing more is sent.
    pub async fn finish(&mut self) -> Result<(), Lost> {
        Ok(self.stream.shutdown().await?)
    }

    /// The head of the next message, or nothing when the other end closed before it. Waits for ever.
    pub async fn next_head(&mut self) -> Result<Option<Head>, Lost> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let rest = self.ahead.split_off(end + 4);
                let head = std::mem::replace(&mut self.ahead, rest);
                return Head::parse(&head[..end]).map(Some);
            }
            if self.ahead.len() > LONGEST_HEAD {
                return Err(Lost::new("a head without end"));
            }
            match self.fill().await {
                Ok(0) if self.ahead.is_empty() => return Ok(None),
                Ok(0) => return Err(Lost::new("closed in the middle of a head")),
                Ok(_) => {}
                Err(fault) => return Err(Lost::from(fault)),
            }
        }
    }

    /// Reads the body of the message with this head; it must be what `content` begins with. Gives its length.
    pub async fn body(&mut self, head: &Head, content: Content) -> Result<u64, Lost> {
        if head.says("transfer-encoding", "chunked") {
            return self.chunks(content).await;
        }
        let Some(length) = head.field("content-length") else { return Ok(0) };
        let length = length.parse().map_err(|_| Lost::new(format!("a length of {length:?}")))?;
        self.expect(content, 0, length).await?;
        Ok(length)
    }

    async fn chunks(&mut self, content: Content) -> Result<u64, Lost> {
        let mut at = 0;
        loop {
            match self.chunk(content, at).await? {
                0 => return Ok(at),
                size => at += size,
            }
        }
    }

    /// One chunk of what `content` has from `at` on. Gives its length: 0 for the last one.
    pub async fn chunk(&mut self, content: Content, at: u64) -> Result<u64, Lost> {
        let size = in_time("chunk", self.line()).await?;
        let size = u64::from_str_radix(&size, 16).map_err(|_| Lost::new(format!("a chunk of {size:?} bytes")))?;
        self.expect(content, at, size).await?;
        let end = in_time("end of a chunk", self.line()).await?;
        match end.is_empty() {
            true => Ok(size),
            false => Err(Lost::new(format!("{end:?} after a chunk of {size} bytes"))),
        }
    }

    async fn line(&mut self) -> Result<String, Lost> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                self.ahead.drain(..end + 2);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    /// The next `length` bytes, which must be those of `content` from `at`.
    pub async fn expect(&mut self, content: Content, at: u64, length: u64) -> Result<(), Lost> {
        let mut done = 0;
        while done < length {
            if self.ahead.is_empty() {
                let place = if at + done == 0 { "before its first byte" } else { "within it" };
                let more = in_time("more of a body", self.more()).await;
                more.map_err(|lost| Lost::new(format!("{lost}, {place}")))?;
            }
            let now = (length - done).min(self.ahead.len() as u64);
            content.check(at + done, &self.ahead[..now as usize])?;
            self.ahead.drain(..now as usize);
            done += now;
        }
        Ok(())
    }

    /// Sends and expects at the same time: what is on its way is more than any buffer on it holds.
    pub async fn exchange(&mut self, content: Content, at: u64, length: u64) -> Result<(), Lost> {
        if !self.ahead.is_empty() {
            return Err(Lost::new(format!("{} bytes that nobody sent", self.ahead.len())));
        }
        let bytes = content.bytes(at, length as usize);
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let sending = async {
            writer.write_all(&bytes).await?;
            Ok(writer.flush().await?)
        };
        let receiving = async {
            let (mut done, mut room) = (0, vec![0; ROOM]);
            while done < bytes.len() {
                let read = in_time("echo", async { Ok(reader.read(&mut room).await?) }).await?;
                if read == 0 {
                    return Err(Lost::new(if done == 0 { "closed before an echo" } else { "closed within an echo" }));
                }
                content.check(at + done as u64, &room[..read])?;
                done += read;
            }
            Ok(())
        };
        tokio::try_join!(in_time("room to write", sending), receiving).map(|_| ())
    }

    /// Whatever comes next, at least one byte; nothing at the end. Waits for ever.
    pub async fn some(&mut self) -> Result<Vec<u8>, Lost> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    pub async fn take_byte(&mut self) -> Result<u8, Lost> {
        while self.ahead.is_empty() {
            self.more().await?;
        }
        Ok(self.ahead.remove(0))
    }

    /// Nothing more may come than the end.
    pub async fn expect_end(&mut self) -> Result<(), Lost> {
        let end = async { if self.ahead.is_empty() { Ok(self.fill().await?) } else { Ok(self.ahead.len()) } };
        match in_time("end", end).await? {
            0 => Ok(()),
            more => Err(Lost::new(format!("{more} bytes after the end"))),
        }
    }

    /// Whether the other end keeps silent for that long. What `over` waits for ends the wait.
    pub async fn silence(&mut self, time: Duration, over: impl Future<Output = ()>) -> Silence {
        if !self.ahead.is_empty() {
            return Silence::Spoke;
        }
        tokio::select! {
            read = self.fill() => match read {
                Ok(1..) => Silence::Spoke,
                Ok(0) | Err(_) => Silence::Ended,
            },
            () = tokio::time::sleep(time) => Silence::Kept,
            () = over => Silence::Kept,
        }
    }

    async fn more(&mut self) -> Result<(), Lost> {
        match self.fill().await? {
            0 => Err(Lost::new("closed")),
            _ => Ok(()),
        }
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.ahead.reserve(ROOM);
        self.stream.read_buf(&mut self.ahead).await
    }
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, Lost> {
        let text = std::str::from_utf8(head).map_err(|_| Lost::new("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_ascii_lowercase()));
        Ok(Self { line, fields: fields.collect() })
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// Whether the field has this word in its list.
    pub fn says(&self, name: &str, word: &str) -> bool {
        self.field(name).is_some_and(|value| value.split(',').any(|one| one.trim() == word))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
