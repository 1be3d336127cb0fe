use std::time::UNIX_EPOCH;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::ServerSettings;
use crate::pool::balance::{Balancer, Pick};
use crate::pool::health::{CheckVerdict, Finding, SavedHealth};
use crate::pool::passive::SavedPassive;
use crate::pool::tests::{checked, server, settings};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn http(path: &str) -> CheckKind {
    CheckKind::Http { method: "GET".to_owned(), path: path.to_owned() }
}

fn pool(servers: &[(&str, u32)], kind: Option<CheckKind>) -> Pool {
    let mut settings = settings(servers.iter().map(|(address, weight)| server(address, *weight)).collect());
    settings.check = kind;
    Pool::new(settings, at(0))
}

fn find(pool: &Pool, server: usize, verdict: CheckVerdict, now: SystemTime) {
    let finding = Finding { verdict, detail: "said".into(), took: Duration::from_millis(3) };
    pool.servers[server].health.observe(finding, now);
}

/// A pool of two checked servers: the first is up, the second down since second 20.
fn half_down() -> Pool {
    let pool = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], Some(http("/")));
    find(&pool, 0, CheckVerdict::Good, at(10));
    find(&pool, 1, CheckVerdict::Bad, at(20));
    pool
}

/// The saved state on its way through the file.
fn carried(pool: &Pool) -> SavedPool {
    let text = serde_json::to_string(&pool.save(&[])).expect("JSON");
    serde_json::from_str(&text).expect("a saved pool")
}

fn states(pool: &Pool) -> Vec<HealthState> {
    pool.servers.iter().map(|server| server.health.state()).collect()
}

#[test]
fn a_server_that_was_down_stays_down_with_its_history() {
    let before = half_down();
    let after = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], Some(http("/")));
    assert_eq!(after.restore(&carried(&before), at(100)), []);
    assert_eq!(states(&after), [HealthState::Up, HealthState::Down]);
    assert_eq!(after.status(), before.status());
    assert!(after.servers.iter().all(crate::pool::Server::is_remembered));
    assert_eq!(after.servers[1].status().health.since, "1970-01-01T00:00:20.000Z");
}

#[test]
fn what_speaks_against_a_state_counts_on() {
    let mut settings = settings(vec![server("10.0.0.1:80", 1)]);
    (settings.check, settings.fall) = (Some(http("/")), 3);
    let before = Pool::new(settings.clone(), at(0));
    for verdict in [CheckVerdict::Good, CheckVerdict::Bad, CheckVerdict::Bad] {
        find(&before, 0, verdict, at(1));
    }
    let after = Pool::new(settings, at(2));
    after.restore(&carried(&before), at(2));
    assert_eq!(states(&after), [HealthState::Up]);
    find(&after, 0, CheckVerdict::Bad, at(3));
    assert_eq!(states(&after), [HealthState::Down]);
    assert_eq!(after.servers[0].status().health.history[1].reason, "3 checks failed: said");
}

#[test]
fn servers_of_another_check_are_unknown_and_keep_their_history() {
    let before = half_down();
    for kind in [http("/other"), CheckKind::Connect] {
        let after = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], Some(kind));
        assert_eq!(after.restore(&carried(&before), at(100)).len(), 2);
        assert_eq!(states(&after), [HealthState::Unknown; 2]);
        assert!(!after.servers[1].is_remembered());
        let status = after.servers[1].status();
        assert_eq!(status.health.since, "1970-01-01T00:01:40.000Z");
        assert_eq!(status.health.check, None);
        assert_eq!(status.health.history[1].reason, "the check is another one");
    }
}

#[test]
fn rise_fall_and_interval_may_change_without_a_doubt_about_the_state() {
    let before = half_down();
    let mut settings = before.settings.clone();
    (settings.rise, settings.fall, settings.check_interval) = (9, 9, Duration::from_secs(1));
    let after = Pool::new(settings, at(100));
    after.restore(&carried(&before), at(100));
    assert_eq!(states(&after), [HealthState::Up, HealthState::Down]);
    find(&after, 1, CheckVerdict::Good, at(101));
    assert_eq!(states(&after)[1], HealthState::Down, "it takes the new rise");
}

#[test]
fn a_server_without_a_check_is_up_whatever_was_known() {
    let after = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], None);
    let transitions = after.restore(&carried(&half_down()), at(100));
    assert_eq!(states(&after), [HealthState::Up; 2]);
    let told: Vec<_> =
        transitions.iter().map(|(index, one)| (*index, one.from, one.to, one.lasted.as_secs())).collect();
    assert_eq!(told, [(1, HealthState::Down, HealthState::Up, 80)]);
    assert_eq!(after.servers[0].status().health.since, "1970-01-01T00:00:10.000Z");
}

