//! A server of the farm: it answers as the request wants, and keeps what it received.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::support::{Head, Wire, socket};

/// A request as a server had it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub version: String,
    /// In their order, with names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The server, until this is dropped.
pub struct Recording {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    check: Mutex<Option<Received>>,
    sick: AtomicBool,
    ended: AtomicBool,
}

impl Recording {
    pub fn start() -> Self {
        let (listener, address) = socket();
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        std::thread::spawn(move || accept(&listener, &of_thread));
        Self { address, shared }
    }

    /// What it has received since the last time.
    pub fn taken(&self) -> Vec<Received> {
        std::mem::take(&mut *self.shared.received.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn last_check(&self) -> Option<Received> {
        self.shared.check.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers checks with 500 from now on, or with 200.
    pub fn be_sick(&self, sick: bool) {
        self.shared.sick.store(sick, Ordering::Relaxed);
    }

    /// Closes its listening socket, and its connections with the next request on them.
    pub fn refuse(&self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {}
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        let shared = shared.clone();
        std::thread::spawn(move || serve(Wire::new(stream), &shared));
    }
}

/// Serves a connection until it is to be closed.
fn serve(mut wire: Wire, shared: &Shared) {
    while let Some(head) = wire.head_or_end() {
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        let received = receive(&mut wire, &head);
        let is_check = received.method == "HEAD" && received.target == "/index.php";
        let wants = head.field("x-wants").unwrap_or("length").to_owned();
        let (text, goes_on) = match is_check {
            true if shared.sick.load(Ordering::Relaxed) => {
                ("HTTP/1.1 500 Sick\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(), false)
            }
            true => ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(), false),
            false => answer(&received, &wants),
        };
        match is_check {
            true => *shared.check.lock().unwrap_or_else(PoisonError::into_inner) = Some(received),
            false => shared.received.lock().unwrap_or_else(PoisonError::into_inner).push(received),
        }
        if wire.try_send(text).is_err() || !goes_on {
            return;
        }
    }
}

fn receive(wire: &mut Wire, head: &Head) -> Received {
    let mut words = head.line().split(' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let (method, target, version) = (word(), word(), word());
    if head.has("expect") {
        let _ = wire.try_send("HTTP/1.1 100 Continue\r\n\r\n");
    }
    let body = match head.field("content-length") {
        _ if head.has("transfer-encoding") => wire.chunks().0,
        Some(length) => wire.take(length.parse().expect("a length")),
        None => Vec::new(),
    };
    let lines = head.text().split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let fields = lines.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Received { method, target, version, fields, body }
}

/// The response that the request wants, and whether the connection goes on after it.
fn answer(received: &Received, wants: &str) -> (Vec<u8>, bool) {
    let has_body = received.method != "HEAD";
    let ends_body = wants == "until-close" || wants == "chunks" && received.version == "HTTP/1.0";
    let asked_to = |(name, value): &(String, String)| name == "connection" && value.eq_ignore_ascii_case("close");
    let closes =
        ends_body || wants == "close" || received.version == "HTTP/1.0" || received.fields.iter().any(asked_to);
    // one that is closed and does not say so may get another request, which HAProxy leaves without an answer
    let connection = if closes { "Connection: close\r\n" } else { "" };
    let body = match wants {
        "large" => b"0123456789 the large one\r\n".repeat(12_000),
        "empty" => Vec::new(),
        _ => format!("{wants} of {} with {}\n", received.target, received.body.len()).into_bytes(),
    };
    let length = format!("Content-Length: {}\r\n", body.len());
    let with = |status: &str, fields: &str| {
        let head = format!(
            "HTTP/1.1 {status}\r\nDate: Sat, 01 Jan 2011 00:00:00 GMT\r\nServer: old\r\n{connection}{fields}\r\n"
        );
        [head.into_bytes(), if has_body { body.clone() } else { Vec::new() }].concat()
    };
    let without_body = |status: &str, fields: &str| {
        format!("HTTP/1.1 {status}\r\nDate: Sat, 01 Jan 2011 00:00:00 GMT\r\n{connection}{fields}\r\n").into_bytes()
    };
    let many: String = (0..40).map(|number| format!("X-Long-{number}: {}\r\n", "v".repeat(100))).collect();
    let response = match wants {
        "chunks" if received.version == "HTTP/1.1" => {
            let head = with("200 OK", "Transfer-Encoding: chunked\r\n");
            let head = &head[..head.len() - if has_body { body.len() } else { 0 }];
            let pieces = body
                .chunks(7)
                .flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, &b"\r\n"[..]].concat());
            let pieces: Vec<u8> = if has_body { pieces.chain(*b"0\r\n\r\n").collect() } else { Vec::new() };
            [head, &pieces].concat()
        }
        _ if ends_body => with("200 OK", ""),
        "created" => with("201 Created", &format!("{length}Location: /new?a=b\r\n")),
        "nothing" => without_body("204 No Content", "X-Empty: \r\n"),
        "moved" => with("301 Moved Permanently", &format!("{length}Location: http://elsewhere.example/x\r\n")),
        "unchanged" => {
            without_body("304 Not Modified", "ETag: \"2011\"\r\nLast-Modified: Sat, 01 Jan 2011 00:00:00 GMT\r\n")
        }
        "missing" => with("404 Not Found", &length),
        "broken" => with("500 Internal Server Error", &length),
        "busy" => with("503 Service Unavailable", &format!("{length}Retry-After: 5\r\n")),
        "login" => with("401 Unauthorized", &format!("{length}WWW-Authenticate: Basic realm=\"app\"\r\n")),
        "long" => with("200 OK", &format!("{length}{many}")),
        "hints" if received.version == "HTTP/1.1" => {
            [b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", &with("200 OK", &length)[..]].concat()
        }
        "hints" => with("200 OK", &length),
        "cookies" => {
            with("200 OK", &format!("{length}Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nset-cookie: c=3\r\n"))
        }
        "odd" => with("299 Odd Enough", &format!("{length}X-Case: MiXed\r\nx-CASE: more\r\nVary: A\r\nVary: B\r\n")),
        _ => with("200 OK", &format!("{length}Content-Type: text/plain\r\n")),
    };
    (response, !closes)
}
