//! Moving connections from one generation to another: both ends of the links that the supervisor arranges.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::control::channel::Channel;
use crate::handover::giver::{GiveError, Giver, Report};
use crate::handover::taker::{TakeError, Taker};
use crate::handover::welcome::{Reach, Welcome};
use crate::observe::WithCauses;
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::proxy::Plan;

use super::arrivals::Arrivals;
use super::threads::Threads;

/// What a worker needs for either end.
pub struct Moving {
    generation: u64,
    /// What this generation can take.
    welcome: Rc<Welcome>,
    journal: Journal,
}

impl Moving {
    /// Of a generation that takes what `welcome` says.
    #[must_use]
    pub fn new(generation: u64, welcome: Welcome, journal: Journal) -> Self {
        Self { generation, welcome: Rc::new(welcome), journal }
    }

    /// Connections go to generation `to` over `link` once this one drains, and no longer to the one before. Returns
    /// when every thread knows.
    pub async fn give(&self, to: u64, link: OwnedFd, threads: &Threads) {
        let plan = threads.plan();
        let opened = match Channel::from_socket(link) {
            Ok(channel) => Giver::open(channel, &plan.config, &self.welcome).await,
            Err(fault) => Err(GiveError::Link(fault)),
        };
        let (giver, heir) = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                return self.journal.event(Event::MoveBroken {
                    generation: self.generation,
                    to,
                    returned: 0,
                    why: WithCauses(&fault).to_string(),
                });
            }
        };
        self.tell_what_stays(to, heir.reach(), plan);
        let (generation, journal) = (self.generation, self.journal.clone());
        tokio::task::spawn_local(async move {
            let Report { returned, broken, .. } = giver.run().await;
            if let Some(fault) = broken {
                let why = WithCauses(&fault).to_string();
                journal.event(Event::MoveBroken { generation, to, returned, why });
            }
        });
        threads.bequeath(&heir).await;
    }

    fn tell_what_stays(&self, to: u64, reach: &Reach, plan: &Plan) {
        for listener in reach.staying() {
            self.journal.event(Event::ConnectionsStay {
                generation: self.generation,
                to,
                listener: plan.names.listeners.get(listener).cloned().unwrap_or_default(),
            });
        }
    }

    /// Connections of generation `from` come over `link`, until its end.
    pub fn take(&self, from: u64, link: OwnedFd, threads: &Threads) {
        let (generation, journal) = (self.generation, self.journal.clone());
        let (welcome, arrivals) = (self.welcome.clone(), threads.arrivals());
        tokio::task::spawn_local(async move {
            if let Err(fault) = take_all(link, &welcome, &arrivals).await {
                let why = WithCauses(&fault).to_string();
                journal.event(Event::MoveBroken { generation: from, to: generation, returned: 0, why });
            }
            arrivals.end().await;
        });
    }
}

async fn take_all(link: OwnedFd, welcome: &Welcome, arrivals: &Arrivals) -> Result<(), TakeError> {
    let channel = Channel::from_socket(link).map_err(TakeError::Link)?;
    let taker = Taker::open(channel, welcome)?;
    while let Some(parcels) = taker.next().await? {
        arrivals.give(parcels).await;
    }
    Ok(())
}
