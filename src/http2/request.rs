//! Field blocks of requests and responses, turned into the head of a message of HTTP/1.1 (RFC 9113 §8.2, §8.3), which then
//! goes through the same checks as one that came as such.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::hpack::{HpackDecoder, Malformed, Strings};
use crate::message::fields::is_forbidden_in_trailers;

/// What a field block is read into; one for each thread, since only one block is read at a time.
#[derive(Debug, Default)]
pub struct FieldSection {
    strings: Strings,
    /// The head as HTTP/1.1 has it, or the trailers as lines.
    text: Vec<u8>,
    pseudo: [Vec<u8>; PSEUDO],
    has: [bool; PSEUDO],
    cookies: Vec<u8>,
    is_begun: bool,
    kind: SectionKind,
    status: StatusCode,
    /// Octets of the first line.
    first_line: usize,
    host: Option<Vec<u8>>,
    priority: Option<Vec<u8>>,
    length: Option<u64>,
    /// The rule that it breaks.
    broken: Option<&'static str>,
    /// Octets that may be kept.
    most: usize,
    is_too_large: bool,
    /// Octets that were decoded, kept or not.
    decoded: usize,
}

/// What a field block has the fields of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SectionKind {
    #[default]
    Request,
    Response,
    Trailers,
}

/// How many pseudo-header fields there are.
const PSEUDO: usize = 6;
const METHOD: usize = 0;
const SCHEME: usize = 1;
const AUTHORITY: usize = 2;
const PATH: usize = 3;
const PROTOCOL: usize = 4;
const STATUS: usize = 5;

/// Why the fields are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldsFault {
    /// They break this rule: RST_STREAM with PROTOCOL_ERROR (RFC 9113 §8.1.1).
    Malformed(&'static str),
    /// They are more than the limit: 431 for a request.
    TooLarge,
}

impl FieldSection {
    /// Begins the fields of a message, or of its trailers, of which `most` octets are kept.
    pub(super) fn begin(&mut self, kind: SectionKind, most: usize) {
        self.text.clear();
        self.pseudo.iter_mut().for_each(Vec::clear);
        self.cookies.clear();
        (self.has, self.is_begun, self.kind, self.most) = ([false; PSEUDO], false, kind, most);
        (self.status, self.first_line) = (StatusCode::OK, 0);
        (self.host, self.priority, self.length, self.broken, self.is_too_large) = (None, None, None, None, false);
        self.decoded = 0;
    }

    /// How many times as much was decoded as may be kept: a block of references to one long field is a thousand times as
    /// long as it comes.
    pub(super) fn excess(&self) -> usize {
        self.decoded / self.most.max(1)
    }

    /// Takes the fields of a whole block.
    ///
    /// # Errors
    /// As [`HpackDecoder::decode`].
    pub(super) fn decode(&mut self, decoder: &mut HpackDecoder, block: &[u8]) -> Result<(), Malformed> {
        let mut strings = std::mem::take(&mut self.strings);
        let decoded = decoder.decode(block, &mut strings, |name, value| self.take(name, value));
        self.strings = strings;
        decoded
    }

