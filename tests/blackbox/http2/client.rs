//! A client of HTTP/2 whose every frame the fact writes and reads by itself.

use segue::http2::frame::PREFACE;
use segue::http2::hpack::{HpackDecoder, Strings};

use crate::support::{Ending, Wire};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// END_STREAM and END_HEADERS.
pub const WHOLE: u8 = 5;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The number that the payload begins with.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four octets"))
    }

    /// The code of a GOAWAY.
    pub fn code(&self) -> u32 {
        u32::from_be_bytes(self.payload[4..8].try_into().expect("eight octets"))
    }
}

/// The end of a connection that a client has.
pub struct H2 {
    pub wire: Wire,
    decoder: HpackDecoder,
    /// Frames that came while others were waited for.
    ahead: Vec<Frame>,
}

/// A response, or as much of it as came before a reset.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Informational ones before it.
    pub interim: Vec<String>,
    pub fields: String,
    pub body: Vec<u8>,
    pub trailers: String,
    /// The code of a reset.
    pub reset: Option<u32>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field block that uses no table and no code.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let number = |length: usize| match length {
        0..127 => vec![u8::try_from(length).expect("short")],
        _ => {
            let (mut octets, mut rest) = (vec![127], length - 127);
            while rest >= 128 {
                octets.push(u8::try_from(rest % 128).expect("short") | 128);
                rest /= 128;
            }
            octets.push(u8::try_from(rest).expect("short"));
            octets
        }
    };
    let string = |text: &str| [number(text.len()), text.as_bytes().to_vec()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], string(name), string(value)].concat()).collect()
}

/// The fields of a request.
pub fn request<'a>(method: &'a str, host: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":authority", host), (":path", path)]
}

impl H2 {
    /// Begins with these settings besides one that forbids our tables, so that every block stands for itself.
    #[track_caller]
    pub fn begin(mut wire: Wire, settings: &[(u16, u32)]) -> Self {
        let settings: Vec<u8> = [(1, 0)]
            .iter()
            .chain(settings)
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        wire.send([&PREFACE[..], &frame(SETTINGS, 0, 0, &settings)].concat());
        Self { wire, decoder: HpackDecoder::new(4096), ahead: Vec::new() }
    }

    /// The end of a connection that a server has, which says these settings besides one that forbids tables.
    #[track_caller]
    pub fn accept(mut wire: Wire, settings: &[(u16, u32)]) -> Self {
        wire.expect(PREFACE);
        let settings: Vec<u8> = [(1, 0)]
            .iter()
            .chain(settings)
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        wire.send(frame(SETTINGS, 0, 0, &settings));
        Self { wire, decoder: HpackDecoder::new(4096), ahead: Vec::new() }
    }

    #[track_caller]
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.wire.send(frame(kind, flags, stream, payload));
    }

    /// Sends a request without a body.
    #[track_caller]
    pub fn get(&mut self, stream: u32, host: &str, path: &str) {
        self.send(HEADERS, WHOLE, stream, &block(&request("GET", host, path)));
    }

    /// Sends the head of a request with a body.
    #[track_caller]
    pub fn post(&mut self, stream: u32, host: &str, more: &[(&str, &str)]) {
        let fields = [&request("POST", host, "/")[..], more].concat();
        self.send(HEADERS, END_HEADERS, stream, &block(&fields));
    }

    /// The next frame.
    #[track_caller]
    fn frame(&mut self) -> Frame {
        let head = self.wire.take(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes(head[5..].try_into().expect("four octets"));
        Frame { kind: head[3], flags: head[4], stream, payload: self.wire.take(length) }
    }

    /// The next frame that is `wanted`; others are kept for later.
    #[track_caller]
    pub fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        if let Some(place) = self.ahead.iter().position(&wanted) {
            return self.ahead.remove(place);
        }
        loop {
            let frame = self.frame();
            if wanted(&frame) {
                return frame;
            }
            self.ahead.push(frame);
        }
    }

    /// Waits for a frame, which is kept for later.
    #[track_caller]
    pub fn peek(&mut self, wanted: impl Fn(&Frame) -> bool) {
        let frame = self.find(wanted);
        self.ahead.insert(0, frame);
    }

    /// The next frame of this type.
    #[track_caller]
    pub fn next(&mut self, kind: u8) -> Frame {
        self.find(|frame| frame.kind == kind)
    }

    /// Waits until the proxy has taken everything that was sent before.
    #[track_caller]
    pub fn settle(&mut self) {
        self.send(PING, 0, 0, b"settle--");
        self.find(|frame| frame.kind == PING && frame.flags == ACK);
    }

    /// Nothing has told the client so far to go on elsewhere.
    #[track_caller]
    pub fn assert_not_told(&mut self) {
        self.settle();
        let told = self.ahead.iter().find(|frame| frame.kind == GOAWAY);
        assert_eq!(told, None);
    }

    /// The response on a stream, to its end.
    #[track_caller]
    pub fn response(&mut self, stream: u32) -> Response {
        let mut response = Response::default();
        loop {
            let frame = self.find(|frame| frame.stream == stream && frame.kind != WINDOW_UPDATE);
            match frame.kind {
                HEADERS => {
                    let mut block = frame.payload.clone();
                    let mut flags = frame.flags;
                    while flags & END_HEADERS == 0 {
                        let more = self.find(|frame| frame.kind == CONTINUATION);
                        block.extend(more.payload);
                        flags = more.flags;
                    }
                    let fields = self.fields(&block);
                    match response.fields.is_empty() {
                        true if fields.starts_with(":status: 1") => response.interim.push(fields),
                        true => response.fields = fields,
                        false => response.trailers = fields,
                    }
                }
                DATA => response.body.extend(&frame.payload),
                RST_STREAM => {
                    response.reset = Some(frame.number());
                    return response;
                }
                other => panic!("a frame of type {other} on a stream"),
            }
            if frame.ends() {
                return response;
            }
        }
    }

    pub fn fields(&mut self, block: &[u8]) -> String {
        let mut text = String::new();
        let take = |name: &[u8], value: &[u8]| {
            text.push_str(&format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        };
        self.decoder.decode(block, &mut Strings::default(), take).expect("a field block");
        text
    }

    /// Everything that still comes, and how the connection ends.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<Frame>, Ending) {
        let (octets, ending) = self.wire.rest();
        let (mut rest, mut frames) = (&octets[..], std::mem::take(&mut self.ahead));
        while rest.len() >= 9 {
            let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
            let stream = u32::from_be_bytes(rest[5..9].try_into().expect("four octets"));
            let payload = rest[9..9 + length].to_vec();
            frames.push(Frame { kind: rest[3], flags: rest[4], stream, payload });
            rest = &rest[9 + length..];
        }
        (frames, ending)
    }

    /// The connection ends, and this is the code of the last GOAWAY.
    #[track_caller]
    pub fn goes_away(&mut self) -> u32 {
        let (frames, ending) = self.rest();
        assert_eq!(ending, Ending::Closed);
        let last = frames.iter().rev().find(|frame| frame.kind == GOAWAY);
        last.unwrap_or_else(|| panic!("no GOAWAY among {frames:?}")).code()
    }
}

impl Response {
    pub fn status(&self) -> &str {
        self.fields.strip_prefix(":status: ").and_then(|rest| rest.get(..3)).unwrap_or_default()
    }
}
