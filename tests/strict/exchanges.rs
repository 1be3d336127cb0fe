//! Clients that make requests, each in a way of its own.

use std::ops::Range;
use std::time::Duration;

use super::answers::Wanted;
use super::crowd::Client;
use super::wire::{Silence, Wire};
use super::{Lost, in_time};

/// How slow bodies are sent: 0.6 s each.
const PIECES: u64 = 20;
const PAUSE: Duration = Duration::from_millis(30);
/// Several times what the sockets on the way hold is too much for a laptop; this is enough for several reads.
const BODY: u64 = 160 << 10;
/// Requests that are sent before the first answer.
const PIPELINE: usize = 5;

/// Requests of a busy client on one connection, so that some come to each new worker.
const STAY: u64 = 50;

/// A way of making requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    Fresh,
    Busy,
    Idle,
    Upload,
    Download,
    Pipeline,
    SlowHead,
}

/// Whether the proxy says that it closes the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Stays,
    Closes,
}

/// One client for all its life.
pub async fn at_work(mut client: Client, exchange: Exchange) {
    let mut turn = 0;
    while !client.is_over() {
        if let Some(wire) = client.connect().await {
            stay(&mut client, exchange, wire, &mut turn).await;
        }
        if exchange == Exchange::Fresh {
            let time = client.think(5..20);
            client.pause(time).await;
        }
    }
}

/// One connection, for as long as both sides want it.
async fn stay(client: &mut Client, exchange: Exchange, mut wire: Wire, turn: &mut u64) {
    while !client.is_over() {
        *turn += 1;
        if let Word::Closes = ask(client, exchange, &mut wire, *turn).await {
            return;
        }
        if exchange.leaves_after(*turn) {
            return;
        }
        let time = client.think(exchange.think());
        match wire.silence(time, client.over()).await {
            Silence::Kept => {}
            Silence::Ended => return client.ledger.closed(client.kind),
            Silence::Spoke => return client.ledger.lost(client.kind, "an answer that nobody asked for"),
        }
    }
}

impl Exchange {
    /// Milliseconds between an answer and the next request.
    fn think(self) -> Range<u64> {
        match self {
            Self::Fresh | Self::Busy => 1..15,
            Self::Idle => 50..2000,
            Self::Upload | Self::Download | Self::Pipeline => 1..100,
            Self::SlowHead => 1..400,
        }
    }

    /// Whether the client itself goes, and comes again.
    fn leaves_after(self, turn: u64) -> bool {
        self == Self::Fresh || self == Self::Busy && turn.is_multiple_of(STAY)
    }

    /// The requests of one turn.
    fn wanted(self, client: &mut Client, turn: u64) -> Vec<Wanted> {
        let small = Wanted::get(client.chance.within(0..3000));
        let slow = Wanted { pieces: PIECES, pause: PAUSE, chunked: turn.is_multiple_of(2), ..small };
        match self {
            Self::Fresh | Self::Idle | Self::SlowHead => vec![small],
            // a large answer now and then, and a small body
            Self::Busy if turn.is_multiple_of(8) => vec![Wanted::get(client.chance.within(0..100_000))],
            Self::Busy if turn % 8 == 4 => vec![Wanted { up: 2000, chunked: turn % 16 == 4, ..small }],
            Self::Busy => vec![small],
            Self::Upload => vec![Wanted { up: BODY, ..slow }],
            Self::Download => vec![Wanted { down: BODY, ..slow }],
            // the answer to the first one takes a while, the others wait behind it
            Self::Pipeline => {
                let first = Wanted { down: 900, pieces: 3, pause: PAUSE, ..small };
                let others = (1..PIPELINE).map(|_| Wanted::get(client.chance.within(0..3000)));
                std::iter::once(first).chain(others).collect()
            }
        }
    }
}

/// Makes the requests of one turn, and writes down what became of each.
async fn ask(client: &mut Client, exchange: Exchange, wire: &mut Wire, turn: u64) -> Word {
    let all = exchange.wanted(client, turn);
    client.ledger.note(|tally| tally.requests += all.len() as u64);
    // every other fresh connection is closed by the proxy, because the client asks for that
    let leaves = exchange == Exchange::Fresh && turn.is_multiple_of(2);
    let mut sent = send(client, exchange, wire, &all, leaves).await;
    for (number, wanted) in all.iter().enumerate() {
        let answered = match std::mem::replace(&mut sent, Ok(())) {
            Ok(()) => answer(wire, wanted, leaves).await,
            Err(lost) => Err(lost),
        };
        let unanswered = all.len() - number - 1;
        match answered {
            Ok(Word::Closes) if !leaves => {
                client.ledger.told(client.kind);
                (0..unanswered).for_each(|_| client.ledger.lost(client.kind, "told to close before it"));
                return Word::Closes;
            }
            Ok(_) => client.succeeded(),
            Err(lost) => {
                (0..=unanswered).for_each(|_| client.ledger.lost(client.kind, &lost));
                client.after_failure().await;
                return Word::Closes;
            }
        }
    }
    Word::Stays
}

async fn send(
    client: &mut Client,
    exchange: Exchange,
    wire: &mut Wire,
    all: &[Wanted],
    leaves: bool,
) -> Result<(), Lost> {
    let host = client.door.host.clone();
    let heads: Vec<_> = all.iter().map(|wanted| head(wanted, &host, leaves)).collect();
    let heads = heads.concat();
    if exchange == Exchange::SlowHead {
        let (first, second) = heads.split_at(heads.len() / 2);
        wire.send(first).await?;
        tokio::time::sleep(client.think(100..800)).await;
        return wire.send(second).await;
    }
    wire.send(heads).await?;
    match all {
        [one] if one.up > 0 => one.send(wire, one.content, one.up).await,
        _ => Ok(()),
    }
}

fn head(wanted: &Wanted, host: &str, leaves: bool) -> String {
    let method = if wanted.up > 0 { "POST" } else { "GET" };
    let framing = if wanted.up > 0 { wanted.framing(wanted.up) } else { String::new() };
    let leaves = if leaves { "Connection: close\r\n" } else { "" };
    format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n{framing}{leaves}\r\n", wanted.target())
}

/// The whole answer, as it was wanted.
async fn answer(wire: &mut Wire, wanted: &Wanted, leaves: bool) -> Result<Word, Lost> {
    let head = in_time("answer", wire.next_head()).await?;
    let Some(head) = head else { return Err(Lost::new("closed without an answer")) };
    if !head.line.starts_with("HTTP/1.1 200") {
        return Err(Lost::new(head.line));
    }
    let length = wire.body(&head, wanted.content.answer()).await?;
    if length != wanted.down {
        return Err(Lost::new(format!("an answer of {length} bytes instead of {}", wanted.down)));
    }
    if leaves {
        wire.expect_end().await?;
    }
    Ok(if head.says("connection", "close") { Word::Closes } else { Word::Stays })
}
