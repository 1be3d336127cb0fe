//! An exchange that goes on in another generation: saved with names there, found by names here.

use std::rc::Rc;
use std::time::Duration;

use http::{Method, Version};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::client::before;
use super::exchange::{Exchange, known_head};
use super::origin::Origin;
use super::thread::Thread;
use crate::handover::exchange::{SavedAttempt, SavedExchange, SavedState};
use crate::http1::request::read_again;
use crate::observe::end::Phase;
use crate::observe::record::{AttemptRecord, Index, Protocol, RecordNames};

impl Exchange {
    /// What the next generation has to know, when nothing has passed since `moved`. `server` is at the other end, or to be.
    /// None when this generation has no such names.
    pub(super) fn saved(&self, moved: Instant, server: Option<Index>) -> Option<SavedExchange> {
        let names = &self.thread.runtime_config.names;
        let (pool, servers) = match self.pool {
            Some(pool) => names.pools.get(usize::from(pool)).map(|(name, servers)| (name.as_str(), &servers[..]))?,
            None => ("", &[][..]),
        };
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
            pool: pool.to_owned(),
            server: server.map_or_else(|| Some(String::new()), name)?,
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

    /// Goes on with a tunnel of the generation before. None when this generation has no such site, pool or server.
    pub(super) fn resume_tunnel(thread: &Rc<Thread>, origin: &Rc<Origin>, saved: &SavedExchange) -> Option<Box<Self>> {
        let found = FoundNames::of(saved, &thread.runtime_config.names)?;
        if found.attempts.last()?.server != found.server? {
            return None;
        }
        let mut exchange = Self::resume(thread, origin, saved, found);
        exchange.head = known_head(&saved.host, &saved.target);
        exchange.method = saved.method.as_ref().and_then(|method| method.parse().ok());
        exchange.phase = Phase::Tunnel;
        exchange.begin_debug();
        Some(exchange)
    }

    /// Goes on with the exchange of a request, whose `head` was this, and gives the server that it had. None when this
    /// generation has no such site or pool, or takes the head for another.
    pub(super) fn resume_request(
        thread: &Rc<Thread>,
        origin: &Rc<Origin>,
        saved: &SavedExchange,
        state: &SavedState,
        head: &[u8],
    ) -> Option<(Box<Self>, Option<Index>)> {
        let found = FoundNames::of(saved, &thread.runtime_config.names)?;
        let (mut facts, head) = read_again(head)?;
        if saved.protocol == Protocol::Http2 {
            facts.version = Version::HTTP_2; // and the head is one of HTTP/1.1
        }
        let server = found.server;
        let mut exchange = Self::resume(thread, origin, saved, found);
        exchange.method = Method::from_bytes(head.method()).ok();
        (exchange.facts, exchange.head) = (facts, Rc::new(head));
        (exchange.bytes_in, exchange.bytes_out) = (state.bytes_in, state.bytes_out);
        (exchange.waits_for_continue, exchange.continued) = (state.waits_for_continue, state.continued);
        state.end.into_iter().for_each(|end| exchange.ends(end));
        state.detail.iter().for_each(|detail| exchange.explain(detail));
        exchange.begin_debug();
        exchange.is_underway();
        Some((exchange, server))
    }

    fn resume(thread: &Rc<Thread>, origin: &Rc<Origin>, saved: &SavedExchange, found: FoundNames) -> Box<Self> {
        let mut exchange = Self::blank(thread, origin, None);
        exchange.id = saved.id;
        exchange.opened = before(Instant::now(), saved.age);
        exchange.protocol = saved.protocol;
        exchange.forwarded_client = saved.client;
        (exchange.site, exchange.pool, exchange.attempts) = (found.site, found.pool, found.attempts);
        exchange.status = saved.status;
        exchange.timers = saved.timers;
        exchange.responded = exchange.opened + Duration::from_micros(saved.timers.responded.into());
        exchange
    }
}

/// The names of a saved exchange as indexes of this generation.
struct FoundNames {
    site: Option<Index>,
    pool: Option<Index>,
    /// None when it is gone, or there was none yet.
    server: Option<Index>,
    attempts: SmallVec<[AttemptRecord; 1]>,
}

impl FoundNames {
    fn of(saved: &SavedExchange, names: &RecordNames) -> Option<Self> {
        let pool = names.pools.iter().position(|(name, _)| *name == saved.pool);
        if pool.is_none() && !saved.pool.is_empty() {
            return None;
        }
        let servers = pool.map_or(&[][..], |pool| &names.pools[pool].1);
        let server = |name: &str| Some(servers.iter().position(|server| server == name)? as Index);
        // tries against servers that are gone are forgotten
        let attempts = saved.attempts.iter().filter_map(|attempt| {
            let (reused, outcome, took) = (attempt.reused, attempt.outcome, attempt.took);
            Some(AttemptRecord { server: server(&attempt.server)?, reused, outcome, took })
        });
        let site = match &saved.site {
            Some(host) => Some(names.sites.iter().position(|site| site == host)? as Index),
            None => None,
        };
        let server = server(&saved.server);
        Some(Self { site, pool: pool.map(|pool| pool as Index), server, attempts: attempts.collect() })
    }
}
