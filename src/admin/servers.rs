//! The servers as the admin API shows them: those of the generation that serves, with what all generations have open and have
//! counted with them.

use serde::{Deserialize, Serialize};

use crate::control::counter_tree::CounterTree;
use crate::control::status::{PoolStatus, ServerStatus, ServiceStatus};

/// So many names of a list are shown where it is long.
pub const SHOWN: usize = 8;

/// The answer to `GET /v1/servers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerList {
    /// The generation that serves.
    pub generation: Option<u64>,
    /// Its pools.
    pub pools: Vec<PoolView>,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Its balancing policy.
    pub balance: String,
    /// Servers that take requests.
    pub servers_up: u64,
    /// Its servers.
    pub servers: Vec<ServerView>,
}

/// A server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// As its worker describes it, with the attempts that all generations have open.
    #[serde(flatten)]
    pub status: ServerStatus,
    /// Attempts on it, of all generations.
    pub attempts: u64,
    /// Those of them to which no response head came, without those whose client left.
    pub errors: u64,
}

impl ServerList {
    /// The servers of `pool`, or of all pools.
    #[must_use]
    pub fn of(status: &ServiceStatus, pool: Option<&str>) -> Self {
        let pools = status.serving_worker().map_or(&[][..], |worker| &worker.pools);
        let wanted = pools.iter().filter(|one| pool.is_none_or(|pool| one.name == pool));
        Self {
            generation: status.serving().map(|one| one.generation),
            pools: wanted.map(|pool| PoolView::of(status, pool)).collect(),
        }
    }
}

impl PoolView {
    fn of(status: &ServiceStatus, pool: &PoolStatus) -> Self {
        Self {
            name: pool.name.clone(),
            balance: pool.balance.clone(),
            servers_up: pool.servers_up,
            servers: pool.servers.iter().map(|server| ServerView::of(status, &pool.name, server)).collect(),
        }
    }
}

impl ServerView {
    fn of(status: &ServiceStatus, pool: &str, server: &ServerStatus) -> Self {
        let path = ["pools", pool, "servers", &server.name, "attempts"];
        let attempts = path.iter().try_fold(&status.counters, |tree, step| tree.get(step));
        let count = |name: &str| attempts.and_then(|tree| tree.get(name)).and_then(CounterTree::count).unwrap_or(0);
        let all = attempts.map_or(0, sum);
        let open_attempts = open(status, pool, &server.name);
        Self {
            status: ServerStatus { open_attempts, ..server.clone() },
            attempts: all,
            errors: all.saturating_sub(count("responded") + count("abandoned")),
        }
    }
}

/// The attempts that all generations have open with a server.
pub(super) fn open(status: &ServiceStatus, pool: &str, server: &str) -> u64 {
    let workers = status.generations.iter().filter_map(|one| one.worker.as_ref());
    let pools = workers.flat_map(|worker| &worker.pools).filter(|one| one.name == pool);
    pools.flat_map(|pool| &pool.servers).filter(|one| one.name == server).map(|one| one.open_attempts).sum()
}

/// The first names of a list, for people: [`SHOWN`] at most.
#[must_use]
pub fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    match &names[..] {
        [] => "none".to_owned(),
        few if few.len() <= SHOWN => few.join(", "),
        many => format!("{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    }
}

fn sum(tree: &CounterTree) -> u64 {
    match tree {
        CounterTree::Count(count) => *count,
        CounterTree::Names(names) => names.values().map(sum).sum(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_long_list_the_first_names_are_shown() {
        assert_eq!(listed("a b c d e f g h i j".split(' ')), "a, b, c, d, e, f, g, h and 2 more");
    }

    #[test]
    fn a_server_is_shown_with_what_every_generation_has_open() {
        let worker = |open: u64| {
            let servers = json!([{ "name": "a:80", "state": "up", "open_attempts": open }]);
            json!({ "pools": [{ "name": "farm", "servers": servers }, { "name": "other", "servers": [] }] })
        };
        let generations = json!([
            { "generation": 1, "state": "draining", "worker": worker(2) },
            { "generation": 2, "state": "serving", "worker": worker(3) },
        ]);
        let attempts = json!({ "responded": 7, "connect-failed": 2, "closed": 1, "abandoned": 4 });
        let counters = json!({ "pools": { "farm": { "servers": { "a:80": { "attempts": attempts } } } } });
        let status = json!({ "generations": generations, "counters": counters });
        let status: ServiceStatus = serde_json::from_value(status).expect("a status");
        let list = ServerList::of(&status, Some("farm"));
        let server = &list.pools[0].servers[0];
        assert_eq!((list.generation, list.pools.len()), (Some(2), 1));
        assert_eq!((server.status.open_attempts, server.attempts, server.errors), (5, 14, 3));
        let json = serde_json::to_string(&list).expect("json");
        assert_eq!(serde_json::from_str::<ServerList>(&json).expect("the same"), list);
    }
}
