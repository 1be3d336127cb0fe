//! Has certificates issued and renewed by the certificate authority, for as long as this generation serves.
//!
//! All of it runs on a thread of its own: it waits for disks, for name servers, and for the authority. The serving threads only
//! read what it writes.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use instant_acme::Account;
use tokio::sync::{Notify, watch};

use crate::acme::account::{self, OpenAccount};
use crate::acme::challenges::Challenges;
use crate::acme::order::CertificateOrders;
use crate::acme::renewal::{self, seconds};
use crate::acme::saved::SavedOrder;
use crate::acme::state_directory::StateLock;
use crate::acme::{AcmeError, RetryAfter, StateDirectory, pause};
use crate::config::{AcmeSettings, Config, SiteCertificate};
use crate::control::status::AcmeStatus;
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::tls::{Certificate, CertificateFiles};

/// What asks the authority, or waits to do so.
pub struct Renewer {
    plan: Option<Arc<RenewalPlan>>,
    /// Dropped to end the thread; the next one waits until it has ended.
    ends: Option<watch::Sender<()>>,
}

/// What is known of the orders, for the status.
#[derive(Default)]
pub struct RenewalReport {
    orders: Mutex<BTreeMap<String, AcmeStatus>>,
    /// Something changed, a certificate perhaps.
    pub changed: Notify,
}

/// What a thread needs.
struct RenewalPlan {
    state: StateDirectory,
    settings: AcmeSettings,
    hosts: Vec<String>,
    journal: Journal,
    report: Arc<RenewalReport>,
}

/// How often the lock is tried: it is free as soon as the generation before is parked.
const LOCK: Duration = Duration::from_millis(250);
/// How often a state directory is tried that cannot be used.
const NO_DIRECTORY: Duration = Duration::from_secs(60);
/// The longest wait at once: a clock may be set.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// A new certificate is renewed after an hour or a quarter of its time at the earliest, whatever the authority says.
const YOUNGEST: Duration = Duration::from_secs(60 * 60);

impl Renewer {
    /// For the sites with an automatic certificate; nothing without any.
    #[must_use]
    pub fn new(config: &Config, journal: &Journal, report: &Arc<RenewalReport>) -> Self {
        let is_automatic = |tls: &SiteCertificate| tls.is_automatic();
        let sites = config.sites.iter().filter(|site| site.tls.as_ref().is_some_and(is_automatic));
        let hosts: Vec<_> = sites.map(|site| site.host.to_string()).collect();
        let plan = RenewalPlan {
            state: StateDirectory::from_environment(),
            settings: config.acme.clone(),
            hosts,
            journal: journal.clone(),
            report: report.clone(),
        };
        Self { plan: (!plan.hosts.is_empty()).then(|| Arc::new(plan)), ends: None }
    }

    /// Begins when this generation serves, and ends when it does not: what is open goes on in the one that does.
    pub fn set_serves(&mut self, serves: bool) {
        let Some(plan) = self.plan.as_ref().filter(|_| serves) else {
            self.ends = None;
            return;
        };
        if self.ends.is_some() {
            return;
        }
        let (ends, ended) = watch::channel(());
        let own = plan.clone();
        let thread = std::thread::Builder::new().name("acme".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    runtime.block_on(own.run(ended));
                    runtime.shutdown_background(); // getaddrinfo(3) may take its time
                }
                Err(error) => own.all_failed(&AcmeError::file("/")(error)),
            }
        });
        match thread {
            Ok(_) => self.ends = Some(ends),
            Err(error) => plan.all_failed(&AcmeError::file("/")(error)),
        }
    }
}

/// What `work` gives, unless the thread is to end before that.
async fn unless<T>(ended: &mut watch::Receiver<()>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = ended.changed() => None, // nothing is ever sent: the sender is gone
        done = work => Some(done),
    }
}

impl RenewalReport {
    fn orders(&self) -> MutexGuard<'_, BTreeMap<String, AcmeStatus>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The orders for this host; none where it is no automatic one, or not yet looked at.
    #[must_use]
    pub fn of(&self, host: &str) -> Option<AcmeStatus> {
        self.orders().get(host).cloned()
    }

    fn set(&self, host: &str, status: AcmeStatus) {
        self.orders().insert(host.to_owned(), status);
        self.changed.notify_one();
    }
}

/// What the thread has of the authority.
#[derive(Default)]
struct Authority {
    account: Option<Account>,
    retry_after: RetryAfter,
    /// How often it could not be spoken with in a row, and until when it is left alone, in seconds since 1970.
    failures: u32,
    rests_until: u64,
}