    /// Takes a field.
    fn take(&mut self, name: &[u8], value: &[u8]) {
        self.decoded = self.decoded.saturating_add(name.len() + value.len() + 4);
        if self.is_too_large || self.broken.is_some() {
            return;
        }
        let size = self.text.len() + self.cookies.len() + self.pseudo.iter().map(Vec::len).sum::<usize>();
        self.is_too_large = size + name.len() + value.len() + 4 > self.most;
        if self.is_too_large {
            return;
        }
        let taken = match name {
            [b':', ..] => self.pseudo(name, value),
            _ => self.field(name, value),
        };
        self.broken = taken.err();
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let place = match name {
            b":method" => METHOD,
            b":scheme" => SCHEME,
            b":authority" => AUTHORITY,
            b":path" => PATH,
            b":protocol" => PROTOCOL,
            b":status" => STATUS,
            _ => return Err("A pseudo-header field is none that is known."),
        };
        if (place == STATUS) != (self.kind == SectionKind::Response) {
            return Err("A pseudo-header field belongs to another kind of message.");
        }
        if self.is_begun || self.kind == SectionKind::Trailers {
            return Err("A pseudo-header field stands behind a field, or among trailers.");
        }
        if std::mem::replace(&mut self.has[place], true) {
            return Err("A pseudo-header field stands there twice.");
        }
        self.pseudo[place].extend_from_slice(value);
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if !self.is_begun {
            self.begin_head()?;
        }
        if name.is_empty() || !name.iter().all(|octet| NAME[usize::from(*octet)]) {
            return Err("A field name has upper case, or a character that no name has.");
        }
        if !is_value(value) {
            return Err("A field value has a control character, or white space around it.");
        }
        match name {
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                return Err("A field is for one connection of HTTP/1 only.");
            }
            b"te" if self.kind != SectionKind::Response && !value.eq_ignore_ascii_case(b"trailers") => {
                return Err("TE says more than trailers.");
            }
            b"content-length" if self.has[PROTOCOL] => return Err("Content-Length stands with :protocol."),
            b"content-length" if self.kind == SectionKind::Trailers => {
                return Err("Content-Length stands among trailers.");
            }
            b"content-length" => {
                let length = digits(value).ok_or("Content-Length is no number.")?;
                if self.length.replace(length).is_some() {
                    return Err("Content-Length stands there twice.");
                }
            }
            b"sec-websocket-key" if self.has[PROTOCOL] => return Ok(()), // it means nothing here (RFC 8441 §5)
            _ if self.kind == SectionKind::Response => {}
            b"host" => return self.host(value),
            b"priority" => self.priority = Some(value.to_vec()),
            b"cookie" => {
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; "); // RFC 9113 §8.2.3
                }
                self.cookies.extend_from_slice(value);
                return Ok(());
            }
            _ => {}
        }
        self.line(name, value);
        Ok(())
    }

    /// `Host` beside `:authority` says the same (RFC 9113 §8.3.1).
    fn host(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.kind == SectionKind::Trailers {
            return Err("Host stands among trailers.");
        }
        if self.has[AUTHORITY] {
            let is_same = self.pseudo[AUTHORITY].eq_ignore_ascii_case(value);
            return if is_same { Ok(()) } else { Err("Host is not what :authority says.") };
        }
        if self.host.replace(value.to_vec()).is_some() {
            return Err("Host stands there twice.");
        }
        self.line(b"host", value);
        Ok(())
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.text.extend_from_slice(part);
        }
    }

    /// Writes the first line, if there is one.
    fn begin_head(&mut self) -> Result<(), &'static str> {
        self.is_begun = true;
        match self.kind {
            SectionKind::Request => self.begin_request(),
            SectionKind::Response => self.begin_response(),
            SectionKind::Trailers => Ok(()),
        }
    }

    fn begin_response(&mut self) -> Result<(), &'static str> {
        let status = StatusCode::from_bytes(&self.pseudo[STATUS]).ok().filter(|_| self.has[STATUS]);
        // a switch of protocols is another thing here (RFC 9113 §8.6)
        let is_right = |status: &StatusCode| *status != StatusCode::SWITCHING_PROTOCOLS;
        self.status = status.filter(is_right).ok_or(":status is missing, or no status that HTTP/2 has.")?;
        let reason = self.status.canonical_reason().unwrap_or_default();
        for part in [b"HTTP/1.1 ", self.status.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"] {
            self.text.extend_from_slice(part);
        }
        self.first_line = self.text.len();
        Ok(())
    }

    /// Writes the request line, and the `Host` that `:authority` is.
    fn begin_request(&mut self) -> Result<(), &'static str> {
        let [method, scheme, authority, path, protocol, _] = &self.pseudo;
        if !self.has[METHOD] || method.is_empty() || !method.iter().all(|octet| is_token(*octet)) {
            return Err(":method is missing, or is no token.");
        }
        let is_extended = self.has[PROTOCOL];
        if is_extended
            && (method != b"CONNECT"
                || authority.is_empty()
                || protocol.is_empty()
                || !protocol.iter().all(|octet| is_token(*octet)))
        {
            return Err(":protocol is no token, or stands without CONNECT and :authority.");
        }
        let target: &[u8] = if method == b"CONNECT" && !is_extended {
            if self.has[SCHEME] || self.has[PATH] || authority.is_empty() {
                return Err("CONNECT has :authority, and neither :scheme nor :path.");
            }
            authority
        } else {
            if scheme != b"https" && scheme != b"http" {
                return Err(":scheme is missing, or neither http nor https.");
            }
            let is_path = path.first() == Some(&b'/') || path == b"*" && method == b"OPTIONS";
            if !is_path || path.iter().any(|octet| *octet <= b' ' || *octet == 0x7f) {
                return Err(":path is missing, empty, or no path.");
            }
            path
        };
        let is_authority = |octet: &u8| octet.is_ascii_graphic() && !matches!(octet, b'@' | b'/' | b'?' | b'#' | b'\\');
        if self.has[AUTHORITY] && (authority.is_empty() || !authority.iter().all(is_authority)) {
            return Err(":authority is no host.");
        }
        // what HTTP/1.1 has for it is an upgrade (RFC 8441 §5)
        let method: &[u8] = if is_extended { b"GET" } else { method };
        for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
            self.text.extend_from_slice(part);
        }
        if self.has[AUTHORITY] {
            for part in [b"host: ", &authority[..], b"\r\n"] {
                self.text.extend_from_slice(part);
            }
        }
        if is_extended {
            for part in [b"connection: upgrade\r\nupgrade: ", &protocol[..], b"\r\n"] {
                self.text.extend_from_slice(part);
            }
        }
        Ok(())
    }

    /// Ends the fields. `has_body` when DATA may follow a request.
    ///
    /// # Errors
    /// See [`FieldsFault`].
    pub(super) fn finish(&mut self, has_body: bool) -> Result<(), FieldsFault> {
        if self.broken.is_none() && !self.is_begun {
            self.broken = self.begin_head().err();
        }
        if let Some(rule) = self.broken {
            return Err(FieldsFault::Malformed(rule));
        }
        if self.is_too_large {
            return Err(FieldsFault::TooLarge);
        }
        if self.kind != SectionKind::Request {
            return Ok(());
        }
        if !has_body && self.length.is_some_and(|length| length > 0) {
            return Err(FieldsFault::Malformed("Content-Length says more than came."));
        }
        if !self.cookies.is_empty() {
            let cookies = std::mem::take(&mut self.cookies);
            self.line(b"cookie", &cookies);
            self.cookies = cookies;
        }
        if has_body && self.length.is_none() && !self.has[PROTOCOL] {
            self.text.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        self.text.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The head of a request as HTTP/1.1 has it, with `Transfer-Encoding: chunked` where a body of unknown length follows;
    /// or the trailers as lines; or that of a response without the empty line that ends it.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The status of a response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The fields of a response as lines, without what the status line says.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.text[self.first_line..]
    }

    /// Whether the request asks for a tunnel with a protocol in it (RFC 8441 §4): its head is that of an upgrade.
    #[must_use]
    pub fn is_extended_connect(&self) -> bool {
        self.has[PROTOCOL]
    }

    /// The trailers, without those that may not be among them (RFC 9110 §6.5.1).
    #[must_use]
    pub fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        for line in self.text.split(|octet| *octet == b'\n') {
            let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
            let name = HeaderName::from_bytes(&line[..colon]).ok();
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok();
            if let (Some(name), Some(value)) = (name, value)
                && !is_forbidden_in_trailers(&name)
            {
                let _ = trailers.try_append(name, value); // more than a map can hold are no trailers
            }
        }
        trailers
    }

    /// What `Content-Length` says.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The value of `priority`.
    #[must_use]
    pub(super) fn priority(&self) -> Option<&[u8]> {
        self.priority.as_deref()
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.len() < 19 && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

/// A value without controls, and without white space around it (RFC 9113 §8.2.1).
fn is_value(value: &[u8]) -> bool {
    let is_blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    let is_control = |octet: &u8| *octet < b' ' && *octet != b'\t' || *octet == 0x7f;
    !is_blank(value.first()) && !is_blank(value.last()) && !value.iter().any(is_control)
}

fn is_token(octet: u8) -> bool {
    NAME[usize::from(octet)] || octet.is_ascii_uppercase()
}

/// The characters of a field name: those of a token without upper case (RFC 9113 §8.2).
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let characters = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut at = 0;
    while at < characters.len() {
        table[characters[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/b?c")];

    fn read(fields: &[(&str, &str)], has_body: bool) -> Result<String, FieldsFault> {
        let mut block = FieldSection::default();
        block.begin(SectionKind::Request, 1024);
        fields.iter().for_each(|(name, value)| block.take(name.as_bytes(), value.as_bytes()));
        block.finish(has_body)?;
        Ok(String::from_utf8(block.text().to_vec()).expect("text"))
    }

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        [&GET[..], more].concat()
    }

    #[test]
    fn fields_become_a_head_of_http_1() {
        let head = read(&with(&[("x-a", "1"), ("cookie", "a=b"), ("te", "trailers"), ("cookie", "c=d")]), false);
        let wanted = "GET /b?c HTTP/1.1\r\nhost: a.test\r\nx-a: 1\r\nte: trailers\r\ncookie: a=b; c=d\r\n\r\n";
        assert_eq!(head.as_deref(), Ok(wanted));
        let options = [(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), ("host", "a")];
        assert_eq!(read(&options, false).as_deref(), Ok("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"));
    }

    #[test]
    fn a_body_has_a_length_or_is_chunked() {
        let head = read(&with(&[("content-length", "5")]), true).expect("a head");
        assert!(head.contains("content-length: 5\r\n") && !head.contains("chunked"));
        assert!(read(&GET, true).expect("a head").ends_with("transfer-encoding: chunked\r\n\r\n"));
        assert!(read(&with(&[("content-length", "0")]), false).is_ok());
        assert!(read(&with(&[("content-length", "5")]), false).is_err(), "nothing follows");
    }

    #[test]
    fn whatever_could_split_or_frame_a_message_is_malformed() {
        for (name, value) in [
            ("X-A", "1"),
            ("", "1"),
            ("x a", "1"),
            ("x:a", "1"),
            ("x-a", "1\r\nb: 2"),
            ("x-a", "1\0"),
            ("x-a", " 1"),
            ("x-a", "1\t"),
            ("connection", "close"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("te", "gzip"),
            ("content-length", "+1"),
            ("content-length", ""),
            ("host", "b.test"),
            (":path", "/again"),
            (":status", "200"),
            (":other", "1"),
            (":protocol", "websocket"),
        ] {
            assert!(
                matches!(read(&with(&[("x", "1"), (name, value)]), true), Err(FieldsFault::Malformed(_))),
                "{name}"
            );
        }
        assert!(read(&with(&[("content-length", "1"), ("content-length", "1")]), true).is_err());
    }

    #[test]
    fn pseudo_fields_are_whole_and_right() {
        for left_out in [":method", ":scheme", ":path"] {
            let fields: Vec<_> = GET.into_iter().filter(|(name, _)| *name != left_out).collect();
            assert!(read(&fields, false).is_err(), "{left_out}");
        }
        for (name, value) in [
            (":path", ""),
            (":path", "b"),
            (":path", "*"),
            (":path", "/a b"),
            (":path", "/a\r\nb"),
            (":scheme", "ftp"),
            (":method", "G T"),
            (":method", ""),
            (":authority", ""),
            (":authority", "user@a"),
            (":authority", "a/b"),
        ] {
            let fields = GET.map(|field| if field.0 == name { (name, value) } else { field });
            assert!(read(&fields, false).is_err(), "{name} {value:?}");
        }
        assert!(read(&[(":method", "CONNECT"), (":authority", "a:443"), (":path", "/")], false).is_err());
    }

    #[test]
    fn an_extended_connect_is_an_upgrade() {
        let connect = [&[(":method", "CONNECT"), (":protocol", "websocket")][..], &GET[1..]].concat();
        let more = [&connect[..], &[("sec-websocket-version", "13"), ("sec-websocket-key", "x")]].concat();
        let wanted = "GET /b?c HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-version: 13\r\n\r\n";
        assert_eq!(read(&more, true), Ok(wanted.to_owned()));
        for (name, value) in
            [(":method", "GET"), (":authority", ""), (":path", ""), (":protocol", "a b"), (":protocol", "")]
        {
            let fields: Vec<_> =
                connect.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect();
            assert!(read(&fields, true).is_err(), "{name} {value:?}");
        }
        assert!(read(&[&connect[..], &[("content-length", "0")]].concat(), true).is_err());
        assert!(read(&[&connect[..], &[("upgrade", "x")]].concat(), true).is_err());
    }

    #[test]
    fn a_field_behind_the_limit_is_not_kept() {
        let mut block = FieldSection::default();
        block.begin(SectionKind::Request, 1024);
        GET.iter().for_each(|(name, value)| block.take(name.as_bytes(), value.as_bytes()));
        (0..100_000).for_each(|_| block.take(b"x-large", &[b'x'; 100]));
        assert_eq!(block.finish(false), Err(FieldsFault::TooLarge));
        assert!(block.text().len() <= 1024);
    }
}
