//! Streams of requests: well-formed ones, odd ones, and damage. A number gives the same stream every time.

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len())]
    }

    /// The first one mostly, another one once in `times`.
    fn rarely<'t>(&mut self, times: usize, usual: &'t str, from: &[&'t str]) -> &'t str {
        if self.once_in(times) { self.pick(from) } else { usual }
    }
}

/// The stream of this number, in the pieces in which it is sent.
pub(super) fn stream(number: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice(number);
    let mut bytes = Vec::new();
    for _ in 0..=dice.below(4) {
        request(&mut dice, &mut bytes);
    }
    if dice.once_in(2) {
        for _ in 0..=dice.below(3) {
            damage(&mut dice, &mut bytes);
        }
    }
    cut(&mut dice, &bytes)
}

fn request(dice: &mut Dice, out: &mut Vec<u8>) {
    let method = dice.rarely(6, "POST", &METHODS);
    let target = dice.rarely(6, "/a/b?c=d", &TARGETS);
    let version = dice.rarely(12, "HTTP/1.1", &VERSIONS);
    let (one, two) = (dice.rarely(60, " ", &SPACES), dice.rarely(60, " ", &SPACES));
    let head = [dice.rarely(30, "", &["\r\n", "\r\n\r\n", "\n", " "]), method, one, target, two, version, "\r\n"];
    head.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.extend_from_slice(dice.rarely(16, "Host: a.test\r\n", &HOSTS).as_bytes());
    for _ in 0..dice.below(4) {
        let fields = if dice.once_in(8) { &ODD_FIELDS[..] } else { &FIELDS[..] };
        out.extend_from_slice(dice.pick(fields).as_bytes());
        if dice.once_in(200) {
            out.extend_from_slice("X: y\r\n".repeat(dice.below(220)).as_bytes());
        }
    }
    match dice.below(12) {
        0 | 1 => out.extend_from_slice(b"\r\n"),
        2..=6 => {
            let body = vec![b'b'; dice.below(200)];
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            out.extend_from_slice(&body);
        }
        7..=10 => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            chunks(dice, out);
        }
        _ => {
            out.extend_from_slice(dice.pick(&FRAMINGS).as_bytes());
            out.extend_from_slice(b"\r\n");
            if dice.once_in(3) { out.extend_from_slice(b"abc") } else { chunks(dice, out) }
        }
    }
}

