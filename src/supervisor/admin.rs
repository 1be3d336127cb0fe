//! What operators have set for servers. The supervisor owns it, because it outlives every worker: over reloads, roll-backs and
//! crashes. A file of the run directory keeps it over an upgrade and a restart. What is set is checked by the worker that
//! answers the admin API; here the server of a change is a name.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::generation::Generation;
use super::generations::{Caller, Input};
use crate::control::admin::{AdminChange, Operator};
use crate::control::message::{LivePosition, ToSupervisor, ToWorker};
use crate::control::request::{Conditions, ControlReply};
use crate::control::status::{PoolStatus, ServiceStatus};
use crate::observe::event::Event;

/// The file in the run directory.
pub const NAME: &str = "admin-changes";
/// More than this many changes hold at no time.
const MOST: usize = 4096;
/// When workers that could not be told are told again.
const UNTOLD: Duration = Duration::from_millis(100);
/// The longest wait for the end of a change: whatever sets the clock of the machine moves that end.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What holds, and the file that keeps it.
#[derive(Debug, Default)]
pub(super) struct AdminChanges {
    path: PathBuf,
    kept: KeptChanges,
    /// The file has older content: it could not be written.
    is_behind: bool,
    /// Workers that could not be told yet, because they read nothing at the moment.
    untold: Vec<u64>,
}

/// The content of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptChanges {
    revision: u64,
    #[serde(deserialize_with = "understood")]
    changes: Vec<AdminChange>,
    /// What a page sends with a change: an open page goes on with the next worker, the next program and after a restart.
    page_token: String,
}

/// What of the changes is understood: a later version may have known others.
fn understood<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<AdminChange>, D::Error> {
    let all = Vec::<serde_json::Value>::deserialize(from)?;
    Ok(all.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect())
}

impl AdminChanges {
    /// What an earlier program of this service left in `run_dir`.
    ///
    /// A file that cannot be read, or is no such file, counts as empty.
    pub(super) fn open(run_dir: &Path) -> Self {
        let path = run_dir.join(NAME);
        let read = std::fs::read(&path).ok();
        let read = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut kept: KeptChanges = read.unwrap_or_default();
        if kept.page_token.is_empty() {
            kept.page_token = token();
        }
        Self { path, kept, is_behind: false, untold: Vec::new() }
    }

    /// What the program before knew; what is in the file where that knew nothing of changes.
    pub(super) fn go_on(carried: Option<KeptChanges>, run_dir: &Path) -> Self {
        let opened = Self::open(run_dir);
        match carried {
            Some(kept) if !kept.page_token.is_empty() => Self { kept, is_behind: true, ..opened },
            Some(kept) => Self { kept: KeptChanges { page_token: opened.kept.page_token, ..kept }, ..opened },
            None => opened,
        }
    }

    /// What holds, for the next program.
    pub(super) fn carry(&self) -> KeptChanges {
        self.kept.clone()
    }

    /// Makes `changes`, all of them or none.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written: nothing is changed then.
    fn make(&mut self, changes: Vec<AdminChange>) -> Result<(), String> {
        let mut next = self.kept.clone();
        for change in changes {
            next.revision += 1;
            next.changes.retain(|one| !change.replaces(one));
            if !change.value.undoes() {
                next.changes.push(AdminChange { revision: next.revision, ..change });
            }
        }
        if next.changes.len() > MOST {
            return Err(format!(
                "{MOST} changes hold already: undo some of them, or write them into the configuration"
            ));
        }
        write(&self.path, &next).map_err(|fault| format!("{} cannot be written: {fault}", self.path.display()))?;
        (self.kept, self.is_behind) = (next, false);
        Ok(())
    }

    /// Takes out what `is_over`. The file follows as soon as it can be written.
    fn end(&mut self, is_over: impl Fn(&AdminChange) -> bool) -> Vec<AdminChange> {
        let ended: Vec<_> = self.kept.changes.extract_if(.., |one| is_over(one)).collect();
        if !ended.is_empty() {
            self.kept.revision += 1;
            self.is_behind = true;
            self.catch_up();
        }
        ended
    }

    /// Writes the file, if that is due.
    fn catch_up(&mut self) {
        self.is_behind = self.is_behind && write(&self.path, &self.kept).is_err();
    }

    /// When the next one may be over.
    pub(super) fn next_end(&self, now: Instant) -> Option<Instant> {
        let clock = SystemTime::now();
        let left = self.kept.changes.iter().filter_map(|one| one.left(clock)).min();
        let behind = self.is_behind.then_some(LONGEST_WAIT);
        let untold = (!self.untold.is_empty()).then_some(UNTOLD);
        Some(now + left.into_iter().chain(behind).chain(untold).min()?.min(LONGEST_WAIT))
    }

    /// What a page sends with a change.
    pub(super) fn page_token(&self) -> &str {
        &self.kept.page_token
    }

    /// All of them.
    pub(super) fn all(&self) -> &[AdminChange] {
        &self.kept.changes
    }

