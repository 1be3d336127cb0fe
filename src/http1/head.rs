//! A walk over the bytes of one head, request or response, as they come.
//!
//! It accepts exactly the grammar of RFC 9112 §2 to §5 without its lenient parts, says what broke at the first byte
//! that cannot be right, and never looks at a byte twice. Whole heads take a shorter way; this one
//! is for heads that come in pieces, and for saying what is wrong with the others.
//!
//! Of a lenient pool's responses the walk also takes lines that end in LF alone (RFC 9112 §2.2) and white space before a
//! colon (§5.1). It only finds the end of such a head: [`in_right_form`] writes it anew, and the strict way reads that.

use serde::{Deserialize, Serialize};

use crate::message::fields::{is_target_byte, is_token_byte, is_value_byte};

/// What is wrong with a line of a head, in requests and responses alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineFault {
    /// A line ends in LF without CR.
    BareLf,
    /// A CR is not followed by LF.
    BareCr,
    /// A line starts with white space: the obsolete folding.
    Fold,
    /// White space stands between the name of a field and its colon.
    SpaceBeforeColon,
    /// The name of a field is empty or no token, or the line has no colon.
    FieldName,
    /// A field value holds NUL or another control character.
    FieldValue,
}

impl LineFault {
    /// The rule that was broken, as a sentence.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::BareLf => "A line of the head ends in LF alone; only CRLF ends a line.",
            Self::BareCr => "A CR in the head is not followed by LF.",
            Self::Fold => "A line of the head starts with white space; folded lines are not accepted.",
            Self::SpaceBeforeColon => "White space stands between a field name and its colon.",
            Self::FieldName => "A field name is empty or is no token.",
            Self::FieldValue => "A field value holds a control character.",
        }
    }
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    EmptyLines,
    Method,
    MethodTooLong,
    Target,
    TargetTooLong,
    StartLine,
    Version,
    Line(LineFault),
    TooManyFields,
    TooLarge,
}

/// What a head may measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub head: usize,
    pub target: usize,
    pub fields: usize,
    /// LF alone ends a line too, and white space may stand before a colon. Never of requests: which bytes are a request
    /// must be the same for every server in a row.
    pub is_lenient: bool,
}

/// Longest method; every registered one is shorter than 18 bytes.
pub(super) const MAX_METHOD: usize = 32;

/// Where the walk over one head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walk {
    state: WalkState,
    /// Bytes walked.
    at: usize,
    /// Bytes of the current part of the start line.
    part: usize,
    fields: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum WalkState {
    Start,
    EmptyLf,
    AfterEmpty,
    Method,
    Target,
    RequestVersion,
    StatusVersion,
    /// A version other than HTTP/1, which is one only if it is well-formed to its end.
    OtherVersion {
        of_request: bool,
    },
    Status,
    Reason,
    LineLf,
    FieldStart,
    Name,
    /// In white space before a colon.
    AfterName,
    Value,
    EndLf,
    Done,
}

impl Walk {
    pub(super) const fn request() -> Self {
        Self::from(WalkState::Start)
    }

    pub(super) const fn response() -> Self {
        Self::from(WalkState::StatusVersion)
    }

    /// Over fields without a start line: a trailer section.
    pub(super) const fn trailers() -> Self {
        Self::from(WalkState::FieldStart)
    }

    const fn from(state: WalkState) -> Self {
        Self { state, at: 0, part: 0, fields: 0 }
    }

    /// Whether no byte was walked yet.
    pub(super) const fn is_fresh(&self) -> bool {
        self.at == 0
    }

