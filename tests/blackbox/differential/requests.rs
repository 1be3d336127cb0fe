//! Requests of every kind, and how two answers, or two requests at servers, are compared.

use std::time::Instant;

use super::recording::Received;
use crate::support::{DEADLINE, Head, Wire};

/// Numbers that are the same each time (xorshift).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length / 8 + 1).flat_map(|_| {
            self.below(1);
            self.0.to_le_bytes()
        });
        words.take(length).collect()
    }
}

/// The body of a request, with its framing.
#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    number: usize,
    pub method: &'static str,
    target: String,
    is_10: bool,
    /// What the server is to answer.
    pub wants: &'static str,
    fields: Vec<(String, String)>,
    body: Body,
    expects: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answered {
    pub status: u16,
    pub head: Head,
    pub body: Vec<u8>,
    /// Whether another request can go over the connection.
    pub goes_on: bool,
    continued: bool,
}

const METHODS: &[&str] = &["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
const WANTS: &[&str] = &[
    "length",
    "empty",
    "chunks",
    "until-close",
    "close",
    "created",
    "nothing",
    "moved",
    "unchanged",
    "missing",
    "broken",
    "busy",
    "login",
    "long",
    "cookies",
    "hints",
    "odd",
];
const TARGETS: &[&str] = &[
    "/",
    "/a/b/c.html",
    "/search?q=a+b&q=c%20d",
    "/%7Euser/./x/../y",
    "//double//slash",
    "/semi;a=b?x=/&y=?",
    "/caf%C3%A9",
    "/index.php?page=1",
    "/a?",
    "/lb",
    "/lb?stats",
];
const FIELDS: &[(&str, &str)] = &[
    ("Accept", "text/html, */*;q=0.1"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Cookie", "a=1; b=2"),
    ("Cookie", "c=3"),
    ("Authorization", "Basic dXNlcjpwYXNzd29yZA=="),
    ("If-None-Match", "\"2011\""),
    ("Range", "bytes=0-9"),
    ("User-Agent", "Mozilla/4.0 (compatible; MSIE 8.0)"),
    ("X-MiXed-CaSe", "Yes"),
    ("X-Empty", ""),
    ("X-Spaces", "a  b\tc"),
    ("Referer", "http://elsewhere.example/?a=b"),
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("Origin", "null"),
    ("Content-Type", "application/x-www-form-urlencoded"),
];

impl Asked {
    /// A small one.
    pub fn get(target: &str) -> Self {
        let fields = vec![("Connection".to_owned(), "close".to_owned())];
        let (method, wants) = ("GET", "length");
        let target = target.to_owned();
        Self { number: 0, method, target, is_10: false, wants, fields, body: Body::None, expects: false }
    }

    /// With another field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn random(number: usize, random: &mut Random) -> Self {
        let method = random.one_of(METHODS);
        let is_10 = random.below(6) == 0;
        let wants = if random.below(60) == 0 { "large" } else { random.one_of(WANTS) };
        let mut target = random.one_of(TARGETS).to_owned();
        if random.below(20) == 0 {
            target = format!("/{}?{}", "long/".repeat(random.below(200)), "q".repeat(random.below(2000)));
        }
        let mut fields: Vec<(String, String)> = (0..random.below(8))
            .map(|_| random.one_of(FIELDS))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if random.below(15) == 0 {
            fields.extend((0..50 + random.below(25)).map(|at| (format!("X-Many-{at}"), "v".repeat(random.below(60)))));
        }
        let length = match random.below(40) {
            0 => 200_000 + random.below(200_000),
            1..10 => 0,
            _ => random.below(5000),
        };
        let body = match method {
            "POST" | "PUT" | "PATCH" if is_10 || random.below(2) == 0 => Body::Length(random.bytes(length)),
            "POST" | "PUT" | "PATCH" => {
                let whole = random.bytes(length);
                Body::Chunks(whole.chunks(1 + random.below(3000)).map(<[u8]>::to_vec).collect())
            }
            // HAProxy answers 413 to a body of DELETE in HTTP/1.0, which some servers of that time took for the next request;
            // servers get it as HTTP/1.1 from Segue
            "DELETE" if !is_10 && random.below(2) == 0 => Body::Length(random.bytes(10)),
            _ => Body::None,
        };
        let is_empty = match &body {
            Body::None => true,
            Body::Length(whole) => whole.is_empty(),
            Body::Chunks(_) => false,
        };
        // where the head says that there is no content, HAProxy passes a 100 on and Segue asks for none; both may (RFC 9110 10.1.1)
        let expects = !is_10 && !is_empty && random.below(5) == 0;
        match random.below(5) {
            0 if is_10 => fields.push(("Connection".to_owned(), "keep-alive".to_owned())),
            0 => fields.push(("Connection".to_owned(), "close".to_owned())),
            1 => fields.push(("Connection".to_owned(), "X-Hop, keep-alive".to_owned())),
            _ => {}
        }
        Self { number, method, target, is_10, wants, fields, body, expects }
    }

    fn head(&self) -> String {
        let version = if self.is_10 { "1.0" } else { "1.1" };
        let mut text = format!("{} {} HTTP/{version}\r\nHost: farm.example\r\n", self.method, self.target);
        text += &format!("X-Number: {}\r\nX-Wants: {}\r\n", self.number, self.wants);
        self.fields.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        match &self.body {
            Body::None => {}
            Body::Length(body) => text += &format!("Content-Length: {}\r\n", body.len()),
            Body::Chunks(_) => text += "Transfer-Encoding: chunked\r\n",
        }
        text + if self.expects { "Expect: 100-continue\r\n\r\n" } else { "\r\n" }
    }

    fn framed_body(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Length(body) => body.clone(),
            Body::Chunks(chunks) => {
                let framed = |chunk: &Vec<u8>| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
                chunks.iter().flat_map(framed).chain(*b"0\r\n\r\n").collect()
            }
        }
    }

    /// Sends it, and reads the answer.
    #[track_caller]
    pub fn send(&self, wire: &mut Wire) -> Answered {
        let mut continued = false;
        match self.expects {
            true => {
                wire.send(self.head());
                let head = wire.head();
                assert_eq!(head.status(), 100, "{self:?}: {}", head.text());
                continued = true;
                wire.send(self.framed_body());
            }
            false => wire.send([self.head().into_bytes(), self.framed_body()].concat()),
        }
        let until = Instant::now() + DEADLINE;
        let head = loop {
            let head = wire.head();
            assert!(Instant::now() < until, "{self:?}");
            if head.status() >= 200 {
                break head;
            }
            continued = true;
        };
        let says = |value: &str| head.fields("connection").iter().any(|said| said.eq_ignore_ascii_case(value));
        let mut goes_on = if self.is_10 { says("keep-alive") } else { !says("close") };
        let body = match head.field("content-length") {
            _ if self.method == "HEAD" || [204, 304].contains(&head.status()) => Vec::new(),
            _ if head.has("transfer-encoding") => wire.chunks().0,
            Some(length) => wire.take(length.parse().expect("a length")),
            None => {
                goes_on = false;
                wire.rest().0
            }
        };
        Answered { status: head.status(), head, body, goes_on, continued }
    }
}