#[test]
fn a_server_at_another_address_or_in_another_pool_begins_anew() {
    let before = half_down();
    let after = pool(&[("10.0.0.1:80", 1), ("10.0.0.3:80", 1)], Some(http("/")));
    after.restore(&carried(&before), at(100));
    assert_eq!(states(&after), [HealthState::Up, HealthState::Unknown]);
    let mut saved = carried(&before);
    saved.servers[1].address = "10.0.0.9:80".to_owned();
    let after = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], Some(http("/")));
    after.restore(&saved, at(100));
    assert_eq!(states(&after), [HealthState::Up, HealthState::Unknown]);
    assert!(!after.servers[1].is_remembered());
}

#[test]
fn the_addresses_that_dns_gave_are_known_from_the_start_in_their_order() {
    let before = pool(&[("app.test:80", 1), ("gone.test:80", 1)], Some(http("/")));
    let addresses = ["[2001:db8::5]:80", "10.0.0.5:80"].map(|text| text.parse().expect("an address"));
    before.servers[0].relocate(&addresses, at(5));
    before.servers[0].answered_at(addresses[1]);
    find(&before, 0, CheckVerdict::Good, at(6));
    let after = pool(&[("app.test:80", 1), ("gone.test:80", 1)], Some(http("/")));
    assert_eq!(after.restore(&carried(&before), at(100)), []);
    assert_eq!(after.status(), before.status());
    assert_eq!(states(&after), [HealthState::Up, HealthState::WaitingForDns]);
    assert_eq!(after.servers[0].located().as_deref(), Some(&[addresses[1], addresses[0]][..]));
    assert!(after.servers[1].is_remembered(), "the start does not wait for DNS again");
}

#[test]
fn a_server_that_was_ejected_stays_so() {
    let before = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], None);
    let ejection = (0..3).find_map(|_| before.connection_failed(0, "refused", at(100)));
    assert!(ejection.is_some());
    let after = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], None);
    after.restore(&carried(&before), at(100));
    assert!(after.servers[0].passive.is_ejected() && !after.servers[1].passive.is_ejected());
    assert_eq!(after.status(), before.status());
}

#[test]
fn versions_that_know_one_address_of_a_name_understand_each_other() {
    let text = json!({
        "name": "farm",
        "servers": [{"name": "app.test:80", "address": "app.test:80", "located": "10.0.0.5:80",
                     "health": {"state": "up"}}],
    });
    let after = pool(&[("app.test:80", 1)], None);
    after.restore(&serde_json::from_value(text).expect("a saved pool"), at(100));
    assert_eq!(after.servers[0].located().as_deref(), Some(&["10.0.0.5:80".parse().expect("an address")][..]));
    let written = serde_json::to_value(after.save(&[])).expect("JSON");
    assert_eq!(written["servers"][0]["located"], "10.0.0.5:80");
}

#[test]
fn a_pool_that_was_empty_is_not_said_to_be_so_again() {
    let before = pool(&[("10.0.0.1:80", 1)], Some(http("/")));
    find(&before, 0, CheckVerdict::Bad, at(10));
    assert_eq!(before.turn(at(10)), Some(PoolTurn::Empty));
    let after = pool(&[("10.0.0.1:80", 1)], Some(http("/")));
    after.restore(&carried(&before), at(100));
    assert_eq!(after.turn(at(100)), None);
    find(&after, 0, CheckVerdict::Good, at(110));
    assert_eq!(after.turn(at(110)), Some(PoolTurn::Back { after: Duration::from_secs(100) }));
    assert_eq!(after.turn(at(110)), None);
}

#[test]
fn the_round_goes_on_where_it_was() {
    let servers = [("10.0.0.1:80", 5), ("10.0.0.2:80", 2), ("10.0.0.3:80", 1)];
    let before = pool(&servers, None);
    let mut balancer = Balancer::new(&before, 0);
    for _ in 0..3 {
        let _ = balancer.pick(&before, &Pick::default());
    }
    let saved = before.save(&[balancer.position()]);
    let after = pool(&servers, None);
    after.restore(&saved, at(1));
    let mut next = Balancer::new(&after, 0);
    for _ in 0..40 {
        assert_eq!(next.pick(&after, &Pick::default()), balancer.pick(&before, &Pick::default()));
    }
    let mut others: Vec<_> = (0..3).map(|thread| Balancer::new(&after, thread)).collect();
    let picks: Vec<_> = others.iter_mut().map(|other| other.pick(&after, &Pick::default())).collect();
    assert!(picks.iter().any(|pick| *pick != picks[0]), "threads are not in step: {picks:?}");
}

