//! Placeholder with the agreed shape.

/// Limits of a request head.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// bytes
    pub max_head: usize,
    /// bytes
    pub max_target: usize,
    /// number
    pub max_fields: usize,
}

/// How the body of a message is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// Facts of a valid head.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead {
    /// Bytes.
    pub len: usize,
    /// HTTP/1.1 (else 1.0).
    pub http11: bool,
    /// Framing.
    pub framing: Framing,
    /// Expect: 100-continue.
    pub expects_continue: bool,
    /// Valid upgrade request.
    pub upgrade: bool,
    /// By version and Connection.
    pub keep_alive: bool,
    /// TE: trailers.
    pub te_trailers: bool,
}

/// A rule broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Placeholder.
    Bad(&'static str),
}

impl Refusal {
    /// Status code.
    pub fn status(&self) -> u16 {
        400
    }
    /// One sentence.
    pub fn rule(&self) -> &'static str {
        "placeholder"
    }
}

/// Looks at the bytes so far; `None` while incomplete.
///
/// # Errors
/// The rule broken.
pub fn check(bytes: &[u8], _limits: &Limits) -> Result<Option<RequestHead>, Refusal> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    Ok(Some(RequestHead {
        len: end + 4,
        http11: true,
        framing: Framing::None,
        expects_continue: false,
        upgrade: false,
        keep_alive: true,
        te_trailers: false,
    }))
}
