//! Priorities (RFC 9218): which response goes first.

use serde::{Deserialize, Serialize};

/// The parameters of `priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Priority {
    /// From 0, the first, to 7.
    pub urgency: u8,
    /// The response is of use before it is whole, so that those of one urgency take turns.
    pub is_incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: 3, is_incremental: false }
    }
}

impl Priority {
    /// Reads a value of `priority` (a dictionary of RFC 9651); what is not understood stays as it is by default.
    #[must_use]
    pub fn read(value: &[u8]) -> Self {
        let mut priority = Self::default();
        for member in value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii) {
            match member {
                [b'u', b'=', urgency @ b'0'..=b'7'] => priority.urgency = urgency - b'0',
                b"i" | b"i=?1" => priority.is_incremental = true,
                b"i=?0" => priority.is_incremental = false,
                _ => {}
            }
        }
        priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_others_ignored() {
        for (value, urgency, is_incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i=?0,u=2", 2, false),
            ("u=8", 3, false),
            ("u=-1, x=1, i=?1", 3, true),
        ] {
            assert_eq!(Priority::read(value.as_bytes()), Priority { urgency, is_incremental }, "{value}");
        }
    }
}