#[test]
fn what_is_not_understood_is_passed_over() {
    let text = json!({
        "name": "farm",
        "check": "GET /",
        "colour": "blue",
        "servers": [
            {"name": "10.0.0.1:80", "address": "10.0.0.1:80", "health": {"state": "resting", "since": 1}},
            {"name": "10.0.0.2:80", "address": "10.0.0.2:80", "mood": 3, "health": {"state": "down"}},
        ],
    });
    let saved: SavedPool = serde_json::from_value(text).expect("a saved pool");
    let after = pool(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 1)], Some(http("/")));
    after.restore(&saved, at(100));
    assert_eq!(states(&after), [HealthState::Unknown, HealthState::Down]);
}

fn words() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["up", "down", "unknown", "waiting for DNS", "ejected", ""]).prop_map(str::to_owned)
}

fn any_health() -> impl Strategy<Value = SavedHealth> {
    let change = (words(), words(), any::<u64>(), any::<u64>())
        .prop_map(|(from, to, at, lasted)| json!({"from": from, "to": to, "at": at, "lasted": lasted, "reason": "r"}));
    let last = (any::<u64>(), any::<Option<bool>>(), any::<u64>())
        .prop_map(|(at, healthy, took)| json!({"at": at, "healthy": healthy, "result": "x", "took_us": took}));
    let history = prop::collection::vec(change, 0..20);
    (words(), any::<u64>(), any::<u32>(), prop::option::of(last), history).prop_map(
        |(state, since, against, last, history)| {
            let saved = json!({
                "state": state, "since": since, "against": against, "last": last, "history": history, "new": [1],
            });
            serde_json::from_value(saved).expect("a saved pool")
        },
    )
}

const HOSTS: [&str; 5] = ["10.0.0.1:80", "10.0.0.2:80", "[::1]:80", "app.test:80", "b.test:443"];

fn any_server() -> impl Strategy<Value = SavedServer> {
    let name = prop::sample::select(&HOSTS[..]);
    let located = prop::sample::select(vec!["10.9.9.9:80", "[::9]:80"]);
    let located = (prop::option::of(located.clone()), prop::collection::vec(located, 0..3));
    let parsed = |address: &str| address.parse().expect("an address");
    (name.clone(), name, located, 0..5_u32, prop::collection::vec(any::<i64>(), 0..4), any_health()).prop_map(
        move |(name, address, (located, addresses), weight, credits, health)| SavedServer {
            name: name.to_owned(),
            address: address.to_owned(),
            located: located.map(parsed),
            addresses: addresses.into_iter().map(parsed).collect(),
            weight,
            removed: None,
            open: 0,
            credits,
            health,
            passive: SavedPassive::default(),
        },
    )
}

fn any_memory() -> impl Strategy<Value = SavedPool> {
    let check = prop::option::of(prop::sample::select(vec!["connect".to_owned(), "GET /".to_owned()]));
    (check, any::<Option<u64>>(), prop::collection::vec(any_server(), 0..6))
        .prop_map(|(check, empty_since, servers)| SavedPool { name: "farm".to_owned(), check, empty_since, servers })
}

fn any_pool() -> impl Strategy<Value = Pool> {
    let check = prop::option::of(prop::sample::select(vec![CheckKind::Connect, http("/"), http("/x")]));
    let servers = prop::collection::vec((prop::sample::select(&HOSTS[..]), 0..5_u32, any::<bool>()), 0..6);
    (check, servers).prop_map(|(kind, servers)| {
        let servers =
            servers.iter().map(|(host, weight, backup)| ServerSettings { backup: *backup, ..server(host, *weight) });
        let mut settings = settings(servers.collect());
        (settings.check, settings.rise, settings.fall) = (kind, 2, 3);
        Pool::new(settings, at(50))
    })
}

