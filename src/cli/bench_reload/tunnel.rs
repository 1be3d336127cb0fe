//! A WebSocket that is held open: it has nothing to say but pings.

use std::rc::Rc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::clients::BUSY_PAUSE;
use super::connection::BenchConnection;
use super::experiment::Experiment;
use super::frames::{CLOSE, FramePlace, PING};
use super::lost::{LostRequest, words};
use super::tally::ClientKind;

/// From one ping to the next.
const PING_PAUSE: Duration = Duration::from_millis(250);

/// What is known of the answers to pings: any bytes count as one.
#[derive(Clone, Copy, Debug)]
enum PingState {
    /// None came yet: the server may be one that answers none.
    Unknown,
    /// One is out since then, to a server that answers them.
    Out(Instant),
    /// The last one is answered.
    Answered,
}

/// One WebSocket after the other: the next one when one is closed.
pub(super) async fn tunnel(experiment: Rc<Experiment>, path: PathAndQuery) {
    let mut opened = false;
    while !experiment.is_over() {
        let began = Instant::now();
        let socket = upgrade(&experiment, &path).await;
        experiment.tally().requests += 1;
        experiment.tally().waited(began.elapsed());
        let socket = match socket {
            Ok(socket) => socket,
            Err(why) => {
                experiment.lose(ClientKind::Tunnel, why).await;
                continue;
            }
        };
        experiment.tally().tunnels += 1;
        experiment.tally().again += u64::from(opened);
        opened = true;
        if let Err(why) = hold(&experiment, socket).await {
            experiment.tally().close_tunnel(&why);
            experiment.pause(BUSY_PAUSE).await;
        }
    }
}

/// The handshake.
pub(super) async fn upgrade(experiment: &Experiment, path: &PathAndQuery) -> Result<TokioIo<Upgraded>, LostRequest> {
    let mut connection = BenchConnection::open(&experiment.target, experiment.patience).await?;
    let mut request = experiment.target.get(path);
    let fields = request.headers_mut();
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(HeaderName::from_static("sec-websocket-version"), HeaderValue::from_static("13"));
    fields.insert(HeaderName::from_static("sec-websocket-key"), HeaderValue::from_static(KEY));
    let switch = async {
        let answer = connection.head(request).await?;
        match answer.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                hyper::upgrade::on(answer).await.map_err(|fault| LostRequest::before_answer(&fault))
            }
            other => Err(LostRequest::Status(other)),
        }
    };
    let switched = timeout(experiment.patience, switch).await.unwrap_or(Err(LostRequest::Late));
    match switched {
        Err(LostRequest::NotSent) => Err(LostRequest::Unanswered),
        switched => Ok(TokioIo::new(switched?)),
    }
}

/// Sixteen bytes in base64; nothing depends on which.
const KEY: &str = "c2VndWUtYmVuY2gtY2xuMQ==";

/// Holds it open until the experiment is over.
///
/// # Errors
/// Why it was closed before, in words.
async fn hold(experiment: &Experiment, socket: TokioIo<Upgraded>) -> Result<(), String> {
    let (mut reader, mut writer) = tokio::io::split(socket);
    let (mut place, mut buffer) = (FramePlace::first(), vec![0; 4096]);
    let (mut state, mut next_ping) = (PingState::Unknown, Instant::now());
    loop {
        let silent_at = match state {
            PingState::Out(since) => Some(since + experiment.patience),
            PingState::Unknown | PingState::Answered => None,
        };
        tokio::select! {
            biased;
            () = experiment.over() => break,
            read = reader.read(&mut buffer) => match read {
                Ok(0) => return Err("closed".to_owned()),
                Err(fault) => return Err(words(&fault)),
                Ok(length) => {
                    if place.pass(&buffer[..length]) {
                        return Err("ended by a close frame".to_owned());
                    }
                    if let PingState::Out(since) = state {
                        experiment.tally().waited(since.elapsed());
                    }
                    state = PingState::Answered;
                }
            },
            () = sleep_until(silent_at.unwrap_or(next_ping)) => {
                if silent_at.is_some() {
                    return Err("silent".to_owned());
                }
                send(experiment, &mut writer, PING).await?;
                next_ping = Instant::now() + PING_PAUSE;
                if let PingState::Answered = state {
                    state = PingState::Out(Instant::now());
                }
            }
        }
    }
    let _ = send(experiment, &mut writer, CLOSE).await; // it ends in any case
    Ok(())
}

async fn send(experiment: &Experiment, to: &mut (impl AsyncWriteExt + Unpin), frame: &[u8]) -> Result<(), String> {
    match timeout(experiment.patience, to.write_all(frame)).await {
        Ok(sent) => sent.map_err(|fault| words(&fault)),
        Err(_) => Err("silent".to_owned()),
    }
}
