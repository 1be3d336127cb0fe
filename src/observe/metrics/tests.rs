use std::os::fd::OwnedFd;

use serde_json::{Value, json};

use super::*;
use crate::control::statistics::{SharedStatistics, StatisticsReader};
use crate::observe::record::Record;
use crate::observe::record::tests::retried;

fn names() -> RecordNames {
    RecordNames {
        listeners: vec!["http".into()],
        sites: vec![],
        pools: vec![("farm".into(), vec!["a".into(), "b".into()])],
    }
}

/// Each count of a tree, with the path to it.
fn leaves(path: &str, tree: &Value, all: &mut Vec<(String, Value)>) {
    match tree {
        Value::Object(names) => names.iter().for_each(|(name, tree)| leaves(&format!("{path}/{name}"), tree, all)),
        count => all.push((path.to_owned(), count.clone())),
    }
}

fn count_retried(counters: &Counters) {
    let Record { listener, site, pool, status, timers, bytes_in, bytes_out, attempts, .. } = retried();
    let attempts = &attempts;
    counters.exchange(&Counted { listener, site, pool, status, timers, bytes_in, bytes_out, attempts });
}

#[test]
fn sums_run_over_all_threads() {
    let threads = [Counters::alone(&names()), Counters::alone(&names())];
    for thread in &threads {
        thread.accepted(0);
        thread.head_refused(0, 431);
        count_retried(thread);
    }
    threads[0].closed(0);
    let totals = CounterTotals::sum(&threads);
    assert_eq!((totals.open(), totals.exchanges()), (1, 2));
    let json =
        serde_json::to_value(totals.tree(&names(), &Unwritten { dropped: 5, ..Unwritten::default() })).expect("json");
    assert_eq!(json["listeners"]["http"]["heads_refused"]["431"], 2);
    assert_eq!(json["pools"]["farm"]["retries"], 2);
    assert_eq!(json["pools"]["farm"]["servers"]["a"]["attempts"]["connect-failed"], 2);
    assert_eq!(json["pools"]["farm"]["servers"]["a"]["exchanges"]["2xx"], 0);
    assert_eq!(json["pools"]["farm"]["servers"]["b"]["exchanges"]["2xx"], 2);
    assert_eq!(json["records_dropped"], 5);
}

#[test]
fn latency_is_told_by_phase_of_the_site_and_of_the_server_of_the_last_attempt() {
    let names = RecordNames { sites: vec!["*".into()], ..names() };
    let counters = Counters::alone(&names);
    count_retried(&counters);
    let idle = [AttemptRecord { server: 1, reused: true, outcome: Outcome::Responded, took: 500 }];
    let timers = Timers { connected: 1, sent: 20, responded: 500, total: 600, ..Timers::default() };
    let counted = Counted {
        listener: 0,
        site: Some(0),
        pool: Some(0),
        status: 200,
        timers,
        bytes_in: 0,
        bytes_out: 0,
        attempts: &idle,
    };
    counters.exchange(&counted);
    counters.exchange(&Counted {
        status: 503,
        timers: Timers { total: 7, ..Timers::default() },
        attempts: &[],
        ..counted
    });
    let tree = CounterTotals::sum(&[counters]).tree(&names, &Unwritten::default());
    let json = serde_json::to_value(tree).expect("json");
    let server = json!({ "connect": { "1000": 1, "sum_us": 400 }, "response": { "1000": 1, "2500": 1, "sum_us": 2_779 },
        "whole": { "1000": 1, "5000": 1, "sum_us": 3_849 } });
    let farm = &json["pools"]["farm"];
    assert_eq!(farm["servers"]["b"]["latency"], server);
    assert_eq!(farm["servers"]["a"]["latency"]["whole"], json!({ "sum_us": 0 }));
    assert_eq!(farm["unserved"], json!({ "1000": 1, "sum_us": 7 }));
    let whole = json!({ "1000": 2, "5000": 1, "sum_us": 3_856 });
    assert_eq!(
        json["sites"]["*"]["latency"],
        json!({ "connect": server["connect"], "response": server["response"], "whole": whole })
    );
}

#[test]
fn what_is_counted_can_be_read_by_another_process() {
    let statistics = SharedStatistics::new(2, &counter_names(&names())).expect("memory");
    let reading = StatisticsReader::from(OwnedFd::from(statistics.file().try_clone().expect("dup")));
    let threads = [Counters::new(&names(), statistics.of_thread(0)), Counters::new(&names(), statistics.of_thread(1))];
    for thread in &threads {
        thread.accepted(0);
        thread.busy(0, Busy::Exchange);
        thread.head_refused(0, 431);
        count_retried(thread);
    }
    statistics.of_thread(0).count(counter_names(&names()).counts - 1).set(5);
    let told = CounterTotals::sum(&threads).tree(&names(), &Unwritten { dropped: 5, ..Unwritten::default() });
    let counted = serde_json::to_value(reading.counted()).expect("json");
    // an empty bucket has no name in the one, and counts 0 in the other
    let found = |at: &str| counted.pointer(at).filter(|count| **count != 0).cloned();
    let mut all = Vec::new();
    leaves("", &serde_json::to_value(told).expect("json"), &mut all);
    for (path, count) in all {
        assert_eq!(found(&path).unwrap_or_default(), if count == 0 { Value::Null } else { count }, "{path}");
    }
    assert_eq!(counted["pools"]["farm"]["servers"]["b"]["latency"]["whole"]["5000"], 2);
}

#[test]
fn connections_are_told_by_what_they_are_busy_with_and_those_that_moved_are_counted_once() {
    let threads = [Counters::alone(&names()), Counters::alone(&names())];
    (0..3).for_each(|_| threads[0].accepted(0));
    threads[1].arrived(0);
    threads[0].left(0);
    threads[0].busy(0, Busy::Exchange);
    threads[1].busy(0, Busy::Exchange);
    threads[1].idle(0, Busy::Exchange);
    threads[1].busy(0, Busy::Upgrade);
    let totals = CounterTotals::sum(&threads);
    let connections = totals.connections(&names());
    let expected = OpenConnections { open: 3, idle: 1, exchanges: 1, upgrades: 1, ..OpenConnections::default() };
    assert_eq!(connections.listeners["http"], expected);
    assert_eq!((connections.open, connections.idle), (3, 1));
    let counted = serde_json::to_value(totals.tree(&names(), &Unwritten::default())).expect("json");
    assert_eq!(
        counted["listeners"]["http"]["connections"],
        json!({"accepted": 3, "closed": 0, "empty": 0, "evicted": 0, "moved_in": 1, "moved_out": 1})
    );
}

#[test]
fn an_index_without_a_name_counts_nothing() {
    let counters = Counters::alone(&RecordNames::default());
    counters.accepted(3);
    count_retried(&counters);
    assert_eq!(CounterTotals::sum(&[counters]).open(), 0);
}
