//! The certificates while a worker lives: their files are looked at every few seconds, and what is new is served by all
//! threads without a reload.
//!
//! Looking costs two system calls for each pair of files, which works through every link and on every file system, where
//! a watch of the kernel would see the one directory that it was made for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

use super::expiry::ExpiryWarnings;
use super::renewer::RenewalReport;
use super::saved_state::StateReports;
use super::secrets::Secrets;
use super::ticket_keys::{TicketKeyNews, TicketKeyring};
use crate::control::payload::Payload;
use crate::control::status::{AcmeStatus, CertificateStatus};
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::proxy::certificate_problem::days;
use crate::proxy::certificates::{CertificateNews, CertificateStore, CertificateView};
use crate::tls::handed;

/// From one look to the next.
const PAUSE: Duration = Duration::from_secs(5);
/// The pause lasts so many times as long as the look used a CPU, so that looks take 0.02 % of one at most. What a look waits
/// for, on a busy machine or a slow disk, is no reason to look more seldom.
const PAUSE_FACTOR: u32 = 5000;
/// However many certificates there are.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A certificate with so many days left expires.
const EXPIRES: i64 = 30;
/// An automatic certificate is renewed when a third of its time is left, or half; with less than this part it is late.
const LAST_PART: u32 = 6;
/// How old the list may get: days go by without any other news.
const LIST_AGED: Duration = Duration::from_secs(60);
/// The name of the section of [`Secrets`].
const SECTION: &str = "certificates";

/// Looks at the files for the life of the worker; ends when this is dropped.
pub struct CertificateWatch {
    watched: Rc<Watched>,
    task: Option<JoinHandle<()>>,
}

/// What the look leaves for the worker.
struct Watched {
    generation: u64,
    /// The certificates for the status.
    list: RefCell<Vec<CertificateStatus>>,
    /// The certificates and the keys of tickets for the next generation; none without any.
    secrets: RefCell<Option<Payload>>,
    /// What was said of certificates that expire.
    warnings: RefCell<ExpiryWarnings>,
    /// Whether this generation serves: it alone speaks of what it finds.
    serves: Cell<bool>,
    journal: Journal,
    state_reports: Rc<StateReports>,
    /// What is known of automatic certificates.
    renewals: Arc<RenewalReport>,
}

/// Serves the certificates of the generation before where the files of this one cannot be used.
pub fn fall_back(store: &mut CertificateStore, secrets: Option<&Secrets>) {
    store.fall_back(secrets.and_then(|secrets| secrets.section(SECTION)).map(handed::from_bytes).unwrap_or_default());
}

impl CertificateWatch {
    /// Begins to look at the files of `store` and at the age of the keys of `ring`, on this thread: inside a
    /// `LocalRuntime`. Without any files it has nothing to do.
    /// `warnings` is what the generation before said.
    #[must_use]
    pub fn start(
        generation: u64,
        store: CertificateStore,
        ring: TicketKeyring,
        warnings: ExpiryWarnings,
        journal: Journal,
        state_reports: Rc<StateReports>,
        renewals: Arc<RenewalReport>,
    ) -> Self {
        let (secrets, warnings) = (RefCell::new(secrets(&store, &ring)), RefCell::new(warnings));
        let list = RefCell::new(list(&store, SystemTime::now()));
        let watched = Rc::new(Watched {
            generation,
            list,
            secrets,
            warnings,
            serves: Cell::new(false),
            journal,
            state_reports,
            renewals,
        });
        let task = (!store.is_empty()).then(|| tokio::task::spawn_local(watch(store, ring, watched.clone())));
        Self { watched, task }
    }

    /// Whether this generation serves.
    pub fn set_serves(&self, serves: bool) {
        self.watched.serves.set(serves);
    }

    /// A generation that drains begins no handshake.
    pub fn end(&mut self) {
        self.task.take().inspect(JoinHandle::abort);
    }

    /// All of them, for the status.
    #[must_use]
    pub fn list(&self) -> Vec<CertificateStatus> {
        let mut list = self.watched.list.borrow().clone();
        list.iter_mut().for_each(|one| add_order(one, &self.watched.renewals));
        list
    }

    /// What was said of certificates that expire, for the next generation.
    #[must_use]
    pub fn warnings(&self) -> ExpiryWarnings {
        self.watched.warnings.borrow().clone()
    }

    /// What the next generation needs, to send with the state.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn secrets(&self) -> std::io::Result<Option<Payload>> {
        self.watched.secrets.borrow().as_ref().map(Payload::try_clone).transpose()
    }
}

impl Drop for CertificateWatch {
    fn drop(&mut self) {
        self.end();
    }
}

