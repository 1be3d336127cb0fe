//! One end of a connection, as raw bytes: a client of the proxy, or a server behind it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::DEADLINE;

/// How long nothing may come before it is believed that nothing will.
const SILENCE: Duration = Duration::from_millis(150);

/// One end of a connection.
pub struct Wire {
    stream: TcpStream,
    /// Read and not yet looked at.
    ahead: Vec<u8>,
    /// What stands for `$host` in what is sent.
    host: Option<String>,
}

/// The head of a message, with the empty line that ends it.
#[derive(Clone, Debug)]
pub struct Head(String);

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    pub head: Head,
    /// Without its framing.
    pub body: Vec<u8>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With FIN.
    Closed,
    /// With RST.
    Reset,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, ahead: Vec::new(), host: None }
    }

    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&address, DEADLINE).expect("a connection"))
    }

    /// Has `host` stand for `$host` in all that is sent.
    pub fn of_host(self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("to send");
    }

    /// # Errors
    /// When the other end is gone, or takes nothing more.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let bytes = bytes.as_ref();
        match (&self.host, std::str::from_utf8(bytes)) {
            (Some(host), Ok(text)) if text.contains("$host") => {
                self.stream.write_all(text.replace("$host", host).as_bytes())
            }
            _ => self.stream.write_all(bytes),
        }
    }

    /// Sends FIN; a peer that has gone already needs none.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with RST.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    /// The next head, whole.
    #[track_caller]
    pub fn head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = find(&self.ahead, b"\r\n\r\n") {
                break at + 4;
            }
            let read = self.fill();
            assert!(matches!(read, Ok(1..)), "a head, not {read:?} after {:?}", String::from_utf8_lossy(&self.ahead));
        };
        Head(String::from_utf8_lossy(&self.take(end)).into_owned())
    }

    /// The next head; none when the other end closed the connection or is gone before its first byte.
    #[track_caller]
    pub fn head_or_end(&mut self) -> Option<Head> {
        if self.ahead.is_empty() && !matches!(self.fill(), Ok(1..)) {
            return None;
        }
        Some(self.head())
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        while self.ahead.len() < length {
            let read = self.fill();
            assert!(matches!(read, Ok(1..)), "{length} bytes, not {read:?} after {} of them", self.ahead.len());
        }
        let rest = self.ahead.split_off(length);
        std::mem::replace(&mut self.ahead, rest)
    }

    /// A header of version 2 of the PROXY protocol, with what stands in it.
    #[track_caller]
    pub fn take_proxy_header(&mut self) -> Vec<u8> {
        let mut bytes = self.take(16);
        let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        bytes.extend(self.take(length));
        bytes
    }

    /// The next bytes must be these.
    #[track_caller]
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let taken = self.take(bytes.len());
        assert_eq!(String::from_utf8_lossy(&taken), String::from_utf8_lossy(bytes));
    }

    /// The bytes up to and with these.
    #[track_caller]
    pub fn until(&mut self, bytes: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.ahead, bytes) {
                return self.take(at + bytes.len());
            }
            let read = self.fill();
            assert!(matches!(read, Ok(1..)), "more, not {read:?} after {:?}", String::from_utf8_lossy(&self.ahead));
        }
    }

    /// The payload of a chunked body, and its trailer section.
    #[track_caller]
    pub fn chunks(&mut self) -> (Vec<u8>, String) {
        let mut payload = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")).expect("a size");
            let size = usize::from_str_radix(line.trim_end(), 16).expect("a size without extension");
            if size == 0 {
                break;
            }
            payload.extend(self.take(size));
            self.expect("\r\n");
        }
        let mut trailers = String::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n")).expect("a trailer");
            if line == "\r\n" {
                return (payload, trailers);
            }
            trailers += &line;
        }
    }

    /// A response with its body, as framed.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let head = self.head();
        let body = if head.has("transfer-encoding") {
            self.chunks().0
        } else if let Some(length) = head.field("content-length") {
            self.take(length.parse().expect("a length"))
        } else if matches!(head.status(), 100..200 | 204 | 304) {
            Vec::new()
        } else {
            self.rest().0
        };
        Answer { head, body }
    }

    /// All that still comes, and how it ends.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, Ending) {
        loop {
            let ending = match self.fill() {
                Ok(0) => Ending::Closed,
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => Ending::Reset,
                Err(error) => panic!("no end: {error}, after {:?}", String::from_utf8_lossy(&self.ahead)),
            };
            return (std::mem::take(&mut self.ahead), ending);
        }
    }

    /// Nothing more comes, and the other end closes with FIN.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let (rest, ending) = self.rest();
        assert_eq!((String::from_utf8_lossy(&rest).as_ref(), ending), ("", Ending::Closed));
    }

    /// Nothing comes for a while, not even an end.
    #[track_caller]
    pub fn assert_silent(&mut self) {
        self.stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
        let read = self.fill();
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        assert!(
            read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "{read:?} {:?}",
            String::from_utf8_lossy(&self.ahead)
        );
    }

    /// Whether nothing has come so far that was not taken, not even an end.
    pub fn is_silent(&self) -> bool {
        self.stream.set_nonblocking(true).expect("an option");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("an option");
        self.ahead.is_empty() && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 64 << 10];
        let read = self.stream.read(&mut buffer)?;
        self.ahead.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl Head {
    /// The first line.
    pub fn line(&self) -> &str {
        self.0.split("\r\n").next().unwrap_or_default()
    }

    #[track_caller]
    pub fn status(&self) -> u16 {
        let status = self.line().split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {:?}", self.0))
    }

    /// The values of the field, line by line.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.0.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The value of a field that comes at most once.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.fields(name);
        assert!(fields.len() <= 1, "{name} comes more than once: {}", self.0);
        fields.first().copied()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.fields(name).is_empty()
    }

    pub fn text(&self) -> &str {
        &self.0
    }
}

impl Answer {
    #[track_caller]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the response says that it is the last one on its connection.
    #[track_caller]
    pub fn says_close(&self) -> bool {
        self.head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