/// What is to be done for a host.
enum Task {
    /// It needs a certificate, and replaces this one.
    Order(Option<Box<Certificate>>),
    /// The authority is asked when this one is renewed.
    Ask(Box<Certificate>),
}

impl RenewalPlan {
    async fn run(&self, mut ended: watch::Receiver<()>) {
        let Some(_lock) = unless(&mut ended, self.lock()).await else { return };
        self.tidy();
        let mut authority = Authority::default();
        loop {
            let Some((host, task)) = unless(&mut ended, self.next(&authority)).await else { return };
            if authority.account.is_none() {
                let opened = if account::is_registered(&self.state, &self.settings) {
                    let opening = account::open(&self.state, &self.settings, &authority.retry_after);
                    let Some(opened) = unless(&mut ended, opening).await else { return };
                    opened
                } else {
                    // an external account may be used up by a registration of which nothing is known here
                    account::open(&self.state, &self.settings, &authority.retry_after).await
                };
                match opened {
                    Ok(OpenAccount { account, is_new }) => {
                        if is_new {
                            let (directory, account) = (self.settings.directory.clone(), account.id().to_owned());
                            self.journal.event(Event::AcmeAccountMade { directory, account });
                        }
                        authority.account = Some(account);
                    }
                    Err(error) => {
                        self.failed(&host, &task, &error, &mut authority);
                        continue;
                    }
                }
            }
            let Some(account) = authority.account.clone() else { continue };
            let Some(done) = unless(&mut ended, self.work(&account, &host, &task)).await else { return };
            match done {
                Ok(()) => (authority.failures, authority.rests_until) = (0, 0),
                Err(error) => self.failed(&host, &task, &error, &mut authority),
            }
        }
    }