impl Answered {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.fields(name).first().copied()
    }

    /// The fields with names in lower case, but for those that are `left_out`.
    fn fields(&self, left_out: &[&str]) -> Vec<(String, String)> {
        let lines = self.head.text().split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let fields = lines.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        sorted(fields.filter(|(name, _)| !left_out.contains(&name.as_str())).collect())
    }
}

/// By name. Those of one name stay in their order, which alone says something (RFC 9110 5.3).
fn sorted(mut fields: Vec<(String, String)>) -> Vec<(String, String)> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

/// Fields of responses that may differ, and why.
const OF_RESPONSES: &[&str] = &[
    // each says for its own connection how the body ends and whether another request may come
    "connection",
    "keep-alive",
    // a body that ends with its connection is chunked by Segue, so that one that breaks off is known as such
    "transfer-encoding",
];

/// Fields of requests at servers that may differ, and why.
const OF_REQUESTS: &[&str] = &[
    // each has a connection of its own to servers
    "connection",
    "keep-alive",
    // the file has no `option forwardfor`; Segue tells servers always where a request comes from (segue.toml(5), HEADER FIELDS)
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    // RFC 9110 7.6.3 asks proxies for it, and HAProxy does not write it
    "via",
];

/// The client sees the same.
#[track_caller]
pub fn assert_same_answer(asked: &Asked, old: &Answered, new: &Answered) {
    let about = || format!("{asked:?}\n{}\n{}", old.head.text(), new.head.text());
    assert_eq!(old.status, new.status, "{}", about());
    assert_eq!(
        old.head.line().split(' ').skip(1).collect::<Vec<_>>(),
        new.head.line().split(' ').skip(1).collect::<Vec<_>>()
    );
    assert!(old.body == new.body, "{} and {} bytes: {}", old.body.len(), new.body.len(), about());
    assert_eq!(old.fields(OF_RESPONSES), new.fields(OF_RESPONSES), "{}", about());
    assert_eq!(old.continued, new.continued, "{}", about());
}

/// The servers see the same.
#[track_caller]
pub fn assert_same_request(asked: &Asked, old: &[Received], new: &[Received]) {
    let ([old], [new]) = (old, new) else { panic!("one request each: {asked:?}, {old:?}, {new:?}") };
    assert_eq!((&old.method, &old.target), (&new.method, &new.target), "{asked:?}");
    assert!(old.body == new.body, "{} and {} bytes: {asked:?}", old.body.len(), new.body.len());
    let fields = |received: &Received| -> Vec<(String, String)> {
        sorted(received.fields.iter().filter(|(name, _)| !OF_REQUESTS.contains(&name.as_str())).cloned().collect())
    };
    assert_eq!(fields(old), fields(new), "{asked:?}");
}
