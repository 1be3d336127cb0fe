//! The state that one generation gives to the next, so that a reload forgets nothing: a memory file whose content
//! only workers understand. The supervisor passes it on.
//!
//! The content is JSON with a version. Another version is not read at all; within one, unknown fields are ignored,
//! and a missing field counts as unknown. A starting worker asks for it once the configuration is checked, and never
//! waits long: without it a generation begins like the first one.
//!
//! A generation that serves also sends it unasked, so that the supervisor has it when that generation is killed.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::expiry::ExpiryWarnings;
use super::link::SupervisorLink;
use super::secrets::Secrets;
use super::start_failure::StartFailure;
use super::threads::Threads;
use crate::config::Config;
use crate::control::message::{ToSupervisor, ToWorker};
use crate::control::payload::Payload;
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::pool::Pool;
use crate::pool::health::Transition;
use crate::pool::saved::SavedPool;
use crate::proxy::RuntimeConfig;

/// The version of the content; another version gives the same names another meaning.
const VERSION: u32 = 1;
/// How long the supervisor may take to answer; it gives up itself before that.
const SUPERVISOR: Duration = Duration::from_secs(3);
/// How long a serving thread may take to report its balancers.
const THREADS: Duration = Duration::from_millis(300);

/// The pause after a report that took no time; else fifty times as long as it took, so that it costs 2 % of a CPU at
/// most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: u32 = 50;
/// From one report to the next where nothing happens.
const AGED: Duration = Duration::from_secs(20);

/// When this generation reports its state unasked: after a change, but not too often.
#[derive(Debug, Default)]
pub struct StateReports {
    due: Cell<bool>,
    changed: Notify,
    /// How often something changed.
    changes: Cell<u64>,
    /// Not before then; none before the first time.
    not_before: Cell<Option<Instant>>,
    /// How many exchanges had ended at the last report.
    exchanges: Cell<u64>,
}

impl StateReports {
    /// A part of the state changed.
    pub fn is_due(&self) {
        self.due.set(true);
        self.changes.set(self.changes.get() + 1);
        self.changed.notify_one();
    }

    /// The number of changes so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// So many exchanges have ended. Without a new one the state is reported from time to time only, so that it does
    /// not count as old.
    pub fn is_due_after(&self, exchanges: u64) {
        let aged = self.not_before.get().is_none_or(|not_before| not_before.elapsed() >= AGED);
        if self.exchanges.replace(exchanges) != exchanges || aged {
            self.is_due();
        }
    }

    /// Waits until a report is due. Cancel-safe.
    pub async fn time(&self) {
        while !self.due.get() {
            self.changed.notified().await;
        }
        if let Some(not_before) = self.not_before.get() {
            sleep_until(not_before).await;
        }
    }

    /// The report is sent now, and its making began at `began`.
    pub fn done(&self, began: Instant) {
        let now = Instant::now();
        self.due.set(false);
        self.not_before.set(Some(now + PAUSE.max((now - began) * PAUSE_FACTOR)));
    }
}

/// A server whose state differs from the one that the generation before reported, because the configuration differs.
#[derive(Debug)]
pub struct RestoredChange {
    /// The pool of the server.
    pub pool: Arc<Pool>,
    /// Its index.
    pub server: usize,
    /// What changed.
    pub transition: Transition,
}