fn chunks(dice: &mut Dice, out: &mut Vec<u8>) {
    for _ in 0..dice.below(4) {
        let data = vec![b'c'; 1 + dice.below(40)];
        let size = match dice.below(20) {
            0 => format!("{:X}", data.len()),
            1 => format!("000{:x}", data.len()),
            2 => dice.pick(&SIZES).to_owned(),
            _ => format!("{:x}", data.len()),
        };
        out.extend_from_slice(size.as_bytes());
        out.extend_from_slice(dice.rarely(12, "", &EXTENSIONS).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&data);
        out.extend_from_slice(dice.rarely(60, "\r\n", &["\n", "", "\r\n\r\n", "\r"]).as_bytes());
    }
    out.extend_from_slice(dice.rarely(30, "0", &["00", "0000000000000000000000", ""]).as_bytes());
    out.extend_from_slice(dice.rarely(20, "", &EXTENSIONS).as_bytes());
    out.extend_from_slice(b"\r\n");
    for _ in 0..dice.below(4).saturating_sub(2) {
        out.extend_from_slice(dice.pick(&TRAILERS).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let at = dice.below(bytes.len());
    let to = (at + dice.below(12)).min(bytes.len());
    match dice.below(8) {
        0 => bytes[at] = dice.roll() as u8,
        1 | 2 => bytes[at] = ODD_BYTES[dice.below(ODD_BYTES.len())],
        3 => drop(bytes.drain(at..to)),
        4 => bytes.insert(at, ODD_BYTES[dice.below(ODD_BYTES.len())]),
        5 => {
            let part = bytes[at..to].to_vec();
            bytes.splice(at..at, part);
        }
        6 => {
            let part = dice.pick(&PARTS).as_bytes();
            bytes.splice(at..at, part.iter().copied());
        }
        _ => bytes.truncate(at),
    }
}

fn cut(dice: &mut Dice, bytes: &[u8]) -> Vec<Vec<u8>> {
    if dice.once_in(20) {
        return bytes.iter().map(|byte| vec![*byte]).collect();
    }
    let mut cuts: Vec<usize> = (0..dice.below(6)).map(|_| dice.below(bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut from = 0;
    cuts.into_iter()
        .map(|to| bytes[std::mem::replace(&mut from, to)..to].to_vec())
        .filter(|piece| !piece.is_empty())
        .collect()
}

const METHODS: [&str; 12] = [
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "CONNECT",
    "get",
    "X-OWN!",
    "PROPFINDPROPFINDPROPFINDPROPFIND",
    "G@T",
];
const TARGETS: [&str; 26] = [
    "/",
    "/%41%2f..",
    "*",
    "http://a.test/x",
    "http://a.test",
    "HTTP://A.test:80?x",
    "https://a.test/y?z",
    "//x/y",
    "/a|b",
    "/a\"b",
    "/a#b",
    "/<a>",
    "/{a}",
    "/a\\b",
    "/a^b",
    "/a`b",
    "/\u{e4}",
    "a.test:80",
    "ftp://a.test/",
    "http:///x",
    "http://u@a.test/",
    "http://a.test:99999/",
    "http://[::1]:80/",
    "?a",
    "a",
    "/a?b?c=/d",
];
const VERSIONS: [&str; 12] = [
    "HTTP/1.0",
    "HTTP/1.0",
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/1.9",
    "HTTP/2.0",
    "HTTP/0.9",
    "HTTP/01.01",
    "http/1.1",
    "HTTP/1.10",
    "HTTP/1",
    "",
];
const SPACES: [&str; 4] = ["  ", "\t", "", " \t"];
const HOSTS: [&str; 14] = [
    "",
    "Host: a.test\r\nHost: a.test\r\n",
    "Host: a.test\r\nhost: b\r\n",
    "Host:\r\n",
    "host:a.test:80\r\n",
    "Host: [::1]\r\n",
    "Host: a b\r\n",
    "Host: u@a\r\n",
    "Host: a,b\r\n",
    "Host: a:99999\r\n",
    "Host: [::1\r\n",
    "Host: a/b\r\n",
    "Host: \u{e4}\r\n",
    "Host: a:\r\n",
];
const FIELDS: [&str; 13] = [
    "Accept: */*\r\n",
    "X-A: 1\r\n",
    "x-a:2\r\n",
    "X-B: \t a b \t\r\n",
    "X-Empty:\r\n",
    "Cookie: a=b; c=\"d\"\r\n",
    "Connection: keep-alive\r\n",
    "Connection: x-a, , TE\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "TE: trailers\r\n",
    "X-High: \u{e4}\u{f6}\r\n",
    "X_U: 1\r\n",
];
const ODD_FIELDS: [&str; 12] = [
    "Connection: close\r\n",
    "Connection: close, keep-alive\r\n",
    "Connection: keep-alive\r\nConnection: close\r\n",
    "Expect: 200-ok\r\n",
    "X-Fold: a\r\n b\r\n",
    "X-Space : a\r\n",
    ": a\r\n",
    "X-Nul: a\0b\r\n",
    "X-Lf: a\n",
    "X-Cr: a\rb\r\n",
    "No colon\r\n",
    "X(): a\r\n",
];
const FRAMINGS: [&str; 28] = [
    "Content-Length: 3\r\nContent-Length: 3\r\n",
    "Content-Length: 3\r\nContent-Length: 4\r\n",
    "Content-Length: +3\r\n",
    "Content-Length: 0x3\r\n",
    "Content-Length: 3, 3\r\n",
    "Content-Length: 3,4\r\n",
    "Content-Length:\r\n",
    "Content-Length: 003\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 3 3\r\n",
    "Content-Length: 9223372036854775808\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: chunked, gzip\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding: chunked \r\n",
    "Transfer-Encoding: CHUNKED\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Transfer-Encoding:\r\n",
    "Transfer-Encoding: chunked;a=b\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    "Transfer-Encoding : chunked\r\n",
];
const SIZES: [&str; 10] = [
    "0x3",
    "+3",
    "-1",
    " 3",
    "3g",
    "",
    "ffffffffffffffff",
    "10000000000000000",
    "8000000000000000",
    "00000000000000000003",
];
const EXTENSIONS: [&str; 14] = [
    ";a",
    ";a=b",
    ";a=\"b c\"",
    " ; a = b",
    ";",
    ";a=",
    " ",
    "\t",
    ";\"a\"",
    ";a=\"b",
    ";a=\"\\\"\"",
    ";a b",
    ";a=b;c;d=\"e\"",
    ";\u{e4}",
];
const TRAILERS: [&str; 14] = [
    "X-T: 1\r\n",
    "X-T:\r\n",
    "x-sum: \ta \r\n",
    "Content-Length: 5\r\n",
    "Host: x\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Cookie: a=b\r\n",
    "Connection: close\r\n",
    "Content_Length: 1\r\n",
    ": 1\r\n",
    "X T: 1\r\n",
    " x: y\r\n",
    "X-T: a\n",
    "X-Forwarded-For: b\r\n",
];
const ODD_BYTES: [u8; 24] = *b"\r\n \t:;,=\"\\/%#?\x000\x7f\xc3\xffaF9@(";
const PARTS: [&str; 14] = [
    "\n",
    "\r",
    "\r\n",
    "\r\n\r\n",
    " chunked",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: b\r\n",
    "\r\n z: y\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "0\r\n\r\n",
    "HTTP/1.1",
    "Connection: close\r\n",
    "\0",
];
