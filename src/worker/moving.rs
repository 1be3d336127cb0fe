//! Moving connections from one generation to another: both ends of the links that the supervisor arranges.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::control::channel::Channel;
use crate::handover::capabilities::Capabilities;
use crate::handover::receiver::{ReceiveError, Receiver};
use crate::handover::sender::{SendError, Sender, TransferReport};
use crate::observe::WithCauses;
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::proxy::RuntimeConfig;

use super::arrivals::Arrivals;
use super::threads::Threads;

/// What a worker needs for either end.
pub struct Moving {
    generation: u64,
    /// What this generation can take.
    capabilities: Rc<Capabilities>,
    journal: Journal,
    breaks: Rc<Breaks>,
}

impl Moving {
    /// Of a generation that takes what `capabilities` says.
    #[must_use]
    pub fn new(generation: u64, capabilities: Capabilities, journal: Journal) -> Self {
        Self { generation, capabilities: Rc::new(capabilities), journal, breaks: Rc::default() }
    }

    /// Connections go to generation `to` over `link` once this one drains, and no longer to the one before. Returns
    /// when every thread knows; the capabilities of the other generation come later.
    pub async fn give(&self, to: u64, link: OwnedFd, threads: &Threads) {
        let reporter = self.begin();
        let opened = Channel::from_socket(link).map_err(SendError::Link).and_then(Sender::open);
        let (sender, successor) = match opened {
            Ok(opened) => opened,
            Err(fault) => return reporter.broken(to, 0, &fault),
        };
        threads.set_successor(&successor).await;
        drop(successor); // only the threads keep it: no connection moves once they have dropped it
        let (capabilities, statistics) = (self.capabilities.clone(), threads.statistics().clone());
        let (runtime_config, handles) = (threads.runtime_config().clone(), threads.handles());
        tokio::task::spawn_local(async move {
            match sender.receive_capabilities(&runtime_config.config, &capabilities).await {
                Ok(reach) => {
                    let staying = reach.staying().filter(|listener| handles.open_on(*listener) > 0);
                    staying.for_each(|listener| reporter.stays(to, listener, &runtime_config));
                }
                Err(_) if sender.is_forgotten() => return, // there is a newer one
                Err(fault) => return reporter.broken(to, 0, &fault),
            }
            handles.successor_ready().await;
            let TransferReport { returned, lost, broken, .. } = sender.counting(statistics).run().await;
            if let Some(fault) = broken {
                reporter.broken_with(to, returned, lost, &fault);
            }
        });
    }

    /// Counts a new link; returns the handle with which its end is noted.
    fn begin(&self) -> LinkReporter {
        let link = self.breaks.begin();
        LinkReporter { generation: self.generation, journal: self.journal.clone(), breaks: self.breaks.clone(), link }
    }

    /// Whether the link to the successor broke, and the pause before another one is over: it may have been short of
    /// descriptors.
    #[must_use]
    pub fn wants_successor(&self) -> bool {
        self.breaks.last.get().is_some_and(|last| last.elapsed() >= self.breaks.pause())
    }

    /// Connections of generation `from` come over `link`, until its end.
    pub fn take(&self, from: u64, link: OwnedFd, threads: &Threads) {
        let (generation, journal) = (self.generation, self.journal.clone());
        let (capabilities, arrivals) = (self.capabilities.clone(), threads.arrivals());
        tokio::task::spawn_local(async move {
            if let Err(fault) = take_all(link, &capabilities, &arrivals).await {
                let why = WithCauses(&fault).to_string();
                journal.event(Event::MoveBroken { generation: from, to: generation, returned: 0, why });
            }
            arrivals.end().await;
        });
    }
}

/// How often links to successors broke.
#[derive(Default)]
struct Breaks {
    links: Cell<u64>,
    count: Cell<u32>,
    /// When the last link broke, if one has.
    last: Cell<Option<Instant>>,
}

impl Breaks {
    /// Returns the number of the link.
    fn begin(&self) -> u64 {
        self.links.set(self.links.get() + 1);
        self.last.set(None);
        self.links.get()
    }

    fn again(&self, link: u64) {
        if link == self.links.get() {
            self.count.set(self.count.get().saturating_add(1));
            self.last.set(Some(Instant::now()));
        }
    }

    /// The pause doubles with each.
    fn pause(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.count.get().saturating_sub(1).min(MOST_DOUBLINGS))
    }
}

/// The pause after the first break: shorter than the time in which idle connections learn of the end of this
/// generation.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause is 32 s.
const MOST_DOUBLINGS: u32 = 5;

/// Reports what happened to the connections to the journal and to the supervisor.
struct LinkReporter {
    generation: u64,
    journal: Journal,
    breaks: Rc<Breaks>,
    link: u64,
}

impl LinkReporter {
    fn stays(&self, to: u64, listener: usize, runtime_config: &RuntimeConfig) {
        let listener = runtime_config.names.listeners.get(listener).cloned().unwrap_or_default();
        self.journal.event(Event::ConnectionsStay { generation: self.generation, to, listener });
    }

    fn broken(&self, to: u64, returned: u64, fault: &SendError) {
        self.broken_with(to, returned, 0, fault);
    }

    fn broken_with(&self, to: u64, returned: u64, lost: u64, fault: &SendError) {
        let mut why = WithCauses(fault).to_string();
        if lost > 0 {
            why.push_str(&format!("; {lost} that it may have taken were closed here"));
        }
        self.journal.event(Event::MoveBroken { generation: self.generation, to, returned, why });
        if !matches!(fault, SendError::Foreign(_)) {
            self.breaks.again(self.link);
        }
    }
}

async fn take_all(link: OwnedFd, capabilities: &Capabilities, arrivals: &Arrivals) -> Result<(), ReceiveError> {
    let channel = Channel::from_socket(link).map_err(ReceiveError::Link)?;
    let receiver = Receiver::open(channel, capabilities)?;
    while let Some(transfers) = receiver.next().await? {
        arrivals.give(transfers).await;
    }
    Ok(())
}
