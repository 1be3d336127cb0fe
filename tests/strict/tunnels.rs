//! Clients of tunnels: WebSockets and TCP sessions.

use std::time::{Duration, Instant};

use super::answers::Wanted;
use super::content::Content;
use super::crowd::Client;
use super::wire::{Silence, Wire};
use super::{Lost, in_time};

const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The answer to that key (RFC 6455 §1.3).
pub const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The most bytes that are on their way at once.
const BURST: u64 = 192 << 10;

/// What a tunnel is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// A few bytes there and back, now and then.
    Calm,
    /// Many bytes at once.
    Busy,
    /// The client ends its side, then the answer comes.
    Late,
}

impl Temper {
    /// Every fourth tunnel is busy.
    pub fn of(number: usize) -> Self {
        if number % 4 == 1 { Self::Busy } else { Self::Calm }
    }

    /// The first byte of a tunnel: it tells the server.
    pub fn letter(self) -> u8 {
        match self {
            Self::Calm | Self::Busy => b'E',
            Self::Late => b'L',
        }
    }
}

/// One tunnel after the other; only one that is half closed ends before the crowd goes home.
pub async fn tunnels(mut client: Client, temper: Temper, upgrades: bool) {
    while !client.is_over() {
        let connected = if upgrades { client.connect().await } else { client.connect_tcp().await };
        let Some(mut wire) = connected else { continue };
        if upgrades {
            client.ledger.note(|tally| tally.requests += 1);
            if let Err(lost) = upgrade(&client, &mut wire).await {
                client.ledger.lost(client.kind, lost);
                client.after_failure().await;
                continue;
            }
        }
        let stays = u64::from(temper != Temper::Late);
        client.ledger.note(|tally| (tally.tunnels, tally.open) = (tally.tunnels + 1, tally.open + stays));
        let used = match temper {
            Temper::Late => half_close(&mut client, &mut wire).await,
            Temper::Calm | Temper::Busy => echo(&mut client, &mut wire, temper).await,
        };
        client.ledger.note(|tally| tally.open -= stays);
        if let Err(lost) = used {
            client.ledger.tunnel_closed(client.kind, lost);
            client.after_failure().await;
        }
    }
}

async fn upgrade(client: &Client, wire: &mut Wire) -> Result<(), Lost> {
    let (target, host) = (Wanted::get(0).target(), &client.door.host);
    let wanted = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = format!("Sec-WebSocket-Key: {WEBSOCKET_KEY}\r\n");
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{wanted}{key}\r\n")).await?;
    let head = in_time("switch of protocols", wire.next_head()).await?;
    let Some(head) = head else { return Err(Lost::new("closed without an answer")) };
    let accepts = head.field("sec-websocket-accept") == Some(&WEBSOCKET_ACCEPT.to_ascii_lowercase());
    if !head.line.starts_with("HTTP/1.1 101") || !accepts {
        return Err(Lost::new(head.line));
    }
    Ok(())
}

async fn echo(client: &mut Client, wire: &mut Wire, temper: Temper) -> Result<(), Lost> {
    let (content, mut at) = (Content::new(), 0);
    wire.send([temper.letter()]).await?;
    expect_letter(wire, temper).await?;
    loop {
        let (length, pause) = match temper {
            Temper::Busy => (client.chance.within(1..BURST), client.think(20..200)),
            Temper::Calm | Temper::Late => (client.chance.within(1..200), client.think(20..300)),
        };
        let sent = Instant::now();
        wire.exchange(content, at, length).await?;
        at += length;
        client.succeeded();
        if temper == Temper::Calm {
            client.ledger.note(|tally| tally.longest_pause = tally.longest_pause.max(sent.elapsed()));
        }
        if client.is_over() {
            break;
        }
        match wire.silence(pause, client.over()).await {
            Silence::Kept => {}
            Silence::Ended => return Err(Lost::new("closed while nothing was on its way")),
            Silence::Spoke => return Err(Lost::new("bytes that nobody sent")),
        }
    }
    wire.finish().await?;
    wire.expect_end().await
}

async fn half_close(client: &mut Client, wire: &mut Wire) -> Result<(), Lost> {
    let (content, length) = (Content::new(), client.chance.within(1..BURST));
    wire.send([Temper::Late.letter()]).await?;
    wire.send(content.bytes(0, length as usize)).await?;
    let pause: Duration = client.think(1..200);
    tokio::time::sleep(pause).await;
    wire.finish().await?;
    expect_letter(wire, Temper::Late).await?;
    wire.expect(content, 0, length).await?;
    wire.expect_end().await?;
    client.succeeded();
    Ok(())
}

async fn expect_letter(wire: &mut Wire, temper: Temper) -> Result<(), Lost> {
    let letter = in_time("echo", wire.take_byte()).await?;
    if letter == temper.letter() { Ok(()) } else { Err(Lost::new(format!("{letter:#x} came first"))) }
}