/// Why there is no state to continue from.
#[derive(Debug, thiserror::Error)]
enum UnreadableState {
    #[error("what it sent cannot be read")]
    Bytes(#[source] io::Error),
    #[error("what it sent is not understood")]
    Text(#[source] serde_json::Error),
    #[error("it sent version {0} of its state, and this program reads version {VERSION}")]
    Version(u32),
}

#[derive(Serialize)]
struct Written {
    version: u32,
    pools: Vec<SavedPool>,
    /// Absent from programs before TLS.
    expiry_warnings: ExpiryWarnings,
}

/// Only the version, whatever else there is.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
struct Read {
    #[serde(default)]
    pools: Vec<serde_json::Value>,
    #[serde(default)]
    expiry_warnings: serde_json::Value,
}

/// What another generation wrote, as far as it is understood.
#[derive(Debug, Default)]
struct ReadState {
    pools: Vec<SavedPool>,
    expiry_warnings: ExpiryWarnings,
}

/// The state of this generation.
///
/// # Errors
/// When there is no memory or no descriptor left.
pub async fn take(
    runtime_config: &RuntimeConfig,
    threads: &Threads,
    expiry_warnings: ExpiryWarnings,
) -> io::Result<Payload> {
    // threads that do not answer leave their place in the round out
    let positions = threads.look(|thread| thread.positions(), THREADS).await;
    let pools = runtime_config.pools.iter().enumerate().map(|(index, pool)| {
        let of_pool: Vec<_> = positions.iter().filter_map(|thread| thread.get(index).cloned()).collect();
        pool.save(&of_pool)
    });
    write(pools.collect(), expiry_warnings)
}

/// What the generation before knew.
#[derive(Default)]
pub struct Restored {
    /// Servers whose state differs from the one that it reported.
    pub changes: Vec<RestoredChange>,
    /// What it said of certificates that expire.
    pub expiry_warnings: ExpiryWarnings,
    /// What it gave beside its state.
    pub secrets: Option<Secrets>,
}

/// What the supervisor sent of the generation before.
#[derive(Default)]
pub struct ReceivedState {
    state: Option<ReadState>,
    secrets: Option<Secrets>,
    /// Why there is no state though there should be one.
    missing: Option<String>,
}

/// Asks for the state of the generation before.
///
/// # Errors
/// When the connection to the supervisor fails. A missing state is no error.
pub async fn request(link: &SupervisorLink) -> Result<ReceivedState, StartFailure> {
    link.try_send(&ToSupervisor::RequestState, &[]).map_err(|_| StartFailure::SupervisorGone)?;
    match tokio::time::timeout(SUPERVISOR, link.receive()).await {
        Ok(Ok(Some((ToWorker::State { missing }, mut with)))) => {
            let state = with.pop().map(read);
            let secrets = with.pop().map(|file| Secrets::read(&file.into()));
            Ok(match state {
                Some(Ok(state)) => ReceivedState { state: Some(state), secrets, missing: None },
                Some(Err(fault)) => {
                    let missing = Some(crate::observe::WithCauses(&fault).to_string());
                    ReceivedState { state: None, secrets, missing }
                }
                None => ReceivedState { state: None, secrets, missing },
            })
        }
        Ok(Ok(Some(_))) => Err(StartFailure::Confused("the supervisor did not answer about the state".to_owned())),
        Ok(Ok(None)) => Err(StartFailure::SupervisorGone),
        Ok(Err(fault)) => Err(StartFailure::Confused(fault.to_string())),
        Err(_) => {
            Ok(ReceivedState { missing: Some("the supervisor sent nothing".to_owned()), ..ReceivedState::default() })
        }
    }
}

impl ReceivedState {
    /// Adds the servers that the generation before had and `config` lacks: what is open with them moves, and nothing new
    /// begins. It would keep the old worker otherwise, and be cut at the end of its drain.
    pub fn add_removed_servers(&self, config: &mut Config, now: SystemTime) {
        let keep = config.drain.timeout;
        for pool in &mut config.pools {
            let saved = self.state.iter().flat_map(|state| &state.pools).find(|saved| saved.name == pool.name);
            let removed = saved.map(|saved| saved.removed(pool, keep, now));
            pool.servers.extend(removed.into_iter().flatten());
        }
    }

    /// Has the pools continue from the state. Logs why there is none, if there should be one.
    pub fn restore(self, runtime_config: &RuntimeConfig, journal: &Journal) -> Restored {
        if let Some(why) = self.missing {
            journal.event(Event::StateForgotten { generation: runtime_config.generation, why });
        }
        let ReadState { pools, expiry_warnings } = self.state.unwrap_or_default();
        let changes = restore_pools(runtime_config, &pools, SystemTime::now());
        Restored { changes, secrets: self.secrets, expiry_warnings }
    }
}

fn write(pools: Vec<SavedPool>, expiry_warnings: ExpiryWarnings) -> io::Result<Payload> {
    let bytes = serde_json::to_vec(&Written { version: VERSION, pools, expiry_warnings }).map_err(io::Error::other)?;
    Payload::new(&bytes)
}

fn read(file: OwnedFd) -> Result<ReadState, UnreadableState> {
    let bytes = Payload::from(file).read().map_err(UnreadableState::Bytes)?;
    let Versioned { version } = serde_json::from_slice(&bytes).map_err(UnreadableState::Text)?;
    if version != VERSION {
        return Err(UnreadableState::Version(version));
    }
    let Read { pools, expiry_warnings } = serde_json::from_slice(&bytes).map_err(UnreadableState::Text)?;
    Ok(ReadState {
        // a pool that is not understood begins anew
        pools: pools.into_iter().filter_map(|pool| serde_json::from_value(pool).ok()).collect(),
        expiry_warnings: serde_json::from_value(expiry_warnings).unwrap_or_default(),
    })
}

/// Continues from any bytes, and writes that down again.
#[cfg(fuzzing)]
pub fn fuzz(file: OwnedFd, runtime_config: &RuntimeConfig, now: SystemTime) {
    let Ok(saved) = read(file) else { return };
    let _ = restore_pools(runtime_config, &saved.pools, now);
    for pool in &runtime_config.pools {
        let _ = pool.turn(now);
    }
    let written = write(runtime_config.pools.iter().map(|pool| pool.save(&[])).collect(), saved.expiry_warnings)
        .expect("a memory file");
    read(written.into()).expect("what was written is understood");
}

fn restore_pools(runtime_config: &RuntimeConfig, saved: &[SavedPool], now: SystemTime) -> Vec<RestoredChange> {
    let mut changes = Vec::new();
    for pool in &runtime_config.pools {
        if let Some(saved) = saved.iter().find(|saved| saved.name == pool.name) {
            let changed = pool.restore(saved, now).into_iter();
            changes.extend(changed.map(|(server, transition)| RestoredChange {
                pool: pool.clone(),
                server,
                transition,
            }));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::pool::health::{CheckVerdict, Finding, HealthState};

    fn runtime_config(text: &str) -> RuntimeConfig {
        RuntimeConfig::new(7, Config::from_toml(text).expect("a good configuration"))
    }

    fn payload(text: &str) -> OwnedFd {
        Payload::new(text.as_bytes()).expect("memfd").into()
    }

    const FARM: &str =
        "[pool.farm]\nservers = ['10.0.0.1:80', '10.0.0.2:80']\ncheck = 'GET /'\n[site.'*']\nto = 'farm'\n";

    #[test]
    fn what_one_generation_knew_the_next_one_knows() {
        let before = runtime_config(FARM);
        let finding = Finding { verdict: CheckVerdict::Bad, detail: "refused".into(), took: Duration::ZERO };
        before.pools[0].servers[1].health.observe(finding, SystemTime::now());
        let saved = before.pools.iter().map(|pool| pool.save(&[])).collect();
        let read = read(write(saved, ExpiryWarnings::default()).expect("written").into()).expect("read").pools;
        let after = runtime_config(FARM);
        assert!(restore_pools(&after, &read, SystemTime::now()).is_empty());
        let states: Vec<_> = after.pools[0].servers.iter().map(|server| server.health.state()).collect();
        assert_eq!(states, [HealthState::Unknown, HealthState::Down]);
        let renamed = runtime_config(&FARM.replace("farm", "other"));
        restore_pools(&renamed, &read, SystemTime::now());
        assert_eq!(renamed.pools[0].servers[1].health.state(), HealthState::Unknown, "it is another pool");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_after_a_change_or_an_exchange_and_now_and_then_but_not_too_often() {
        let state_reports = StateReports::default();
        let began = Instant::now();
        let mut told = Vec::new();
        for (second, exchanges) in [(0, 0), (1, 0), (2, 5), (3, 5), (4, 5), (30, 5)] {
            tokio::time::sleep_until(began + Duration::from_secs(second)).await;
            state_reports.is_due_after(exchanges);
            if tokio::time::timeout(PAUSE, state_reports.time()).await.is_ok() {
                told.push(second);
                state_reports.done(Instant::now());
            }
        }
        assert_eq!(told, [0, 2, 30]);
        state_reports.is_due();
        let began = Instant::now();
        state_reports.time().await;
        assert_eq!(began.elapsed(), PAUSE, "a moment ago it was told");
    }

    #[test]
    fn another_version_is_not_read() {
        let fault = read(payload(r#"{"version": 9, "pools": 3}"#)).expect_err("another version");
        assert_eq!(fault.to_string(), "it sent version 9 of its state, and this program reads version 1");
        assert!(matches!(read(payload("{}")), Err(UnreadableState::Text(_))));
        assert!(matches!(read(payload("nothing")), Err(UnreadableState::Text(_))));
    }

    #[test]
    fn what_a_later_program_adds_is_passed_over() {
        let text = r#"{"version": 1, "limits": [], "pools": [{"name": 5}, {"name": "farm", "mood": "good"}]}"#;
        let read = read(payload(text)).expect("read").pools;
        assert_eq!(read.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>(), ["farm"]);
        assert!(read_nothing(r#"{"version": 1}"#));
    }

    fn read_nothing(text: &str) -> bool {
        read(payload(text)).expect("read").pools.is_empty()
    }

    proptest! {
        #[test]
        fn no_bytes_are_the_end_of_a_generation(text in ".{0,200}", cut in 0..400_usize) {
            let _ = read(payload(&text));
            let before = runtime_config(FARM);
            let whole = serde_json::to_string(&Written {
                version: VERSION,
                pools: before.pools.iter().map(|pool| pool.save(&[])).collect(),
                expiry_warnings: ExpiryWarnings::default(),
            }).expect("JSON");
            let cut = whole.get(..cut.min(whole.len())).unwrap_or_default();
            if let Ok(read) = read(payload(cut)) {
                restore_pools(&before, &read.pools, SystemTime::now());
            }
        }
    }
}
