//! Error codes (RFC 9113 §7), and which of connection and stream an error ends.

/// A code of RST_STREAM and GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// NO_ERROR.
    NoError,
    /// PROTOCOL_ERROR.
    ProtocolError,
    /// INTERNAL_ERROR.
    InternalError,
    /// FLOW_CONTROL_ERROR.
    FlowControlError,
    /// SETTINGS_TIMEOUT.
    SettingsTimeout,
    /// STREAM_CLOSED.
    StreamClosed,
    /// FRAME_SIZE_ERROR.
    FrameSizeError,
    /// REFUSED_STREAM: nothing was done, so the request may be sent again.
    RefusedStream,
    /// CANCEL.
    Cancel,
    /// COMPRESSION_ERROR.
    CompressionError,
    /// CONNECT_ERROR.
    ConnectError,
    /// ENHANCE_YOUR_CALM.
    EnhanceYourCalm,
    /// INADEQUATE_SECURITY.
    InadequateSecurity,
    /// HTTP_1_1_REQUIRED.
    Http11Required,
    /// A code that is not known, which means no more than that there was an error.
    Other(u32),
}

const KNOWN: [ErrorCode; 14] = [
    ErrorCode::NoError,
    ErrorCode::ProtocolError,
    ErrorCode::InternalError,
    ErrorCode::FlowControlError,
    ErrorCode::SettingsTimeout,
    ErrorCode::StreamClosed,
    ErrorCode::FrameSizeError,
    ErrorCode::RefusedStream,
    ErrorCode::Cancel,
    ErrorCode::CompressionError,
    ErrorCode::ConnectError,
    ErrorCode::EnhanceYourCalm,
    ErrorCode::InadequateSecurity,
    ErrorCode::Http11Required,
];

impl ErrorCode {
    /// The name in RFC 9113 §7.
    #[must_use]
    pub fn name(self) -> String {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        let name = NAMES.get(self.number() as usize);
        name.map_or_else(|| format!("the code {}", self.number()), |name| (*name).to_owned())
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            known => KNOWN.iter().position(|code| *code == known).map_or(2, |place| place as u32),
        }
    }
}

impl From<u32> for ErrorCode {
    fn from(number: u32) -> Self {
        KNOWN.get(number as usize).copied().unwrap_or(Self::Other(number))
    }
}

/// The peer broke a rule, and the connection ends with GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct ConnectionError {
    /// What the peer is told.
    pub code: ErrorCode,
    /// The rule, as a sentence for the record.
    pub rule: &'static str,
}

impl ConnectionError {
    pub(super) fn new(code: ErrorCode, rule: &'static str) -> Self {
        Self { code, rule }
    }

    pub(super) fn protocol(rule: &'static str) -> Self {
        Self::new(ErrorCode::ProtocolError, rule)
    }

    pub(super) fn frame_size(rule: &'static str) -> Self {
        Self::new(ErrorCode::FrameSizeError, rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (code, number) in [
            (ErrorCode::NoError, 0),
            (ErrorCode::StreamClosed, 5),
            (ErrorCode::EnhanceYourCalm, 11),
            (ErrorCode::Http11Required, 13),
            (ErrorCode::Other(99), 99),
        ] {
            assert_eq!((code.number(), ErrorCode::from(number)), (number, code));
        }
    }
}
