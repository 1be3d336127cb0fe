//! What operators have set for the servers of a pool: their administrative state, and other weights.

use super::{Pool, Server};
use crate::control::admin::AdminChange;

impl Pool {
    /// Acts by what operators have set, and by nothing that they set before.
    pub fn administer(&self, changes: &[AdminChange]) {
        for (_, server) in self.configured() {
            let of_server = changes.iter().filter(|change| self.is_meant(server, change));
            server.admin.set(server.weight, of_server.map(|change| change.value));
        }
    }

    /// Whether `change` holds for `server`: one of the weight does as long as the configuration says what it did when the
    /// change was made.
    fn is_meant(&self, server: &Server, change: &AdminChange) -> bool {
        change.value.holds_at(server.weight) && change.server == server.name && change.pool == self.name
    }
}

/// The revisions of the changes that hold for no server of these pools: the configuration says otherwise.
#[must_use]
pub fn undone(changes: &[AdminChange], pools: &[impl AsRef<Pool>]) -> Vec<u64> {
    let holds = |change: &AdminChange| {
        let mut pools = pools.iter().map(AsRef::as_ref);
        pools.any(|pool| pool.configured().any(|(_, server)| pool.is_meant(server, change)))
    };
    changes.iter().filter(|change| !holds(change)).map(|change| change.revision).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::control::admin::{self, AdminValue};
    use crate::pool::tests::{server, settings};

    fn change(revision: u64, server: &str, value: AdminValue) -> AdminChange {
        AdminChange { revision, ..admin::tests::change(server, value) }
    }

    #[test]
    fn what_is_set_holds_until_it_is_undone_or_the_configuration_says_otherwise() {
        let servers = vec![server("10.0.0.1:80", 4), server("10.0.0.2:80", 4)];
        let pool = Arc::new(Pool::new(settings(servers), SystemTime::UNIX_EPOCH));
        let seen = || [0, 1].map(|index: usize| pool.servers[index].admin.weight());
        let drain = change(1, "10.0.0.1:80", AdminValue::Drain);
        let lighter = change(2, "10.0.0.2:80", AdminValue::Weight { weight: 1, configured: 4 });
        let stale = change(3, "10.0.0.2:80", AdminValue::Weight { weight: 1, configured: 3 });
        let gone = change(4, "10.0.0.9:80", AdminValue::Maint);
        pool.administer(&[drain.clone(), lighter.clone()]);
        assert_eq!((seen(), pool.servers[0].admin.is_out()), ([0, 1], true));
        assert_eq!(pool.servers_up(), 1, "what is drained takes no requests");
        pool.administer(&[drain.clone(), stale.clone(), gone.clone()]);
        assert_eq!(seen(), [0, 4]);
        assert_eq!(undone(&[drain, lighter, stale, gone], std::slice::from_ref(&pool)), [3, 4]);
        pool.administer(&[change(5, "10.0.0.1:80", AdminValue::Maint)]);
        assert!(pool.servers[0].admin.is_in_maint());
        pool.administer(&[]);
        assert_eq!((seen(), pool.servers[0].admin.is_in_maint()), ([4, 4], false));
    }
}
