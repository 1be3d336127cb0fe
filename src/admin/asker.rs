//! Questions of the admin API to the supervisor, over `control.sock`.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};

use super::connections::{self, ConnectionsView};
use super::supervisor_error::SupervisorError;
use crate::control::admin::AdminChange;
use crate::control::connections::ConnectionsRequest;
use crate::control::recent::Recent;
use crate::control::request::{ControlReply, RequestError, Wish, ask};
use crate::control::status::ServiceStatus;

/// The time for the answer of the supervisor.
const DEADLINE: Duration = Duration::from_secs(5);
/// An old supervisor may be a new one after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// So long a status is given to others.
const FRESH: Duration = Duration::from_millis(100);

/// Asks one thing at a time, whatever becomes of the client that it is for: the supervisor answers with the whole status, and
/// has more to do.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    run_dir: Rc<Path>,
    turn: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    closes: Arc<Semaphore>,
    /// When the supervisor was found not to know [`Wish::SummedStatus`].
    knows_no_sums: Rc<Cell<Option<Instant>>>,
    /// The last status, and when it was asked for.
    last: Rc<Mutex<LastAsked>>,
}

type LastAsked = Option<(Instant, Arc<ServiceStatus>)>;

impl Asker {
    /// Asks the supervisor of this run directory.
    pub(super) fn new(run_dir: &Path) -> Self {
        let turn = || Arc::new(Semaphore::new(1));
        let (lists, closes) = (turn(), turn());
        let knows_no_sums = Rc::default();
        Self { run_dir: run_dir.into(), turn: turn(), lists, closes, knows_no_sums, last: Rc::default() }
    }

    /// The whole status, as JSON. Each request has its own.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub(super) async fn whole_status(&self) -> Result<Vec<u8>, SupervisorError> {
        let answer = |reply| match reply {
            ControlReply::Status(status) => Ok(serde_json::to_vec(&*status).unwrap_or_default()),
            other => Err(unexpected(other)),
        };
        self.ask(Wish::Status, answer).await
    }

    /// What `make` makes of the status without the counters of each generation, on a thread where it keeps no other request
    /// waiting. Requests that come at about the same time share one status.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub(super) async fn status<T: Send + 'static>(
        &self,
        make: impl FnOnce(&ServiceStatus) -> T + Send + 'static,
    ) -> Result<T, SupervisorError> {
        let status = self.shared_status().await?;
        let made = tokio::task::spawn_blocking(move || make(&status));
        made.await.map_err(|_| RequestError::Closed.into())
    }

    async fn shared_status(&self) -> Result<Arc<ServiceStatus>, SupervisorError> {
        let mut last = self.last.lock().await; // the turn of those that read
        if let Some((at, status)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(status.clone());
        }
        let answer = |reply| match reply {
            ControlReply::Status(status) => Ok(Arc::new(*status)),
            other => Err(unexpected(other)),
        };
        let began = Instant::now();
        let is_old = self.knows_no_sums.get().is_some_and(|found| found.elapsed() < LOOK_AGAIN);
        let wish = if is_old { Wish::Status } else { Wish::SummedStatus };
        let status = match self.ask(wish, answer).await {
            // a supervisor of a version before does not know it
            Err(SupervisorError::Unheard(RequestError::Closed)) if !is_old => {
                let status = self.ask(Wish::Status, answer).await?;
                self.knows_no_sums.set(Some(began));
                status
            }
            asked => asked?,
        };
        *last = Some((began, status.clone()));
        Ok(status)
    }

    /// Has the supervisor make these changes. Returns the revision with which a worker has taken them.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub(super) async fn administer(&self, changes: Vec<AdminChange>) -> Result<u64, SupervisorError> {
        let answer = |reply| match reply {
            ControlReply::Administered { revision } => Ok(revision),
            other => Err(unexpected(other)),
        };
        let made = self.ask(Wish::Administer(changes), answer).await;
        *self.last.lock().await = None; // what is read from now on has the change
        made
    }

    /// Asks every generation for its client connections, or to close one. One question of each kind is asked at a time; others
    /// wait, and keep no other kind waiting.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub(super) async fn connections(&self, request: ConnectionsRequest) -> Result<ConnectionsView, SupervisorError> {
        let closed = || SupervisorError::Unheard(RequestError::Closed);
        let turn = match &request {
            ConnectionsRequest::List { .. } => &self.lists,
            ConnectionsRequest::Close { .. } => &self.closes,
        };
        let turn = turn.clone().acquire_owned().await.map_err(|_| closed())?;
        let run_dir = self.run_dir.to_path_buf();
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn; // nothing ends this once it has begun
            connections::ask(&run_dir, request)
        });
        asked.await.unwrap_or_else(|_| Err(closed()))
    }

    /// What happened after a point of this time and an event of this number.
    ///
    /// # Errors
    /// See [`SupervisorError`].
    pub(super) async fn recent(&self, points_after: u64, events_after: u64) -> Result<Recent, SupervisorError> {
        let answer = |reply| match reply {
            ControlReply::Recent(recent) => Ok(recent),
            other => Err(unexpected(other)),
        };
        self.ask(Wish::Recent { points_after, events_after }, answer).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        wish: Wish,
        answer: impl FnOnce(ControlReply) -> Result<T, SupervisorError> + Send + 'static,
    ) -> Result<T, SupervisorError> {
        let closed = || SupervisorError::Unheard(RequestError::Closed);
        let turn = self.turn.clone().acquire_owned().await.map_err(|_| closed())?;
        let run_dir = self.run_dir.to_path_buf();
        // the supervisor may take a moment, and text of many servers takes a processor
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn; // nothing ends this once it has begun
            answer(ask(&run_dir, wish, DEADLINE)?)
        });
        asked.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn unexpected(reply: ControlReply) -> SupervisorError {
    match reply {
        ControlReply::Declined(why) => SupervisorError::Declined(why),
        _ => SupervisorError::Unheard(RequestError::Closed),
    }
}
