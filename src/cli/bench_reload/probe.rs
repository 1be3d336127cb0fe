//! Before anything is measured: that the URL, and what else is asked for, answers.

use http::uri::PathAndQuery;
use tokio::time::timeout;

use super::arguments::BenchReloadArguments;
use super::connection::BenchConnection;
use super::experiment::Experiment;
use super::lost::LostRequest;
use super::tunnel::upgrade;

/// Why nothing is measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("{path} does not answer before any reload: {why}")]
    Lost { path: PathAndQuery, why: LostRequest },
    #[error("{path} answers with status {status} before any reload; name what works, or say --status {}", status.as_u16())]
    Status { path: PathAndQuery, status: http::StatusCode },
    #[error("{path} takes no WebSocket before any reload: {why}")]
    NoWebSocket { path: PathAndQuery, why: LostRequest },
}

/// Asks once for each of them.
///
/// # Errors
/// When one does not answer as it has to.
pub(super) async fn probe(experiment: &Experiment, arguments: &BenchReloadArguments) -> Result<(), ProbeError> {
    for path in [Some(&arguments.url.path), arguments.download.as_ref()].into_iter().flatten() {
        let path = path.clone();
        match status(experiment, &path).await {
            Ok(status) if experiment.is_right(status) => {}
            Ok(status) => return Err(ProbeError::Status { path, status }),
            Err(why) => return Err(ProbeError::Lost { path, why }),
        }
    }
    if let Some(path) = &arguments.websocket {
        let opened = upgrade(experiment, path).await;
        opened.map_err(|why| ProbeError::NoWebSocket { path: path.clone(), why })?;
    }
    Ok(())
}

/// The status of the answer. What follows its head is not waited for.
async fn status(experiment: &Experiment, path: &PathAndQuery) -> Result<http::StatusCode, LostRequest> {
    let mut connection = BenchConnection::open(&experiment.target, experiment.patience).await?;
    let head = connection.head(experiment.target.get(path));
    let head = timeout(experiment.patience, head).await.unwrap_or(Err(LostRequest::Late));
    match head {
        Err(LostRequest::NotSent) => Err(LostRequest::Unanswered),
        head => Ok(head?.status()),
    }
}
