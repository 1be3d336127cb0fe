//! What the main thread watches while the others serve: the checks of every pool, and the host names of servers.
//! Changes are logged.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::saved_state::{RestoredChange as Restored, StateReports};
use crate::control::admin::AdminChange;
use crate::observe::event::Event;
use crate::observe::journal::Journal;
use crate::pool::health::{HealthState, Transition};
use crate::pool::passive::Ejection;
use crate::pool::saved::PoolTurn;
use crate::pool::{Pool, Relocation, listed};
use crate::upstream::check::Checks;
use crate::upstream::resolve::{Resolver, ResolverChange};
use crate::upstream::trial::Trials;

/// How long the start waits for DNS.
const FIRST_NAMES: Duration = Duration::from_secs(2);
/// How long the start waits for the first checks.
const FIRST_CHECKS: Duration = Duration::from_secs(3);

/// Checks and look-ups; they end when this is dropped.
pub struct Watch {
    _resolver: Resolver,
    _checks: Checks,
    _trials: Trials,
    pools: Vec<Arc<Pool>>,
    news: Rc<News>,
}

impl Watch {
    /// Starts them, and returns when every server that the generation before did not know has its first result, or
    /// that takes too long. `restored` are the states that differ because the configuration differs. Changes also go
    /// to `state_reports`.
    pub async fn start(
        pools: &[Arc<Pool>],
        restored: Vec<Restored>,
        journal: &Journal,
        state_reports: &Rc<StateReports>,
    ) -> Self {
        let news = Rc::new(News { journal: journal.clone(), state_reports: state_reports.clone() });
        for Restored { pool, server, transition } in &restored {
            news.of_health(pool, *server, transition);
        }
        let heard = news.clone();
        let resolver = Resolver::start(pools, move |pool, server, change| heard.of_name(pool, server, change));
        resolver.first_round(FIRST_NAMES).await;
        let heard = news.clone();
        let checks = Checks::start(pools, move |pool, server, transition| heard.of_health(pool, server, transition));
        checks.first_round(FIRST_CHECKS).await;
        let heard = news.clone();
        let trials = Trials::start(pools, move |pool, server, ejection| heard.of_ejection(pool, server, ejection));
        Self { _resolver: resolver, _checks: checks, _trials: trials, pools: pools.to_vec(), news }
    }

    /// Acts by what operators have set. The generation that `serves` says what becomes of its pools.
    pub fn administer(&self, changes: &[AdminChange], serves: bool) {
        for pool in &self.pools {
            pool.administer(changes);
            if serves {
                self.news.of_pool(pool);
            }
        }
        self.news.state_reports.is_due();
    }
}

/// Turns the results of checks and look-ups into events.
struct News {
    journal: Journal,
    state_reports: Rc<StateReports>,
}

impl News {
    fn of_health(&self, pool: &Pool, server: usize, transition: &Transition) {
        self.state_reports.is_due();
        let (name, server) = (pool.name.clone(), pool.servers[server].name.clone());
        let Transition { from, to, reason, lasted, .. } = transition;
        match (from, to) {
            // a server that was up at its first check causes no event
            (HealthState::Unknown, HealthState::Up) if *lasted < FIRST_CHECKS => {}
            (_, HealthState::Up) => {
                let down_for = (*from == HealthState::Down).then_some(*lasted);
                self.journal.event(Event::ServerUp { pool: name, server, reason: reason.clone(), down_for });
            }
            (_, HealthState::Down) => {
                self.journal.event(Event::ServerDown { pool: name, server, reason: reason.clone(), last_result: None });
            }
            (_, HealthState::Unknown | HealthState::WaitingForDns) => {}
        }
        self.of_pool(pool);
    }

    fn of_name(&self, pool: &Pool, server: usize, change: &ResolverChange) {
        self.state_reports.is_due();
        self.journal.event(event_of(pool.name.clone(), pool.servers[server].name.clone(), change));
        self.of_pool(pool);
    }

    fn of_ejection(&self, pool: &Pool, server: usize, ejection: &Ejection) {
        self.state_reports.is_due();
        let (name, server) = (pool.name.clone(), pool.servers[server].name.clone());
        let after = ejection.since.elapsed().unwrap_or_default(); // the clock may have been set back
        self.journal.event(Event::ServerBack { pool: name, server, after });
    }

    /// Logs when the last server of a pool goes down, and when the first comes back.
    fn of_pool(&self, pool: &Pool) {
        let name = || pool.name.clone();
        match pool.turn(SystemTime::now()) {
            Some(PoolTurn::Empty) => self.journal.event(Event::PoolEmpty { pool: name() }),
            Some(PoolTurn::Back { after }) => self.journal.event(Event::PoolBack { pool: name(), empty_for: after }),
            None => {}
        }
    }
}

fn event_of(pool: String, server: String, change: &ResolverChange) -> Event {
    match change {
        ResolverChange::Waiting { reason } => Event::ServerWaitingForDns { pool, server, why: reason.clone() },
        ResolverChange::Kept { addresses, reason } => {
            Event::ServerAddressKept { pool, server, address: listed(addresses), why: reason.clone() }
        }
        ResolverChange::Relocated(Relocation { to: addresses, .. }) | ResolverChange::Confirmed { addresses } => {
            Event::ServerResolved { pool, server, addresses: addresses.iter().map(ToString::to_string).collect() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_dns_fails_for_a_server_that_has_an_address_is_said_and_so_is_its_return() {
        let addresses: Arc<[_]> = ["10.0.0.1:80", "[::1]:80"].map(|text| text.parse().expect("an address")).into();
        let said = |change| event_of("farm".to_owned(), "web.test:80".to_owned(), &change).message();
        let kept = said(ResolverChange::Kept { addresses: addresses.clone(), reason: "no such name".to_owned() });
        assert_eq!(kept, "Server farm/web.test:80 stays at 10.0.0.1:80, [::1]:80 while DNS fails: no such name");
        assert_eq!(
            said(ResolverChange::Confirmed { addresses }),
            "Server farm/web.test:80 is at 10.0.0.1:80, [::1]:80"
        );
    }
}
