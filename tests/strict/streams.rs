//! Clients of HTTP/2, by TLS or by prior knowledge: one connection each, with requests one after the other or many at once.

use std::future::poll_fn;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::answers::Wanted;
use super::crowd::Client;
use super::tls::{HTTP_2, TlsDoor};
use super::wire::Duplex;
use super::{Lost, in_time};

/// Bodies of slow requests are sent in so many pieces: 0.6 s each.
const PIECES: u64 = 20;
const PAUSE: Duration = Duration::from_millis(30);
const BODY: u64 = 160 << 10;

type Sender = SendRequest<Bytes>;

/// One client for all its life, with `at_once` streams and so many milliseconds before each.
pub async fn streams(mut client: Client, at_once: usize, think: Range<u64>) {
    while !client.is_over() {
        let Some((sender, connection)) = connect(&client).await else { continue };
        let mut ended = tokio::task::spawn_local(connection);
        let used = stay(&mut client, sender, at_once, think.clone());
        // the connection ends when its last sender is gone; before that it was told to, or closed
        let end = tokio::select! {
            () = used => None,
            end = &mut ended => Some(end),
        };
        match end {
            None => continue,
            _ if client.is_over() => continue,
            Some(Ok(Err(fault))) if fault.is_io() => client.ledger.closed(client.kind),
            Some(_) => client.ledger.told(client.kind),
        }
        client.after_failure().await;
    }
}

async fn connect(client: &Client) -> Option<(Sender, Connection<Box<dyn Duplex>>)> {
    let connecting = async {
        let stream: Box<dyn Duplex> = match &client.door.tls {
            Some(tls) => {
                let version = TlsDoor::version(client.number);
                Box::new(tls.connect(&client.door.host, version, HTTP_2, |socket| client.ledger.is_on(socket)).await?)
            }
            None => Box::new(TcpStream::connect(client.door.http).await.inspect(|socket| client.ledger.is_on(socket))?),
        };
        h2::client::handshake(stream).await.map_err(lost)
    };
    let connected = in_time("connection of HTTP/2", connecting).await;
    client.connected(connected).await
}

/// Requests until the crowd goes home.
async fn stay(client: &mut Client, sender: Sender, at_once: usize, think: Range<u64>) {
    let (mut all, mut turn) = (JoinSet::new(), 0);
    while !client.is_over() {
        while all.len() < at_once {
            turn += 1;
            let wanted = wanted(client, turn);
            client.ledger.note(|tally| tally.requests += 1);
            let (sender, host, pause) = (sender.clone(), client.door.host.clone(), client.think(think.clone()));
            all.spawn_local(async move {
                tokio::time::sleep(pause).await;
                ask(sender, &host, wanted).await
            });
        }
        match all.join_next().await {
            Some(Ok(Ok(()))) => client.succeeded(),
            Some(Ok(Err(lost))) => client.ledger.lost(client.kind, lost),
            Some(Err(_)) | None => return,
        }
    }
    while let Some(done) = all.join_next().await {
        if let Ok(Err(lost)) = done {
            client.ledger.lost(client.kind, lost);
        }
    }
}

fn wanted(client: &mut Client, turn: u64) -> Wanted {
    let small = Wanted::get(client.chance.within(0..3000));
    match turn % 8 {
        2 => Wanted::get(client.chance.within(0..100_000)),
        4 => Wanted { down: BODY, pieces: PIECES, pause: PAUSE, chunked: turn.is_multiple_of(16), ..small },
        6 => Wanted { up: BODY, pieces: PIECES, pause: PAUSE, ..small },
        7 => Wanted { up: 2000, ..small },
        _ => small,
    }
}

async fn ask(sender: Sender, host: &str, wanted: Wanted) -> Result<(), Lost> {
    let mut sender = in_time("room for a stream", async { sender.ready().await.map_err(lost) }).await?;
    let method = if wanted.up > 0 { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(format!("https://{host}{}", wanted.target()));
    let request = request.body(()).map_err(|fault| Lost::new(fault.to_string()))?;
    let (response, body) = sender.send_request(request, wanted.up == 0).map_err(lost)?;
    drop(sender);
    let sending = async { if wanted.up > 0 { send(body, &wanted).await } else { Ok(()) } };
    let receiving = async {
        let (head, body) = in_time("answer", async { response.await.map_err(lost) }).await?.into_parts();
        if head.status != 200 {
            return Err(Lost::new(format!("status {}", head.status)));
        }
        receive(body, &wanted).await
    };
    tokio::try_join!(sending, receiving).map(|_| ())
}

async fn send(mut body: SendStream<Bytes>, wanted: &Wanted) -> Result<(), Lost> {
    let piece = wanted.up.div_ceil(wanted.pieces).max(1);
    let mut at = 0;
    while at < wanted.up {
        tokio::time::sleep(wanted.pause).await;
        let mut bytes = Bytes::from(wanted.content.bytes(at, piece.min(wanted.up - at) as usize));
        at += bytes.len() as u64;
        while !bytes.is_empty() {
            body.reserve_capacity(bytes.len());
            let room = poll_fn(|cx| body.poll_capacity(cx));
            let room = in_time("room to write", async { room.await.transpose().map_err(lost) }).await?;
            let now = bytes.split_to(room.unwrap_or_default().min(bytes.len()));
            let last = at == wanted.up && bytes.is_empty();
            body.send_data(now, last).map_err(lost)?;
        }
    }
    Ok(())
}

async fn receive(mut body: RecvStream, wanted: &Wanted) -> Result<(), Lost> {
    let mut at = 0;
    while let Some(data) = in_time("more of a body", async { body.data().await.transpose().map_err(lost) }).await? {
        wanted.content.answer().check(at, &data)?;
        at += data.len() as u64;
        body.flow_control().release_capacity(data.len()).map_err(lost)?;
    }
    if at == wanted.down {
        Ok(())
    } else {
        Err(Lost::new(format!("an answer of {at} bytes instead of {}", wanted.down)))
    }
}

fn lost(fault: h2::Error) -> Lost {
    Lost::new(fault.to_string())
}