    /// Adds to the servers of a status what is set for them, in the generations that act by it.
    pub(super) fn show(&self, status: &mut ServiceStatus, list: &[Generation]) {
        let acts = |number: u64| list.iter().any(|one| one.number == number && takes(one));
        for generation in status.generations.iter_mut().filter(|one| acts(one.generation)) {
            for pool in generation.worker.iter_mut().flat_map(|worker| &mut worker.pools) {
                for change in self.kept.changes.iter().filter(|change| change.pool == pool.name) {
                    let mut servers = pool.servers.iter_mut();
                    let found = servers.find(|one| one.name == change.server && change.value.holds_at(one.weight));
                    found.into_iter().for_each(|server| server.admin.push(change.status()));
                }
            }
        }
    }

    /// The revisions of what holds for no server of these pools.
    fn without_server(&self, pools: &[PoolStatus]) -> Vec<u64> {
        let is_there = |change: &AdminChange| {
            let servers = pools.iter().filter(|pool| pool.name == change.pool).flat_map(|pool| &pool.servers);
            let mut servers = servers.filter(|one| one.name == change.server && !one.removed);
            servers.any(|one| change.value.holds_at(one.weight))
        };
        self.kept.changes.iter().filter(|change| !is_there(change)).map(|change| change.revision).collect()
    }

    fn message(&self) -> ToWorker {
        ToWorker::Admin { revision: self.kept.revision, changes: self.kept.changes.clone() }
    }
}

/// 128 bits that no client can guess; empty, which no request has, where the kernel gives none.
fn token() -> String {
    let mut bytes = [0; 16];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(16) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => String::new(),
    }
}

/// In one step: a program that is killed leaves the old content or the new one.
fn write(path: &Path, kept: &KeptChanges) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    std::fs::rename(&next, path)
}

impl Supervisor {
    /// Makes what an operator asks for, for every generation, and answers.
    pub(super) fn administer(&mut self, client: u64, changes: Vec<AdminChange>) {
        let serving = self.generations.list().iter().rfind(|one| one.accepts()).and_then(|one| one.ready.as_ref());
        let made = match serving {
            None => Err("no generation serves".to_owned()),
            Some(ready) if !ready.takes_admin => {
                Err(format!("version {} serves, which cannot do that: `systemctl reload proxy` first", ready.version))
            }
            Some(_) => self.admin.make(changes.clone()),
        };
        if let Err(why) = made {
            return self.clients.reply(client, &ControlReply::Declined(why));
        }
        for change in changes {
            self.say(changed(&change, Some(change.by.uid), change.reason.clone()));
        }
        self.tell_workers();
        self.clients.reply(client, &ControlReply::Administered { revision: self.admin.kept.revision });
    }

    /// Ends what was set for a time that is over.
    fn end_changes(&mut self) {
        let now = SystemTime::now();
        self.undo(|one| one.is_over(now), "its time is over");
    }

    /// Ends what the configuration of a generation that proved good says otherwise: by what it found at its start, and of what
    /// was set since then by its last report.
    pub(super) fn undo_changes_of(&mut self, number: u64) {
        let Some(one) = self.generations.list().iter().find(|one| one.number == number) else { return };
        let Some(ready) = one.ready.as_ref().filter(|ready| ready.takes_admin) else { return };
        let mut undoes = ready.undoes.clone();
        let reported = one.pulse.last.as_ref().and_then(|pong| pong.status.as_ref());
        undoes.extend(reported.into_iter().flat_map(|status| self.admin.without_server(&status.pools)));
        self.undo(|one| undoes.contains(&one.revision), "the configuration says otherwise");
    }

    fn undo(&mut self, which: impl Fn(&AdminChange) -> bool, why: &str) {
        let ended = self.admin.end(which);
        if ended.is_empty() {
            return;
        }
        for change in ended {
            let value = change.value.undone();
            let by = Operator::default();
            self.say(changed(&AdminChange { value, by, until: None, ..change }, None, Some(why.to_owned())));
        }
        self.tell_workers();
    }

    fn say(&mut self, event: Event) {
        self.recent.happened(&event);
        self.journal.event(event);
    }

    fn tell_workers(&mut self) {
        self.admin.untold = self.generations.list().iter().filter(|one| takes(one)).map(|one| one.number).collect();
        self.tell_untold();
    }

    /// Tells the workers that were not told yet. One that reads nothing for a moment is told later, and then only of what holds
    /// by then.
    fn tell_untold(&mut self) {
        let message = self.admin.message();
        let workers = &self.workers;
        self.admin.untold.retain(|number| !workers.send_if_room(*number, &message, &[]));
    }

    /// Does what could not be done yet, and ends what was set for a time that is over.
    pub(super) fn keep_changes(&mut self) {
        if !self.admin.untold.is_empty() {
            self.tell_untold();
        }
        self.admin.catch_up();
        self.end_changes();
    }

