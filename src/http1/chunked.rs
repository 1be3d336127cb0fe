//! Placeholder with the agreed shape.

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Bytes that belong to the body.
    pub consumed: usize,
    /// Bytes of them that are content.
    pub payload: u64,
    /// The body ends with the last byte consumed.
    pub done: bool,
}

/// A rule broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunk")]
pub struct ChunkFault;

/// Follows a chunked body as it passes by.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    line: Vec<u8>,
    left: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Data,
    DataEnd,
    Trailer,
}

impl Scanner {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows on.
    ///
    /// # Errors
    /// The rule broken.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, ChunkFault> {
        let mut at = 0;
        let mut payload = 0;
        while at < bytes.len() {
            if self.state == State::Data {
                let take = self.left.min((bytes.len() - at) as u64);
                self.left -= take;
                payload += take;
                at += take as usize;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                continue;
            }
            self.line.push(bytes[at]);
            at += 1;
            if !self.line.ends_with(b"\r\n") {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = &line[..line.len() - 2];
            match self.state {
                State::Size => {
                    let digits = std::str::from_utf8(line).map_err(|_| ChunkFault)?;
                    self.left = u64::from_str_radix(digits, 16).map_err(|_| ChunkFault)?;
                    self.state = if self.left == 0 { State::Trailer } else { State::Data };
                }
                State::DataEnd if line.is_empty() => self.state = State::Size,
                State::Trailer if line.is_empty() => {
                    return Ok(Scan {
                        consumed: at,
                        payload,
                        done: true,
                    });
                }
                State::Trailer => {}
                _ => return Err(ChunkFault),
            }
        }
        Ok(Scan {
            consumed: at,
            payload,
            done: false,
        })
    }
}
