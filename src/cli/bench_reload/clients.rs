//! Clients that never try again: whatever a proxy does to a connection is counted, not repaired.

use std::rc::Rc;
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::Instant;

use super::connection::{BenchConnection, WholeAnswer};
use super::experiment::Experiment;
use super::lost::LostRequest;
use super::tally::ClientKind;

/// Between two requests of a client that opens a connection for each, and of one that keeps a busy one.
const FRESH_PAUSE: Duration = Duration::from_millis(20);
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A new connection for each request.
pub(super) async fn fresh(experiment: Rc<Experiment>, path: PathAndQuery) {
    while !experiment.is_over() {
        let began = Instant::now();
        let answer = once(&experiment, &path).await;
        experiment.tally().requests += 1;
        experiment.tally().waited(began.elapsed());
        if let Err(why) = answer {
            experiment.lose(ClientKind::Fresh, why).await;
        }
        experiment.pause(FRESH_PAUSE).await;
    }
}

async fn once(experiment: &Experiment, path: &PathAndQuery) -> Result<(), LostRequest> {
    let mut connection = BenchConnection::open(&experiment.target, experiment.patience).await?;
    let request = experiment.target.get_last(path);
    right(experiment, sent(connection.exchange(request, experiment.patience).await)?).map(drop)
}

/// One slow answer after the other, each on a new connection.
pub(super) async fn download(experiment: Rc<Experiment>, path: PathAndQuery) {
    while !experiment.is_over() {
        let slow = async {
            let mut connection = BenchConnection::open(&experiment.target, experiment.patience).await?;
            let request = experiment.target.get_last(&path);
            let answer = connection.download(request, experiment.patience).await;
            right(&experiment, sent(answer)?).map(drop)
        };
        // one that is under way at the end is broken off: it may be of any size
        let answer = tokio::select! {
            answer = slow => answer,
            () = experiment.over() => return,
        };
        experiment.tally().requests += 1;
        if let Err(why) = answer {
            experiment.lose(ClientKind::Download, why).await;
        }
        experiment.pause(FRESH_PAUSE).await; // a small answer takes no time
    }
}

/// A connection for as long as the proxy keeps it, with a request after each of these pauses and one at the end.
///
/// Pauses are between half of `between` and all of it, in another order for each client.
pub(super) async fn keep(
    experiment: Rc<Experiment>,
    kind: ClientKind,
    path: PathAndQuery,
    between: Duration,
    nth: u32,
) {
    let mut connection = None;
    let mut requests = nth;
    while !experiment.is_over() {
        let (began, is_new) = (Instant::now(), connection.is_none());
        let mut open = match connection.take() {
            Some(open) => open,
            None => match BenchConnection::open(&experiment.target, experiment.patience).await {
                Ok(open) => open,
                Err(why) => {
                    experiment.tally().requests += 1;
                    experiment.lose(kind, why).await;
                    continue;
                }
            },
        };
        if is_new && requests != nth {
            experiment.tally().again += 1;
        }
        requests += 1;
        if !ask(&experiment, kind, &mut open, &path, is_new.then_some(began)).await {
            experiment.pause(BUSY_PAUSE).await; // a proxy that keeps no connection must not make a busy loop of it
            continue;
        }
        tokio::select! {
            biased;
            () = open.closed() => {
                experiment.tally().close(kind);
                experiment.pause(BUSY_PAUSE).await;
            }
            () = experiment.pause(between.mul_f64(0.5 + 0.5 * spread(requests))) => connection = Some(open),
        }
    }
    if let Some(mut open) = connection {
        let _ = ask(&experiment, kind, &mut open, &path, None).await;
    }
}

/// One request on a connection, counted; whether the connection can be kept. A new one began to be opened at `opening`.
async fn ask(
    experiment: &Experiment,
    kind: ClientKind,
    open: &mut BenchConnection,
    path: &PathAndQuery,
    opening: Option<Instant>,
) -> bool {
    let began = opening.unwrap_or_else(Instant::now);
    let mut answer = open.exchange(experiment.target.get(path), experiment.patience).await;
    if opening.is_some() {
        answer = sent(answer);
    }
    if let Err(LostRequest::NotSent) = answer {
        experiment.tally().close(kind);
        return false;
    }
    experiment.tally().requests += 1;
    experiment.tally().waited(began.elapsed());
    match answer.and_then(|answer| right(experiment, answer)) {
        Ok(WholeAnswer { told: true, .. }) => {
            experiment.tally().told += 1;
            false
        }
        Ok(_) => true,
        Err(why) => {
            experiment.lose(kind, why).await;
            false
        }
    }
}

/// That the answer is the right one.
fn right(experiment: &Experiment, answer: WholeAnswer) -> Result<WholeAnswer, LostRequest> {
    match experiment.is_right(answer.status) {
        true => Ok(answer),
        false => Err(LostRequest::Status(answer.status)),
    }
}

/// On a new connection a request that was not sent is lost: the proxy closed it at once.
fn sent(answer: Result<WholeAnswer, LostRequest>) -> Result<WholeAnswer, LostRequest> {
    answer.map_err(|why| if let LostRequest::NotSent = why { LostRequest::Unanswered } else { why })
}

/// From 0 to 1, evenly spread over any number of steps that follow each other.
pub(super) fn spread(step: u32) -> f64 {
    (f64::from(step) * GOLDEN).fract()
}

const GOLDEN: f64 = 0.618_033_988_749_895;