    /// A worker of a program that knows no admin API serves, and this one does: after an upgrade from such a program. It is
    /// replaced, since the sockets of the API go to workers at their start.
    pub(super) fn replace_worker_without_api(&mut self) {
        let serving = self.generations.list().iter().rfind(|one| one.accepts());
        if serving.and_then(|one| one.ready.as_ref()).is_some_and(|ready| !ready.takes_admin) {
            let conditions = Conditions { force: true, confirm: None };
            self.inputs.push_back(Input::ReloadRequested(Caller::Signal, conditions));
        }
    }

    /// Passes event streams of generation `from` to the one that serves. Where none can go on with them they are closed, and
    /// browsers open them again.
    pub(super) fn pass_streams(&self, from: u64, positions: Vec<LivePosition>, sockets: &[OwnedFd]) {
        let list = self.generations.list().iter();
        let mut able = list.filter(|one| one.accepts() && takes(one)).map(|one| one.number);
        let Some(to) = able.rfind(|number| *number != from) else { return };
        for (position, socket) in positions.into_iter().zip(sockets) {
            // one by one: a worker that is short of descriptors misses no more than one, and what has no room is closed
            let message = ToWorker::LiveStreams(vec![position]);
            self.workers.send_if_room(to, &message, &[socket.as_fd()]);
        }
    }

    /// A worker that is ready hears of what was set since its start, before it serves.
    pub(super) fn note_for_admin(&mut self, input: &Input) {
        if let Input::Message(number, ToSupervisor::Ready(ready)) = input
            && ready.takes_admin
        {
            let input = self.workers.send(*number, &self.admin.message(), &[]);
            self.inputs.extend(input);
        }
    }
}

/// Whether a generation acts by what operators set.
fn takes(one: &Generation) -> bool {
    one.ready.as_ref().is_some_and(|ready| ready.takes_admin)
}

/// What the journal says of a change.
fn changed(change: &AdminChange, uid: Option<u32>, reason: Option<String>) -> Event {
    Event::ServerAdministered {
        pool: change.pool.clone(),
        server: change.server.clone(),
        value: change.value.phrase(),
        uid,
        command: change.by.command.clone(),
        reason,
        lasts: change.until.map(|until| Duration::from_millis(until.saturating_sub(change.since))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::{self, AdminValue, millis};

    fn change(server: &str, value: AdminValue, lasts: Option<Duration>) -> AdminChange {
        let until = lasts.map(|lasts| millis(SystemTime::now() + lasts));
        AdminChange { until, ..admin::tests::change(server, value) }
    }

    fn held(changes: &AdminChanges) -> Vec<(u64, AdminValue)> {
        changes.all().iter().map(|one| (one.revision, one.value)).collect()
    }

    #[test]
    fn what_is_set_is_found_again_by_the_next_program() {
        let run_dir = tempfile::tempdir().expect("directory");
        let mut changes = AdminChanges::open(run_dir.path());
        let weight = AdminValue::Weight { weight: 2, configured: 1 };
        changes.make(vec![change("a:80", AdminValue::Drain, None), change("a:80", weight, None)]).expect("made");
        changes
            .make(vec![change("a:80", AdminValue::Maint, None), change("b:80", AdminValue::Drain, None)])
            .expect("made");
        changes.make(vec![change("b:80", AdminValue::Ready, None)]).expect("undone");
        assert_eq!(held(&AdminChanges::open(run_dir.path())), [(2, weight), (3, AdminValue::Maint)]);
        std::fs::write(run_dir.path().join(NAME), "no json").expect("write");
        assert!(held(&AdminChanges::open(run_dir.path())).is_empty());
    }

    #[test]
    fn what_was_set_for_a_time_ends_with_it() {
        let run_dir = tempfile::tempdir().expect("directory");
        let mut changes = AdminChanges::open(run_dir.path());
        let minute = Some(Duration::from_secs(60));
        changes
            .make(vec![change("a:80", AdminValue::Drain, minute), change("b:80", AdminValue::Drain, None)])
            .expect("made");
        let now = Instant::now();
        assert_eq!(changes.next_end(now), Some(now + LONGEST_WAIT), "the clock may be set meanwhile");
        let later = SystemTime::now() + Duration::from_secs(61);
        assert_eq!(changes.end(|one| one.is_over(later)).len(), 1);
        assert_eq!(
            (held(&AdminChanges::open(run_dir.path())), changes.next_end(now)),
            (vec![(2, AdminValue::Drain)], None)
        );
    }

    #[test]
    fn a_change_that_cannot_be_kept_is_not_made() {
        let run_dir = tempfile::tempdir().expect("directory");
        let mut changes = AdminChanges::open(&run_dir.path().join("missing"));
        let refused = changes.make(vec![change("a:80", AdminValue::Drain, None)]).expect_err("no directory");
        assert!(refused.contains("admin-changes cannot be written") && held(&changes).is_empty(), "{refused}");
        let mut changes = AdminChanges::open(run_dir.path());
        let many = (0..=MOST).map(|number| change(&format!("{number}:80"), AdminValue::Drain, None)).collect();
        let refused = changes.make(many).expect_err("too many");
        assert!(refused.contains("undo some") && held(&changes).is_empty(), "{refused}");
    }
}
