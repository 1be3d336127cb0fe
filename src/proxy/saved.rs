//! An exchange that goes on in another generation: saved with names there, found by names here.

use std::rc::Rc;

use http::Method;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::client::before;
use super::exchange::{Exchange, known_head};
use super::origin::Origin;
use super::thread::Thread;
use crate::handover::transfer::{SavedAttempt, SavedExchange};
use crate::observe::end::Phase;
use crate::observe::record::{AttemptRecord, Index, RecordNames};

impl Exchange {
    /// What the next generation has to know, when nothing has passed since `moved`. None when no server was found yet.
    pub(super) fn saved(&self, moved: Instant) -> Option<SavedExchange> {
        let names = &self.thread.runtime_config.names;
        let (pool, servers) = names.pools.get(usize::from(self.pool?))?;
        let name = |server: Index| servers.get(usize::from(server)).cloned();
        let attempts = self.attempts.iter().filter_map(|attempt| {
            let AttemptRecord { server, reused, outcome, took } = *attempt;
            Some(SavedAttempt { server: name(server)?, reused, outcome, took })
        });
        Some(SavedExchange {
            id: self.id,
            age: self.opened.elapsed(),
            silent: moved.elapsed(),
            site: self.site.and_then(|site| names.sites.get(usize::from(site)).cloned()),
            pool: pool.clone(),
            server: name(self.server()?)?,
            protocol: self.protocol,
            method: self.method.as_ref().map(Method::to_string),
            target: String::from_utf8_lossy(self.path()).into_owned(),
            host: self.host().unwrap_or_default().to_owned(),
            status: self.status,
            timers: self.timers,
            attempts: attempts.collect(),
            client: self.believed_client(),
        })
    }

    /// Goes on with an exchange of the generation before, which is in this phase. None when this generation has no such
    /// site, pool or server.
    pub(super) fn resume(
        thread: &Rc<Thread>,
        origin: &Rc<Origin>,
        saved: &SavedExchange,
        phase: Phase,
    ) -> Option<Box<Self>> {
        let found = FoundNames::of(saved, &thread.runtime_config.names)?;
        let mut exchange = Self::blank(thread, origin, None);
        exchange.id = saved.id;
        exchange.opened = before(Instant::now(), saved.age);
        exchange.protocol = saved.protocol;
        exchange.method = saved.method.as_ref().and_then(|method| method.parse().ok());
        exchange.forwarded_client = saved.client;
        exchange.head = known_head(&saved.host, &saved.target);
        exchange.site = found.site;
        exchange.pool = Some(found.pool);
        exchange.status = saved.status;
        exchange.phase = phase;
        exchange.timers = saved.timers;
        exchange.attempts = found.attempts;
        exchange.begin_debug();
        Some(exchange)
    }
}

/// The names of a saved exchange as indexes of this generation.
struct FoundNames {
    site: Option<Index>,
    pool: Index,
    attempts: SmallVec<[AttemptRecord; 1]>,
}

impl FoundNames {
    fn of(saved: &SavedExchange, names: &RecordNames) -> Option<Self> {
        let pool = names.pools.iter().position(|(name, _)| *name == saved.pool)?;
        let servers = &names.pools[pool].1;
        let server = |name: &str| Some(servers.iter().position(|server| server == name)? as Index);
        // tries against servers that are gone are forgotten; the last one is where the tunnel leads
        let attempts = saved.attempts.iter().filter_map(|attempt| {
            let (reused, outcome, took) = (attempt.reused, attempt.outcome, attempt.took);
            Some(AttemptRecord { server: server(&attempt.server)?, reused, outcome, took })
        });
        let attempts: SmallVec<[AttemptRecord; 1]> = attempts.collect();
        if attempts.last()?.server != server(&saved.server)? {
            return None;
        }
        let site = match &saved.site {
            Some(host) => Some(names.sites.iter().position(|site| site == host)? as Index),
            None => None,
        };
        Some(Self { site, pool: pool as Index, attempts })
    }
}