proptest! {
    #[test]
    fn the_configuration_wins_over_any_memory(saved in any_memory(), pool in any_pool(), threads in 1..5_usize) {
        let now = at(1_000_000);
        let settings = pool.settings.clone();
        pool.restore(&saved, now);
        prop_assert_eq!(&pool.settings, &settings);
        for (server, configured) in pool.servers.iter().zip(&settings.servers) {
            prop_assert_eq!(server.weight, configured.weight);
            let state = server.health.state();
            prop_assert_eq!(server.addresses().is_none(), state == HealthState::WaitingForDns);
            if let (None, Some(_)) = (&settings.check, server.addresses()) {
                prop_assert_eq!(state, HealthState::Up, "nothing is asked of it");
            }
            let known = |one: &SavedServer| one.name == server.name && one.address == server.configured();
            let of_other_check = saved.check != asked(&settings);
            if settings.check.is_some() && (of_other_check || !saved.servers.iter().any(known)) {
                prop_assert!(matches!(state, HealthState::Unknown | HealthState::WaitingForDns), "{state}");
            }
            let _ = server.status(); // times far away must not be its end
        }
        for thread in 0..threads {
            let mut balancer = Balancer::new(&pool, thread);
            let whole: i64 = pool.servers.iter().map(|server| i64::from(server.weight)).sum();
            prop_assert_eq!(balancer.position().iter().sum::<i64>(), 0);
            prop_assert!(balancer.position().iter().all(|credit| credit.abs() <= 3 * whole), "{balancer:?}");
            for _ in 0..5 {
                let picked = balancer.pick(&pool, &Pick::default());
                prop_assert!(picked.is_none_or(|index| pool.servers[index].addresses().is_some()));
            }
        }
    }

    #[test]
    fn what_was_taken_over_is_handed_on_as_it_is(saved in any_memory(), pool in any_pool()) {
        let now = at(1_000_000);
        pool.restore(&saved, now);
        let positions: Vec<_> = (0..3).map(|thread| Balancer::new(&pool, thread).position()).collect();
        let first = pool.save(&positions);
        let next = Pool::new(pool.settings.clone(), now);
        let transitions = next.restore(&first, now);
        prop_assert!(transitions.is_empty(), "{transitions:?}");
        let positions: Vec<_> = (0..3).map(|thread| Balancer::new(&next, thread).position()).collect();
        let second = next.save(&positions);
        prop_assert_eq!(&second.empty_since, &first.empty_since);
        for (first, second) in first.servers.iter().zip(&second.servers) {
            prop_assert_eq!(&first.health, &second.health);
            prop_assert_eq!(&first.located, &second.located);
            prop_assert_eq!(&first.addresses, &second.addresses);
        }
    }
}

#[test]
fn a_server_that_the_configuration_lacks_is_known_until_its_time_is_over_and_nothing_is_open_with_it() {
    let (now, keep) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000), Duration::from_secs(600));
    let before = Pool::new(settings(vec![server("10.0.0.1:80", 1), server("app.test:80", 1)]), now);
    let after = settings(vec![server("10.0.0.1:80", 1), server("10.0.0.2:80", 1)]);
    let removed = before.save(&[]).removed(&after, keep, now);
    let [one] = &removed[..] else { panic!("{removed:?}") };
    assert_eq!((&*one.name, one.weight, one.removed), ("app.test:80", 0, Some(now)));
    // the generation after that
    let servers = after.servers.iter().cloned().chain(removed.clone()).collect();
    let pool = std::sync::Arc::new(Pool::new(settings(servers), now));
    let names = |at| pool.save(&[]).removed(&after, keep, at).iter().map(|one| one.removed).collect::<Vec<_>>();
    let soon = now + keep - Duration::from_secs(1);
    assert_eq!(names(soon), [Some(now)]);
    assert!(names(now + keep).is_empty());
    let open = crate::pool::Open::new(pool.clone(), 2);
    assert_eq!(names(now + 9 * keep), [Some(now)]);
    // it is no server of the pool otherwise
    let count = |pool: &Pool| (pool.configured().count(), pool.servers_up(), pool.status().servers.len());
    assert_eq!(count(&pool), (2, 2, 3));
    drop(open);
    assert_eq!(count(&pool), (2, 2, 2));
    // one that comes back is as unknown as a new one
    let checked = |servers| Pool::new(PoolSettings { servers, ..checked(http("/")) }, now);
    let away = checked(removed.clone());
    let known = checked(vec![server("10.0.0.1:80", 1)]);
    find(&known, 0, CheckVerdict::Good, now);
    let gone = checked(known.save(&[]).removed(&settings(Vec::new()), keep, now));
    assert!(away.restore(&known.save(&[]), now).is_empty() && gone.restore(&known.save(&[]), now).is_empty());
    assert_eq!(gone.servers[0].health.state(), HealthState::Up);
    let back = checked(vec![server("10.0.0.1:80", 1)]);
    assert!(back.restore(&gone.save(&[]), now).is_empty());
    assert_eq!((back.servers[0].health.state(), back.servers[0].is_remembered()), (HealthState::Unknown, false));
    // and of a configuration that has it again
    let again = pool.save(&[]).removed(&settings(removed), keep, soon);
    assert_eq!(again.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["10.0.0.1:80", "10.0.0.2:80"]);
}

#[test]
fn of_servers_that_were_removed_a_bounded_number_is_known() {
    let now = SystemTime::now();
    let servers = (1..=200).map(|port| server(&format!("10.0.0.1:{port}"), 1)).collect();
    let saved = Pool::new(settings(servers), now).save(&[]);
    assert_eq!(saved.removed(&settings(Vec::new()), Duration::from_secs(1), now).len(), MOST_REMOVED);
}
