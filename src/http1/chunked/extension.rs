//! The grammar of chunk extensions (RFC 9112 §7.1.1): `*( BWS ";" BWS name [ BWS "=" BWS value ] )`.

use serde::{Deserialize, Serialize};

use super::ChunkFault;
use crate::message::fields::{is_token_byte, is_value_byte};

/// Where in the extensions of one chunk a byte stands.
///
/// ```text
///   Begin ──▶ Name ──▶ AfterName ──=──▶ Equals ──▶ Token ───────────────────┐
///     ▲         └───────────┴──;──┐        └──"──▶ Quoted ──"──▶ QuotedEnd ─┤
///     └───────────────────────────┴◀──;── AfterValue ◀──────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Extension {
    /// Behind a semicolon.
    Begin,
    Name,
    /// Behind white space after a name.
    AfterName,
    /// Behind an equals sign.
    Equals,
    Token,
    Quoted,
    /// Behind a backslash in a quoted string.
    Escaped,
    /// Behind the quote that ends a quoted string.
    QuotedEnd,
    /// Behind white space after a value.
    AfterValue,
}

impl Extension {
    /// Where the next byte stands if this one is `byte`, which is neither CR nor LF.
    ///
    /// # Errors
    /// When no extension goes on so.
    pub(super) fn next(self, byte: u8) -> Result<Self, ChunkFault> {
        let is_space = matches!(byte, b' ' | b'\t');
        match self {
            Self::Begin | Self::Equals if is_space => Ok(self),
            Self::Begin | Self::Name if is_token_byte(byte) => Ok(Self::Name),
            Self::Name | Self::AfterName if byte == b'=' => Ok(Self::Equals),
            _ if self.may_end() && byte == b';' => Ok(Self::Begin),
            Self::Name | Self::AfterName if is_space => Ok(Self::AfterName),
            Self::Equals if byte == b'"' => Ok(Self::Quoted),
            Self::Equals | Self::Token if is_token_byte(byte) => Ok(Self::Token),
            Self::Token | Self::QuotedEnd | Self::AfterValue if is_space => Ok(Self::AfterValue),
            Self::Quoted if byte == b'"' => Ok(Self::QuotedEnd),
            Self::Quoted if byte == b'\\' => Ok(Self::Escaped),
            Self::Quoted | Self::Escaped if is_value_byte(byte) => Ok(Self::Quoted),
            _ => Err(ChunkFault::Extension),
        }
    }

    /// Whether the extensions may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::AfterName | Self::Token | Self::QuotedEnd | Self::AfterValue)
    }

    /// Whether white space came last that another extension would have to follow.
    pub(super) fn is_spaced(self) -> bool {
        matches!(self, Self::AfterName | Self::AfterValue)
    }
}
