//! Authentication schemes that authenticate a connection instead of each request (RFC 4559 §6): which fields name one.
//!
//! `WWW-Authenticate` and `Proxy-Authenticate` are lists of challenges whose parameters are separated by commas too
//! (RFC 9110 §11.6.1); `Authorization` and `Proxy-Authorization` begin like one challenge.

use super::fields::{is, token_len, trim};

/// What the credentials of a request mean to the connection that it goes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credentials {
    /// There are none, or they are good on any connection.
    #[default]
    Portable,
    /// They authenticate the connection that they are sent over.
    Bound,
    /// The same, and they answer what the server said on that connection: no other server can take them.
    Answering,
}

impl Credentials {
    /// Reads one field with credentials.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        let binding = challenges(value).find(|challenge| challenge.binds());
        binding.map_or(Self::Portable, |challenge| if challenge.answers() { Self::Answering } else { Self::Bound })
    }
}

/// Whether one field with challenges offers a scheme that authenticates the connection.
#[must_use]
pub fn binds(value: &[u8]) -> bool {
    challenges(value).any(|challenge| challenge.binds())
}

/// A scheme, and what follows it up to the next comma.
struct Challenge<'v> {
    scheme: &'v [u8],
    rest: &'v [u8],
}

impl Challenge<'_> {
    /// `Nego2` is what IIS offers beside `Negotiate`.
    fn binds(&self) -> bool {
        is(self.scheme, b"ntlm") || is(self.scheme, b"negotiate") || self.scheme.eq_ignore_ascii_case(b"nego2")
    }

    /// Whether the token is not the first of its handshake: the third message of NTLM (MS-NLMP §2.2.1.3), or a
    /// `NegTokenResp` of SPNEGO (RFC 4178 §4.2), whose first octet is 0xa1.
    fn answers(&self) -> bool {
        const NTLM_3: &[u8] = b"TlRMTVNTUAAD";
        self.rest.starts_with(NTLM_3) || matches!(self.rest, [b'o', b'Q'..=b'Z' | b'a'..=b'f', ..])
    }
}

/// The challenges of a list. What is no challenge is passed over.
fn challenges(value: &[u8]) -> impl Iterator<Item = Challenge<'_>> {
    elements(value).filter_map(|element| {
        let (scheme, rest) = element.split_at(token_len(element));
        let rest = trim(rest);
        // a name before `=` is a parameter of the challenge before (RFC 9110 §11.2)
        (!scheme.is_empty() && rest.first() != Some(&b'=')).then_some(Challenge { scheme, rest })
    })
}

/// What stands between the commas that are in no quoted string (RFC 9110 §5.6.4).
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = element_len(rest);
        let element = trim(&rest[..len]);
        rest = rest.get(len + 1..).unwrap_or_default();
        Some(element)
    })
}

fn element_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b',' => return at,
            // a quote that nothing closes is no string: a recipient may read on behind it
            b'"' => at += quoted_len(&bytes[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    at
}

/// The length of a quoted string with its quotes; none when it is not closed.
fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_found_wherever_it_stands_in_a_list_of_challenges() {
        for value in [
            "NTLM",
            "ntlm TlRMTVNTUAACAAAA=",
            "Negotiate",
            "nEgOtIaTe oYG2MIGz==",
            "Nego2",
            "Basic realm=\"a, b\", NTLM",
            "Basic realm=\"a \\\", b\" , charset=\"UTF-8\",Negotiate YII=, Bearer",
            "Digest realm=a, nonce=\"x\", NTLM",
            ", ,NTLM",
            "Bearer\t, NTLM",
            "Basic realm=\"open, NTLM",
        ] {
            assert!(binds(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_scheme_in_a_string_or_as_a_parameter_is_none() {
        for value in [
            "",
            "Basic realm=\"NTLM\"",
            "Basic realm=\"a, NTLM, b\"",
            "Basic realm=\"a\\\", NTLM\"",
            "Digest realm=NTLM, ntlm=1, Negotiate = \"x\"",
            "Bearer NTLM",
            "NTLMv2",
            "X-NTLM",
            "Basic TlRMTVNTUAADAAAA",
            "\"NTLM\"",
        ] {
            assert!(!binds(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn an_answer_to_a_challenge_is_told_from_the_first_word_of_a_handshake() {
        for (value, expected) in [
            ("Basic TlRMTVNTUAADAAAA", Credentials::Portable),
            ("Bearer oYG2", Credentials::Portable),
            ("NTLM TlRMTVNTUAABAAAA", Credentials::Bound),
            ("NTLM TlRMTVNTUAADAAAA", Credentials::Answering),
            ("Negotiate TlRMTVNTUAADAAAA", Credentials::Answering),
            ("negotiate  YIIFswYGKwYBBQUC", Credentials::Bound),
            ("Negotiate oYG2MIGzoAMKAQE=", Credentials::Answering),
            ("Negotiate oIG2MIGzoAMKAQE=", Credentials::Bound),
            ("NTLM", Credentials::Bound),
        ] {
            assert_eq!(Credentials::of(value.as_bytes()), expected, "{value}");
        }
    }
}