    /// Walks on over what `bytes` has more than last time; gives the length of the head once it is whole.
    pub(super) fn advance(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<Option<usize>, Break> {
        for &byte in bytes.get(self.at..).unwrap_or_default() {
            if self.push(byte, bounds)? {
                return Ok(Some(self.at));
            }
        }
        Ok(None)
    }

    /// Walks over one more byte; true when it was the last one.
    pub(super) fn push(&mut self, byte: u8, bounds: &Bounds) -> Result<bool, Break> {
        self.at += 1;
        self.state = self.step(byte, bounds)?;
        let is_whole = self.state == WalkState::Done;
        if self.at > bounds.head || (self.at == bounds.head && !is_whole) {
            return Err(Break::TooLarge);
        }
        Ok(is_whole)
    }

    fn step(&mut self, byte: u8, bounds: &Bounds) -> Result<WalkState, Break> {
        match self.state {
            WalkState::Value if is_value_byte(byte) => Ok(WalkState::Value),
            WalkState::Value if byte == b'\n' && bounds.is_lenient => Ok(WalkState::FieldStart),
            WalkState::Value => line_end(byte, LineFault::FieldValue),
            WalkState::Name if is_token_byte(byte) => Ok(WalkState::Name),
            WalkState::Name | WalkState::AfterName => after_name(byte, bounds),
            WalkState::FieldStart => self.field_start(byte, bounds),
            WalkState::LineLf => expect_lf(byte, WalkState::FieldStart),
            WalkState::EndLf => expect_lf(byte, WalkState::Done),
            WalkState::EmptyLf => expect_lf(byte, WalkState::AfterEmpty),
            WalkState::Start if byte == b'\r' => Ok(WalkState::EmptyLf),
            WalkState::AfterEmpty if byte == b'\r' => Err(Break::EmptyLines),
            WalkState::Start | WalkState::AfterEmpty | WalkState::Method => self.method(byte),
            WalkState::Target => self.target(byte, bounds),
            WalkState::RequestVersion | WalkState::StatusVersion => self.version(byte),
            WalkState::OtherVersion { of_request } => self.other_version(byte, of_request),
            WalkState::Status => self.status(byte, bounds),
            WalkState::Reason if is_value_byte(byte) => Ok(WalkState::Reason),
            WalkState::Reason if byte == b'\r' => Ok(WalkState::LineLf),
            WalkState::Reason if byte == b'\n' && bounds.is_lenient => Ok(WalkState::FieldStart),
            WalkState::Reason if byte == b'\n' => Err(Break::Line(LineFault::BareLf)),
            WalkState::Reason | WalkState::Done => Err(Break::StartLine),
        }
    }

    fn method(&mut self, byte: u8) -> Result<WalkState, Break> {
        match byte {
            b' ' if self.part > 0 => Ok(self.next(WalkState::Target)),
            b'\n' => Err(Break::Line(LineFault::BareLf)),
            _ if !is_token_byte(byte) => Err(Break::Method),
            _ if self.part == MAX_METHOD => Err(Break::MethodTooLong),
            _ => {
                self.part += 1;
                Ok(WalkState::Method)
            }
        }
    }

    fn target(&mut self, byte: u8, bounds: &Bounds) -> Result<WalkState, Break> {
        match byte {
            b' ' if self.part > 0 => Ok(self.next(WalkState::RequestVersion)),
            b' ' | b'\t' | b'\r' | b'\n' => Err(Break::StartLine),
            _ if !is_target_byte(byte) => Err(Break::Target),
            _ if self.part == bounds.target => Err(Break::TargetTooLong),
            _ => {
                self.part += 1;
                Ok(WalkState::Target)
            }
        }
    }

    /// `HTTP/1.0` or `HTTP/1.1`, and the one byte after it; a request may be of a later HTTP/1, which is taken for HTTP/1.1
    /// (RFC 9110 §2.5).
    fn version(&mut self, byte: u8) -> Result<WalkState, Break> {
        let at = self.part;
        self.part += 1;
        match (at, byte) {
            (0, b'H') | (1 | 2, b'T') | (3, b'P') | (4, b'/') | (5, b'1') | (6, b'.') | (7, b'0' | b'1') => {
                Ok(self.state)
            }
            (7, b'2'..=b'9') if self.state == WalkState::RequestVersion => Ok(self.state),
            (7, b'2'..=b'9') => Err(Break::Version),
            (5, b'0'..=b'9') => Ok(WalkState::OtherVersion { of_request: self.state == WalkState::RequestVersion }),
            (8, b' ') if self.state == WalkState::StatusVersion => Ok(self.next(WalkState::Status)),
            (8, b'\r') if self.state == WalkState::RequestVersion => Ok(WalkState::LineLf),
            (8, b'\n') if self.state == WalkState::RequestVersion => Err(Break::Line(LineFault::BareLf)),
            _ => Err(Break::StartLine),
        }
    }

    fn other_version(&mut self, byte: u8, of_request: bool) -> Result<WalkState, Break> {
        let at = self.part;
        self.part += 1;
        match (at, byte) {
            (6, b'.') | (7, b'0'..=b'9') => Ok(self.state),
            (8, b'\r' | b'\n') if of_request => Err(Break::Version),
            (6 | 8, b' ') if !of_request => Err(Break::Version),
            _ => Err(Break::StartLine),
        }
    }

    /// Three digits; then a space and the reason, or the end of the line, because many servers leave both out.
    fn status(&mut self, byte: u8, bounds: &Bounds) -> Result<WalkState, Break> {
        let at = self.part;
        self.part += 1;
        match (at, byte) {
            (0, b'1'..=b'9') | (1 | 2, b'0'..=b'9') => Ok(WalkState::Status),
            (3, b' ') => Ok(WalkState::Reason),
            (3, b'\r') => Ok(WalkState::LineLf),
            (3, b'\n') if bounds.is_lenient => Ok(WalkState::FieldStart),
            (3, b'\n') => Err(Break::Line(LineFault::BareLf)),
            _ => Err(Break::StartLine),
        }
    }

    fn field_start(&mut self, byte: u8, bounds: &Bounds) -> Result<WalkState, Break> {
        match byte {
            b'\r' => Ok(WalkState::EndLf),
            b'\n' if bounds.is_lenient => Ok(WalkState::Done),
            b'\n' => Err(Break::Line(LineFault::BareLf)),
            b' ' | b'\t' => Err(Break::Line(LineFault::Fold)),
            _ if !is_token_byte(byte) => Err(Break::Line(LineFault::FieldName)),
            _ if self.fields == bounds.fields => Err(Break::TooManyFields),
            _ => {
                self.fields += 1;
                Ok(WalkState::Name)
            }
        }
    }

    fn next(&mut self, state: WalkState) -> WalkState {
        self.part = 0;
        state
    }
}

fn after_name(byte: u8, bounds: &Bounds) -> Result<WalkState, Break> {
    match byte {
        b':' => Ok(WalkState::Value),
        b' ' | b'\t' if bounds.is_lenient => Ok(WalkState::AfterName),
        b' ' | b'\t' => Err(Break::Line(LineFault::SpaceBeforeColon)),
        _ => Err(Break::Line(LineFault::FieldName)),
    }
}

fn line_end(byte: u8, otherwise: LineFault) -> Result<WalkState, Break> {
    match byte {
        b'\r' => Ok(WalkState::LineLf),
        b'\n' => Err(Break::Line(LineFault::BareLf)),
        _ => Err(Break::Line(otherwise)),
    }
}

fn expect_lf(byte: u8, then: WalkState) -> Result<WalkState, Break> {
    if byte == b'\n' { Ok(then) } else { Err(Break::Line(LineFault::BareCr)) }
}

/// A head that a lenient walk found whole, as it should have been written: each line with CRLF, and no white space
/// before a colon. Nothing else of it changes.
pub(super) fn in_right_form(head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + head.len() / 16);
    for (number, line) in head.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = if number == 0 { None } else { line.iter().position(|&byte| byte == b':') };
        let (name, rest) = line.split_at(colon.unwrap_or(line.len()));
        out.extend_from_slice(if colon.is_some() { name.trim_ascii_end() } else { name });
        out.extend_from_slice(rest);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Where `part` starts in `whole`, of which it is a slice.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}
