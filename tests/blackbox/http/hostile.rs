//! Bytes that nobody thought of: requests and responses, each damaged in a few places.
//!
//! A defect shows in three ways: a connection that hangs, a server that sees more requests than the client has answers,
//! and a worker that panicked or whose gate let pass what hyper refuses ([`Site`]'s proxy looks for both in its log).

use std::io::Read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{Site, Wire};

const CASES: u32 = 400;

/// What the damage is made of: all that means something to some parser.
const PIECES: [&str; 24] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\0",
    "0",
    "5",
    "f",
    "\u{7f}",
    "\u{e4}",
    "chunked",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "HTTP/1.0",
    "GET / HTTP/1.1",
    "Expect: 100-continue\r\n",
    "0\r\n\r\n",
    "Upgrade: x\r\nConnection: upgrade\r\n",
];

const REQUESTS: [&str; 5] = [
    "GET /a?b HTTP/1.1\r\nHost: $host\r\nAccept: */*\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: $host\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: $host\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: $host\r\nConnection: keep-alive\r\n\r\n",
    "GET http://$host/ HTTP/1.1\r\nHost: $host\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
];

const RESPONSES: [&str; 5] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello",
];

/// One to three places, each with what is put there and how much is cut out for it.
fn damage() -> impl Strategy<Value = Vec<(Index, usize, usize)>> {
    prop::collection::vec((any::<Index>(), 0..PIECES.len(), 0_usize..4), 1..4)
}

fn damaged(whole: &str, host: &str, damage: &[(Index, usize, usize)]) -> Vec<u8> {
    let mut bytes = whole.replace("$host", host).into_bytes();
    for (place, piece, cut) in damage {
        let start = place.index(bytes.len() + 1);
        let end = (start + cut).min(bytes.len());
        bytes.splice(start..end, PIECES[*piece].bytes());
    }
    bytes
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() })
}

/// How many final responses stand in what a client got.
fn answers(seen: &[u8]) -> usize {
    let text = String::from_utf8_lossy(seen);
    let statuses = text.split("HTTP/1.").skip(1).filter_map(|rest| rest.get(2..5)?.parse::<u16>().ok());
    statuses.filter(|status| *status != 100).count()
}

/// Whether a client got one final response and nothing beyond it, though perhaps less.
fn is_one_answer(seen: &[u8], to_head: bool) -> bool {
    // each byte a character, so that lengths stay what they are
    let mut seen: String = seen.iter().copied().map(char::from).collect();
    let (head, body, status) = loop {
        let Some((head, body)) = seen.split_once("\r\n\r\n") else { return false };
        let head = head.to_lowercase();
        match head.strip_prefix("http/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok()) {
            Some(100 | 102..200) => seen = body.to_owned(),
            status => break (head, body.to_owned(), status),
        }
    };
    let body = body.as_str();
    if to_head || matches!(status, Some(204 | 304)) {
        return body.is_empty();
    }
    if head.contains("\r\ntransfer-encoding: chunked") {
        return is_chunked(body);
    }
    let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
    matches!(status, Some(101 | 200..)) && length.is_none_or(|length: usize| body.chars().count() <= length)
}

/// Whether a body consists of chunks and trailers, and nothing follows the last one.
fn is_chunked(body: &str) -> bool {
    let mut rest = body;
    while let Some((size, payload)) = rest.split_once("\r\n") {
        match usize::from_str_radix(size, 16) {
            Ok(0) => return payload == "\r\n" || payload.ends_with("\r\n\r\n") && payload.contains(": "),
            Ok(size) => rest = after(payload, size + 2),
            Err(_) => return false,
        }
    }
    rest.is_empty()
}

/// What follows so many characters.
fn after(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or("", |(at, _)| &text[at..])
}

/// Serves every connection with `serve` while `facts` run.
fn with_server(site: &Site, serve: impl Fn(Wire) + Sync, facts: impl FnOnce()) {
    let stopped = AtomicBool::new(false);
    let (serve, stop) = (&serve, &stopped);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let wire = site.server.accept();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                scope.spawn(move || serve(wire));
            }
        });
        facts();
        stopped.store(true, Ordering::SeqCst);
        drop(Wire::connect(site.server.address));
    });
}

