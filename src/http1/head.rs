//! A walk over the bytes of one head, request or response, as they come.
//!
//! It accepts exactly the grammar of RFC 9112 §2 to §5 without its lenient parts, says what broke at the first byte
//! that cannot be right, and never looks at a byte twice. Whole heads take a shorter way; this one
//! is for heads that come in pieces, and for saying what is wrong with the others.

use super::fields::{is_token_byte, is_value_byte};
use super::target;

/// What is wrong with a line of a head, in requests and responses alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// Longest method; every registered one is shorter than 18 bytes.
pub(super) const MAX_METHOD: usize = 32;

/// Where the walk over one head is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    state: State,
    /// Bytes walked.
    at: usize,
    /// Bytes of the current part of the start line.
    part: usize,
    fields: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    EmptyLf,
    AfterEmpty,
    Method,
    Target,
    RequestVersion,
    StatusVersion,
    Status,
    Reason,
    LineLf,
    FieldStart,
    Name,
    Value,
    EndLf,
    Done,
}

impl Walk {
    pub(super) const fn request() -> Self {
        Self::from(State::Start)
    }

    pub(super) const fn response() -> Self {
        Self::from(State::StatusVersion)
    }

    /// Over fields without a start line: a trailer section.
    pub(super) const fn trailers() -> Self {
        Self::from(State::FieldStart)
    }

    const fn from(state: State) -> Self {
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
        let is_whole = self.state == State::Done;
        if self.at > bounds.head || (self.at == bounds.head && !is_whole) {
            return Err(Break::TooLarge);
        }
        Ok(is_whole)
    }

    fn step(&mut self, byte: u8, bounds: &Bounds) -> Result<State, Break> {
        match self.state {
            State::Value if is_value_byte(byte) => Ok(State::Value),
            State::Value => line_end(byte, LineFault::FieldValue),
            State::Name if is_token_byte(byte) => Ok(State::Name),
            State::Name => after_name(byte),
            State::FieldStart => self.field_start(byte, bounds),
            State::LineLf => expect_lf(byte, State::FieldStart),
            State::EndLf => expect_lf(byte, State::Done),
            State::EmptyLf => expect_lf(byte, State::AfterEmpty),
            State::Start if byte == b'\r' => Ok(State::EmptyLf),
            State::AfterEmpty if byte == b'\r' => Err(Break::EmptyLines),
            State::Start | State::AfterEmpty | State::Method => self.method(byte),
            State::Target => self.target(byte, bounds),
            State::RequestVersion | State::StatusVersion => self.version(byte),
            State::Status => self.status(byte),
            State::Reason if is_value_byte(byte) => Ok(State::Reason),
            State::Reason if byte == b'\r' => Ok(State::LineLf),
            State::Reason if byte == b'\n' => Err(Break::Line(LineFault::BareLf)),
            State::Reason | State::Done => Err(Break::StartLine),
        }
    }

    fn method(&mut self, byte: u8) -> Result<State, Break> {
        match byte {
            b' ' if self.part > 0 => Ok(self.next(State::Target)),
            b'\n' => Err(Break::Line(LineFault::BareLf)),
            _ if !is_token_byte(byte) => Err(Break::Method),
            _ if self.part == MAX_METHOD => Err(Break::MethodTooLong),
            _ => {
                self.part += 1;
                Ok(State::Method)
            }
        }
    }

    fn target(&mut self, byte: u8, bounds: &Bounds) -> Result<State, Break> {
        match byte {
            b' ' if self.part > 0 => Ok(self.next(State::RequestVersion)),
            b' ' | b'\t' | b'\r' | b'\n' => Err(Break::StartLine),
            _ if !target::is_target_byte(byte) => Err(Break::Target),
            _ if self.part == bounds.target => Err(Break::TargetTooLong),
            _ => {
                self.part += 1;
                Ok(State::Target)
            }
        }
    }

    /// `HTTP/1.0` or `HTTP/1.1`, and the one byte after it. Other versions are well-formed, but not ours.
    fn version(&mut self, byte: u8) -> Result<State, Break> {
        let at = self.part;
        self.part += 1;
        match (at, byte) {
            (0, b'H') | (1 | 2, b'T') | (3, b'P') | (4, b'/') | (5, b'1') | (6, b'.') | (7, b'0' | b'1') => {
                Ok(self.state)
            }
            (5 | 7, b'0'..=b'9') => Err(Break::Version),
            (8, b' ') if self.state == State::StatusVersion => Ok(self.next(State::Status)),
            (8, b'\r') if self.state == State::RequestVersion => Ok(State::LineLf),
            (8, b'\n') if self.state == State::RequestVersion => Err(Break::Line(LineFault::BareLf)),
            _ => Err(Break::StartLine),
        }
    }

    /// Three digits; then a space and the reason, or the end of the line, because many servers leave both out.
    fn status(&mut self, byte: u8) -> Result<State, Break> {
        let at = self.part;
        self.part += 1;
        match (at, byte) {
            (0, b'1'..=b'9') | (1 | 2, b'0'..=b'9') => Ok(State::Status),
            (3, b' ') => Ok(State::Reason),
            (3, b'\r') => Ok(State::LineLf),
            (3, b'\n') => Err(Break::Line(LineFault::BareLf)),
            _ => Err(Break::StartLine),
        }
    }

    fn field_start(&mut self, byte: u8, bounds: &Bounds) -> Result<State, Break> {
        match byte {
            b'\r' => Ok(State::EndLf),
            b'\n' => Err(Break::Line(LineFault::BareLf)),
            b' ' | b'\t' => Err(Break::Line(LineFault::Fold)),
            _ if !is_token_byte(byte) => Err(Break::Line(LineFault::FieldName)),
            _ if self.fields == bounds.fields => Err(Break::TooManyFields),
            _ => {
                self.fields += 1;
                Ok(State::Name)
            }
        }
    }

    fn next(&mut self, state: State) -> State {
        self.part = 0;
        state
    }
}

fn after_name(byte: u8) -> Result<State, Break> {
    match byte {
        b':' => Ok(State::Value),
        b' ' | b'\t' => Err(Break::Line(LineFault::SpaceBeforeColon)),
        _ => Err(Break::Line(LineFault::FieldName)),
    }
}

fn line_end(byte: u8, otherwise: LineFault) -> Result<State, Break> {
    match byte {
        b'\r' => Ok(State::LineLf),
        b'\n' => Err(Break::Line(LineFault::BareLf)),
        _ => Err(Break::Line(otherwise)),
    }
}

fn expect_lf(byte: u8, then: State) -> Result<State, Break> {
    if byte == b'\n' { Ok(then) } else { Err(Break::Line(LineFault::BareCr)) }
}

/// Where `part` starts in `whole`, of which it is a slice.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}