    fn orders(&self) -> CertificateOrders<'_> {
        CertificateOrders { state: &self.state, settings: &self.settings }
    }

    /// Waits until no other process asks the authority.
    async fn lock(&self) -> StateLock {
        let mut said = None;
        loop {
            let pause = match self.state.make().and_then(|()| self.state.try_lock()) {
                Ok(Some(lock)) => return lock,
                Ok(None) => LOCK,
                Err(error) => {
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        self.all_failed(&error);
                        said = Some(text);
                    }
                    NO_DIRECTORY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes away what orders left that no longer go on.
    fn tidy(&self) {
        let all = self.state.hosts_of_orders();
        let open = all.iter().map(|host| self.orders().load(host)).filter_map(|saved| saved.open);
        let kept: Vec<_> = open.flat_map(|open| open.challenges).collect();
        Challenges::new(&self.state).retain(kept.iter());
    }

    /// Waits until something is to be done.
    async fn next(&self, authority: &Authority) -> (String, Task) {
        loop {
            let now = SystemTime::now();
            let all = self.hosts.iter().map(|host| {
                let (due, task) = self.task(host, now);
                (due.max(authority.rests_until), host, task)
            });
            // there is one host at least
            let Some((due, host, task)) = all.min_by_key(|(due, ..)| *due) else { return std::future::pending().await };
            let wait = Duration::from_secs(due.saturating_sub(seconds(now)));
            if wait.is_zero() {
                return (host.clone(), task);
            }
            tokio::time::sleep(wait.min(LONGEST)).await;
        }
    }

    /// What is to be done next for a host, and when; says so in the status.
    fn task(&self, host: &str, now: SystemTime) -> (u64, Task) {
        let saved = self.orders().load(host);
        let not_before = saved.next_try.unwrap_or_default();
        let Some(certificate) = self.certificate(host) else {
            self.show(host, &saved, not_before);
            return (not_before, Task::Order(None));
        };
        let name = renewal::name(&certificate);
        let plan = saved.renewal.clone().filter(|plan| plan.certificate == name);
        let plan = plan.unwrap_or_else(|| renewal::by_lifetime_of(&certificate, 0.0));
        let at = if saved.open.is_some() { not_before } else { plan.at.max(not_before) };
        self.show(host, &saved, at);
        let certificate = Box::new(certificate);
        match plan.ask_again {
            Some(ask) if ask < at && at > seconds(now) => (ask, Task::Ask(certificate)),
            _ => (at, Task::Order(Some(certificate))),
        }
    }

    /// The certificate that there is, if it can be used.
    fn certificate(&self, host: &str) -> Option<Certificate> {
        let path = self.state.certificate(host);
        let certificate = Certificate::load(&CertificateFiles { certificate: path.clone(), key: path }).ok()?;
        certificate.names().iter().any(|name| name == host).then_some(certificate)
    }

    async fn work(&self, account: &Account, host: &str, task: &Task) -> Result<(), AcmeError> {
        let orders = self.orders();
        let mut saved = orders.load(host);
        match task {
            Task::Ask(certificate) => {
                let plan = renewal::plan(account, certificate, saved.renewal.as_ref(), SystemTime::now()).await;
                saved.renewal = Some(plan);
                orders.save(host, &saved)
            }
            Task::Order(before) => {
                let directory = self.settings.directory.clone();
                self.journal.event(Event::CertificateOrdered { host: host.to_owned(), directory });
                self.report.set(host, AcmeStatus { order: ORDERING.to_owned(), ..AcmeStatus::default() });
                let asked = saved.renewal.as_ref().is_some_and(|plan| plan.ask_again.is_some());
                let replaces = before.as_ref().filter(|_| asked);
                let replaces = replaces.and_then(|one| renewal::identifier(one.chain().first()?));
                orders.obtain(account, host, replaces, &mut saved).await?;
                let life = self
                    .certificate(host)
                    .map_or(Duration::ZERO, |new| new.not_after().duration_since(new.not_before()).unwrap_or_default());
                let next_try = Some(seconds(SystemTime::now() + YOUNGEST.min(life / 4)));
                let directory = self.settings.directory.clone();
                orders.save(host, &SavedOrder { directory, next_try, ..SavedOrder::default() })
            }
        }
    }

    /// Says that it failed, and notes when it is tried again.
    fn failed(&self, host: &str, task: &Task, error: &AcmeError, authority: &mut Authority) {
        let now = SystemTime::now();
        let wanted = authority.retry_after.take();
        let mut saved = self.orders().load(host);
        if error.is_of_authority() {
            authority.failures += 1;
            authority.rests_until = seconds(now + pause(error, authority.failures, wanted, now));
            // another connection, and a directory that may have changed
            authority.account = None;
        }
        if error.kind() == Some("accountDoesNotExist") {
            account::forget(&self.state, &self.settings);
        }
        let until = self.certificate(host).map(|certificate| certificate.not_after());
        if let Task::Ask(certificate) = task {
            let plan = saved.renewal.take().unwrap_or_else(|| renewal::by_lifetime_of(certificate, 0.0));
            saved.renewal = Some(renewal::SavedRenewal { ask_again: Some(renewal::after_failure(now)), ..plan });
        } else {
            saved.failures = saved.failures.saturating_add(1);
            let next = now + pause(error, saved.failures, wanted, now);
            saved.next_try = Some(seconds(next));
            saved.last_error = Some(error.to_string());
            let (host, why) = (host.to_owned(), error.to_string());
            self.journal.event(Event::CertificateNotIssued { host, why, next, until });
        }
        if let Err(error) = self.orders().save(host, &saved) {
            // without a note of it there is a pause all the same
            authority.rests_until = authority.rests_until.max(seconds(now + NO_DIRECTORY));
            saved.last_error = Some(error.to_string());
        }
        self.show(host, &saved, saved.next_try.unwrap_or_default());
    }

    fn all_failed(&self, error: &AcmeError) {
        let next = SystemTime::now() + NO_DIRECTORY;
        for host in &self.hosts {
            let (host, why, until) = (host.clone(), error.to_string(), None);
            self.report.set(&host, status(FAILED, seconds(next), Some(why.clone())));
            self.journal.event(Event::CertificateNotIssued { host, why, next, until });
        }
    }

    fn show(&self, host: &str, saved: &SavedOrder, next: u64) {
        let word = match &saved.last_error {
            Some(_) => FAILED,
            None if next <= seconds(SystemTime::now()) => ORDERING,
            None => WAITING,
        };
        let new = status(word, next, saved.last_error.clone());
        if self.report.of(host).as_ref() != Some(&new) {
            self.report.set(host, new);
        }
    }
}

const ORDERING: &str = "ordering";
const WAITING: &str = "waiting";
const FAILED: &str = "failed";

fn status(word: &str, next: u64, error: Option<String>) -> AcmeStatus {
    let next = SystemTime::UNIX_EPOCH + Duration::from_secs(next);
    let next = (word != ORDERING).then(|| humantime::format_rfc3339_seconds(next).to_string());
    AcmeStatus { order: word.to_owned(), next, error }
}