/// Answers everything that is a request, until the other end closes.
fn answer_all(mut wire: Wire, requests: &AtomicUsize) {
    let mut answered = 0;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = wire.stream().read(&mut buffer) {
        seen.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&seen);
        let signed = text.match_indices(" segue\r\n").map(|(at, _)| at);
        let heads: Vec<_> = signed.filter_map(|at| Some(&text[..at + text[at..].find("\r\n\r\n")? + 4])).collect();
        for head in &heads[answered..] {
            assert_is_clear(head);
            requests.fetch_add(1, Ordering::SeqCst);
            let _ = wire.try_send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        answered = heads.len();
    }
}

/// The last head in `text` has one meaning for every parser.
#[track_caller]
fn assert_is_clear(text: &str) {
    // a field may end as a request line does, but its first word has a colon; so has one that stands behind a body
    let is_method = |word: &str| !word.contains(':') || ["GET", "HEAD", "POST"].iter().any(|name| word.ends_with(name));
    let is_request_line = |line: &str| line.ends_with(" HTTP/1.1\r\n") && line.split(' ').next().is_some_and(is_method);
    let mut lines = text.split_inclusive("\r\n").scan(0, |at, line| {
        *at += line.len();
        Some((*at - 2, line))
    });
    let start = lines.by_ref().filter(|(_, line)| is_request_line(line)).last().expect("a request line").0;
    let head = text[start..].to_lowercase();
    let fields = |name: &str| head.matches(&format!("\r\n{name}:")).count();
    assert_eq!(fields("host"), 1, "{head:?}");
    assert!(fields("content-length") + fields("transfer-encoding") <= 1, "{head:?}");
    assert_eq!(fields("transfer-encoding"), head.matches("\r\ntransfer-encoding: chunked\r\n").count(), "{head:?}");
    let lines = head.matches("\r\n").count();
    assert_eq!((head.matches('\n').count(), head.matches('\r').count()), (lines, lines), "{head:?}");
}

#[test]
fn whatever_clients_send_servers_see_no_more_requests_than_clients_have_answers() {
    let site = Site::alone(); // damage can make another site's host of this one's
    let (asked, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let case = |(requests, damage, cut): (Vec<usize>, Vec<_>, Index)| {
        let whole: String = requests.into_iter().map(|request| REQUESTS[request]).collect();
        let bytes = damaged(&whole, &site.host, &damage);
        let mut client = site.client_of("patient");
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        client.send(first);
        let _ = client.try_send(second); // it may be closed already
        let _ = client.stream().shutdown(std::net::Shutdown::Write);
        answered.fetch_add(answers(&client.rest().0), Ordering::SeqCst);
        Ok(())
    };
    with_server(
        &site,
        |wire| answer_all(wire, &asked),
        || {
            let cases = (prop::collection::vec(0..REQUESTS.len(), 1..4), damage(), any::<Index>());
            runner().run(&cases, case).expect("no connection hangs");
        },
    );
    let (asked, answered) = (asked.into_inner(), answered.into_inner());
    assert!(asked <= answered, "{asked} requests, {answered} answers");
    assert!(asked > 0, "no request was harmless");
}

#[test]
fn whatever_a_server_sends_a_client_gets_one_answer_to_one_request() {
    const ASK: [&str; 3] = [
        "POST / HTTP/1.1\r\nHost: $host\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HEAD / HTTP/1.0\r\nHost: $host\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: $host\r\nConnection: upgrade, te\r\nUpgrade: websocket\r\nTE: trailers\r\n\r\n",
    ];
    let site = Site::alone();
    let response = Mutex::new(Vec::new());
    let serve = |mut wire: Wire| {
        wire.head();
        let _ = wire.try_send(response.lock().expect("nobody panics").as_slice());
    };
    let case = |(ask, sent, damage): (usize, usize, Vec<_>)| {
        let sent = damaged(RESPONSES[sent], "", &damage);
        *response.lock().expect("nobody panics") = sent.clone();
        let mut client = site.client_of("patient");
        client.send(ASK[ask]);
        client.finish();
        let (seen, _) = client.rest();
        let (shown, sent) = (String::from_utf8_lossy(&seen), String::from_utf8_lossy(&sent));
        prop_assert!(is_one_answer(&seen, ASK[ask].starts_with("HEAD")), "{sent:?} became {shown:?}");
        Ok(())
    };
    with_server(&site, serve, || {
        runner().run(&(0..ASK.len(), 0..RESPONSES.len(), damage()), case).expect("one answer each time");
    });
}