async fn watch(mut store: CertificateStore, mut ring: TicketKeyring, watched: Rc<Watched>) {
    let (mut pause, mut listed) = (PAUSE, Instant::now());
    loop {
        let is_told = tokio::select! {
            () = tokio::time::sleep(pause) => false,
            () = watched.renewals.changed.notified() => true,
        };
        // a file system that does not answer must not keep this thread from its pings
        let serves = watched.serves.get();
        let look = tokio::task::spawn_blocking(move || {
            let began = cpu_time();
            let news = store.look(SystemTime::now());
            // only what a generation that serves has goes to the next one
            let of_keys = if serves { ring.turn(SystemTime::now()) } else { TicketKeyNews::default() };
            (store, ring, news, of_keys, cpu_time().saturating_sub(began))
        });
        let Ok((looked, turned, news, of_keys, took)) = look.await else { return };
        (store, ring) = (looked, turned);
        pause = (took * PAUSE_FACTOR).clamp(PAUSE, LONGEST_PAUSE);
        if of_keys.is_changed || news.iter().any(|one| matches!(one, CertificateNews::Taken { .. })) {
            *watched.secrets.borrow_mut() = secrets(&store, &ring);
        }
        if is_told || !news.is_empty() || listed.elapsed() >= LIST_AGED {
            *watched.list.borrow_mut() = list(&store, SystemTime::now());
            listed = Instant::now();
        }
        if is_told || of_keys.is_changed || !news.is_empty() {
            watched.state_reports.is_due();
        }
        if watched.serves.get() {
            news.into_iter().for_each(|one| watched.journal.event(event(one)));
            if let Some(text) = of_keys.wrong {
                watched.journal.event(Event::ConfigWarning { generation: watched.generation, text });
            }
            warn(&store, &watched, SystemTime::now());
        }
    }
}

/// What this thread has used of a CPU.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

fn list(store: &CertificateStore, now: SystemTime) -> Vec<CertificateStatus> {
    store.views().map(|view| status(&view, now)).collect()
}

fn status(view: &CertificateView<'_>, now: SystemTime) -> CertificateStatus {
    let moment = |time| humantime::format_rfc3339_seconds(time).to_string();
    let days = view.certificate.map(|one| days(now, one.not_after()));
    let state = match view.certificate {
        None => "missing",
        Some(one) if now < one.not_before() => "early",
        Some(_) => match days {
            Some(..0) => "expired",
            Some(..=EXPIRES) if !is_yet_to_be_renewed(view, now) => "expires",
            _ => "good",
        },
    };
    let file = view.files.map(|files| &files.certificate).or(view.wrong.map(|error| &error.file));
    CertificateStatus {
        hosts: view.users.iter().map(ToString::to_string).collect(),
        file: file.map(|file| file.display().to_string()),
        issuer: view.certificate.map(|one| one.issuer().to_owned()),
        key: view.certificate.map(|one| one.key_type().to_owned()),
        from: view.certificate.map(|one| moment(one.not_before())),
        until: view.certificate.map(|one| moment(one.not_after())),
        days,
        state: state.to_owned(),
        problem: view.wrong.or(view.staple).map(ToString::to_string),
        acme: view.is_automatic.then(AcmeStatus::default),
    }
}

/// What is known of the order of an automatic certificate: while there is none, that is what is wrong.
fn add_order(one: &mut CertificateStatus, renewals: &RenewalReport) {
    let Some(acme) = &mut one.acme else { return };
    *acme = one.hosts.first().and_then(|host| renewals.of(host)).unwrap_or_default();
    if one.state == "missing" {
        one.problem.clone_from(&acme.error);
    }
}

/// Whether it is an automatic one and the time for its renewal has just begun, or not yet: some hold for days only, so their
/// number says nothing.
fn is_yet_to_be_renewed(view: &CertificateView<'_>, now: SystemTime) -> bool {
    let Some(one) = view.certificate.filter(|_| view.is_automatic) else { return false };
    let life = one.not_after().duration_since(one.not_before()).unwrap_or_default();
    one.not_after().duration_since(now).is_ok_and(|left| left > life / LAST_PART)
}

/// Says which certificates expire soon.
fn warn(store: &CertificateStore, watched: &Watched, now: SystemTime) {
    let mut warnings = watched.warnings.borrow_mut();
    let mut files = Vec::new();
    for view in store.views() {
        let Some(certificate) = view.certificate else { continue };
        let (file, until) = (certificate.files().certificate.display().to_string(), certificate.not_after());
        if is_yet_to_be_renewed(&view, now) {
            files.push(file);
            continue;
        }
        if let Some(days) = warnings.due(&file, until, now) {
            let hosts = view.users.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            watched.journal.event(Event::CertificateExpires { hosts, file: file.clone(), until, days });
            watched.state_reports.is_due();
        }
        files.push(file);
    }
    warnings.retain(&files);
}

/// None without any, and where there is no memory for them: the next generation reads the files then, and its clients do
/// whole handshakes.
fn secrets(store: &CertificateStore, ring: &TicketKeyring) -> Option<Payload> {
    let certificates = store.certificates().map(AsRef::as_ref);
    certificates.clone().next()?;
    ring.add_to(Secrets::default().with(SECTION, handed::to_bytes(certificates))).write().ok()
}

fn event(news: CertificateNews) -> Event {
    match news {
        CertificateNews::Taken { hosts, certificate, before } => Event::CertificateTaken {
            hosts,
            file: certificate.files().certificate.display().to_string(),
            before,
            until: certificate.not_after(),
        },
        CertificateNews::Refused { hosts, why, until } => Event::CertificateRefused { hosts, why, until },
        CertificateNews::ClientsTaken { host, file } => Event::ClientCaTaken { host, file },
        CertificateNews::ClientsRefused { host, why, are_shut_out } => {
            Event::ClientCaRefused { host, why, are_shut_out }
        }
    }
}
