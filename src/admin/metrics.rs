//! The status of the service as metrics, and their text.
//!
//! The names of counters come from workers of any version: what is not known here has no metric.

use std::collections::BTreeMap;

use super::descriptors::Descriptors;
use super::families::Families;
use super::format::TextFormat;
use super::histogram::BucketCounts;
use crate::control::counter_tree::CounterTree;
use crate::control::status::{CertificateStatus, OpenConnections, ServerStatus, ServiceStatus};
use crate::observe::event::{EventKind, kind};

/// Events that are there with 0 before the first of them: in a series that begins with 1 Prometheus sees no increase.
const AWAITED: [&EventKind; 10] = [
    &kind::RELOAD_STARTED,
    &kind::RELOAD_DONE,
    &kind::RELOAD_UNCHANGED,
    &kind::RELOAD_REFUSED,
    &kind::ROLLED_BACK,
    &kind::WORKER_DIED,
    &kind::WORKER_HUNG,
    &kind::WORKER_UNFIT,
    &kind::HURRIED,
    &kind::SUPERVISOR_WARNING,
];

/// What is said of the latency of sites, pools and servers.
const PHASES: &str = "Time of exchanges: connect, to the connection that the last attempt opened; response, from the connection to the head of the response; whole, from the opening to the end.";

/// All metrics.
#[must_use]
pub fn text(status: &ServiceStatus, format: TextFormat) -> String {
    let mut metrics = Families::new();
    of_service(&mut metrics, status);
    of_process(&mut metrics);
    if let Some(connections) = &status.connections {
        of_connections(&mut metrics, connections);
    }
    of_servers(&mut metrics, status);
    of_certificates(&mut metrics, status);
    of_life(&mut metrics, &status.counters);
    of_listeners(&mut metrics, &status.counters);
    of_sites(&mut metrics, &status.counters);
    of_pools(&mut metrics, &status.counters);
    of_phases(&mut metrics, &status.counters);
    let (folded, help) =
        (metrics.folded(), "Series that count as `other`, or are left out, because there are too many.");
    metrics.gauge("segue_series_folded", help, &[], |family| family.add([], folded as u64));
    metrics.text(format)
}

fn of_service(metrics: &mut Families, status: &ServiceStatus) {
    metrics.info("segue_info", "The version of the program of the supervisor.", &["version"], |family| {
        family.add([&status.supervisor.version], 1);
    });
    metrics.gauge("segue_generations", "Generations that have a process, by state.", &["state"], |family| {
        ["starting", "serving", "parked", "draining"].iter().for_each(|state| family.add([state], 0));
        status.generations.iter().for_each(|one| family.add([&one.state], 1));
    });
    metrics.gauge("segue_serving_generation", "The number of the generation that serves.", &[], |family| {
        status.serving().into_iter().for_each(|one| family.add([], one.generation));
    });
    metrics.gauge("segue_workers_memory_bytes", "Memory of the processes of all generations.", &[], |family| {
        status.generations.iter().filter_map(|one| one.memory).for_each(|bytes| family.add([], bytes));
    });
}

fn of_process(metrics: &mut Families) {
    let Some(Descriptors { open, most }) = Descriptors::now() else { return };
    // the names that every program has them under
    metrics.gauge("process_open_fds", "Open descriptors of the worker that serves.", &[], |family| {
        family.add([], open);
    });
    metrics.gauge("process_max_fds", "Descriptors that a worker may have open.", &[], |family| {
        most.into_iter().for_each(|most| family.add([], most));
    });
}

fn of_life(metrics: &mut Families, counters: &CounterTree) {
    let help = "What happened in the life of the service, as PROXY_EVENT of the journal says it: reloads and their ends, roll-backs.";
    metrics.counter("segue_events_total", help, &["event"], |family| {
        AWAITED.iter().for_each(|kind| family.add([kind.name], 0));
        family.add_all(&[], counters.get("events"));
    });
    let dropped = counters.get("records_dropped").and_then(CounterTree::count);
    metrics.counter("segue_records_dropped_total", "Journal records that were given up.", &[], |family| {
        dropped.into_iter().for_each(|count| family.add([], count));
    });
    let help = "Journal records that a limit left out, by the reason of the end that they would have told.";
    metrics.counter("segue_records_limited_total", help, &["reason"], |family| {
        family.add_all(&[], counters.get("records_limited"));
    });
}

fn of_connections(metrics: &mut Families, connections: &OpenConnections) {
    let help = "Client connections that are open, by what is on them.";
    metrics.gauge("segue_connections", help, &["listener", "state"], |family| {
        for (listener, open) in &connections.listeners {
            let kinds =
                [("idle", open.idle), ("exchange", open.exchanges), ("upgrade", open.upgrades), ("tcp", open.tcp)];
            kinds.into_iter().for_each(|(kind, count)| family.add([listener, kind], count));
        }
    });
}

fn of_listeners(metrics: &mut Families, counters: &CounterTree) {
    const ONE: &[&str] = &["listener"];
    let listeners: Vec<_> = branches(counters.get("listeners")).collect();
    let mut simple = |name: &'static str, help: &'static str, path: &[&str]| {
        metrics.counter(name, help, ONE, |family| {
            for (listener, tree) in &listeners {
                let count = path.iter().try_fold(*tree, |tree, step| tree.get(step)).and_then(CounterTree::count);
                count.into_iter().for_each(|count| family.add([listener], count));
            }
        });
    };
    simple("segue_connections_accepted_total", "Client connections accepted.", &["connections", "accepted"]);
    simple("segue_connections_closed_total", "Client connections closed.", &["connections", "closed"]);
    simple(
        "segue_connections_empty_total",
        "Client connections that ended without a request.",
        &["connections", "empty"],
    );
    simple(
        "segue_connections_evicted_total",
        "Idle client connections closed for new ones.",
        &["connections", "evicted"],
    );
    simple(
        "segue_connections_moved_total",
        "Moves of client connections to another generation.",
        &["connections", "moved_in"],
    );
    simple("segue_received_bytes_total", "Bytes from clients.", &["bytes_in"]);
    simple("segue_sent_bytes_total", "Bytes to clients.", &["bytes_out"]);
    let mut by = |name: &'static str, help: &'static str, labels: &'static [&'static str], key: &str| {
        metrics.counter(name, help, labels, |family| {
            listeners.iter().for_each(|(listener, tree)| family.add_all(&[listener], tree.get(key)));
        });
    };
    by("segue_exchanges_total", "Exchanges, by class of status.", &["listener", "class"], "exchanges");
    by("segue_heads_refused_total", "Request heads refused, by status.", &["listener", "status"], "heads_refused");
    by("segue_tls_handshakes_total", "TLS handshakes of clients, by their end.", &["listener", "end"], "handshakes");
    let latencies = listeners
        .iter()
        .filter_map(|(name, tree)| Some((vec![(*name).to_owned()], BucketCounts::of(tree.get("latency")?))));
    let help = "Time of exchanges with a response, from their opening to their end.";
    metrics.histogram("segue_exchange_seconds", help, &["listener"], latencies);
}

fn of_sites(metrics: &mut Families, counters: &CounterTree) {
    let help = "Exchanges of a site, by class of status.";
    metrics.counter("segue_site_exchanges_total", help, &["site", "class"], |family| {
        branches(counters.get("sites")).for_each(|(site, tree)| family.add_all(&[site], tree.get("exchanges")));
    });
}

fn of_pools(metrics: &mut Families, counters: &CounterTree) {
    let pools: Vec<_> = branches(counters.get("pools")).collect();
    metrics.counter(
        "segue_pool_exchanges_total",
        "Exchanges of a pool, by class of status.",
        &["pool", "class"],
        |family| {
            pools.iter().for_each(|(pool, tree)| family.add_all(&[pool], tree.get("exchanges")));
        },
    );
    metrics.counter("segue_pool_retries_total", "Attempts after the first one of an exchange.", &["pool"], |family| {
        for (pool, tree) in &pools {
            let retries = tree.get("retries").and_then(CounterTree::count);
            retries.into_iter().for_each(|count| family.add([pool], count));
        }
    });
    metrics.histogram("segue_pool_exchange_seconds", PHASES, &["pool", "phase"], pools.iter().flat_map(of_pool));
    let mut of_servers = |name: &'static str, help: &'static str, labels: &'static [&'static str], key: &str| {
        metrics.counter(name, help, labels, |family| {
            for (pool, tree) in &pools {
                branches(tree.get("servers")).for_each(|(server, tree)| family.add_all(&[pool, server], tree.get(key)));
            }
        });
    };
    let class = "Responses of a server, by class of status.";
    of_servers("segue_server_exchanges_total", class, &["pool", "server", "class"], "exchanges");
    let outcome = "Attempts on a server, by what came of them.";
    of_servers("segue_server_attempts_total", outcome, &["pool", "server", "outcome"], "attempts");
}

/// The latency of a pool by phase: of its servers, and of exchanges that none of them was asked for.
fn of_pool((pool, tree): &(&str, &CounterTree)) -> impl Iterator<Item = (Vec<String>, BucketCounts)> {
    let mut phases = BTreeMap::<&str, BucketCounts>::new();
    for (_, server) in branches(tree.get("servers")) {
        branches(server.get("latency"))
            .for_each(|(phase, tree)| phases.entry(phase).or_default().add(&BucketCounts::of(tree)));
    }
    if let Some(unserved) = tree.get("unserved") {
        phases.entry("whole").or_default().add(&BucketCounts::of(unserved));
    }
    phases.into_iter().map(|(phase, counts)| (vec![(*pool).to_owned(), phase.to_owned()], counts))
}

/// The latency of sites and servers by phase. These are the most series, and so the last to get room.
fn of_phases(metrics: &mut Families, counters: &CounterTree) {
    let of_site = |(site, tree): (&str, &CounterTree)| {
        let phases = branches(tree.get("latency"));
        phases
            .map(|(phase, tree)| (vec![site.to_owned(), phase.to_owned()], BucketCounts::of(tree)))
            .collect::<Vec<_>>()
    };
    let sites = branches(counters.get("sites")).flat_map(of_site);
    metrics.histogram("segue_site_exchange_seconds", PHASES, &["site", "phase"], sites);
    let servers = branches(counters.get("pools"))
        .flat_map(|(pool, tree)| branches(tree.get("servers")).map(move |(server, tree)| (pool, server, tree)));
    let of_server = |(pool, server, tree): (&str, &str, &CounterTree)| {
        let phases = branches(tree.get("latency"));
        let labels = |phase: &str| [pool, server, phase].map(str::to_owned).to_vec();
        phases.map(|(phase, tree)| (labels(phase), BucketCounts::of(tree))).collect::<Vec<_>>()
    };
    let labels = &["pool", "server", "phase"];
    metrics.histogram("segue_server_exchange_seconds", PHASES, labels, servers.flat_map(of_server));
}

/// The servers of the generation that serves.
fn of_servers(metrics: &mut Families, status: &ServiceStatus) {
    let pools = status.serving_worker().map(|worker| worker.pools.as_slice()).unwrap_or_default();
    let mut of_each = |name: &'static str, help: &'static str, value: &dyn Fn(&ServerStatus) -> u64| {
        metrics.gauge(name, help, &["pool", "server"], |family| {
            for pool in pools {
                let servers = pool.servers.iter().filter(|server| !server.removed);
                servers.for_each(|server| family.add([&pool.name, &server.name], value(server)));
            }
        });
    };
    of_each("segue_server_up", "Whether a server is up: 1, or 0.", &|server| u64::from(server.health.state == "up"));
    let ejected = "Whether a server that is up gets no requests because its connections failed: 1, or 0.";
    of_each("segue_server_ejected", ejected, &|server| u64::from(server.ejected.is_some()));
    of_each("segue_server_weight", "The share of a server.", &|server| u64::from(server.weight));
    of_each(
        "segue_server_open_attempts",
        "Attempts on a server that are open in the generation that serves.",
        &|server| server.open_attempts,
    );
}

fn of_certificates(metrics: &mut Families, status: &ServiceStatus) {
    let certificates = status.serving_worker().map(|worker| worker.certificates.as_slice()).unwrap_or_default();
    let mut moment = |name: &'static str, help: &'static str, at: &dyn Fn(&CertificateStatus) -> Option<&str>| {
        metrics.gauge(name, help, &["host", "key"], |family| {
            for certificate in certificates {
                let Some(at) = at(certificate).and_then(seconds_since_1970) else { continue };
                let key = certificate.key.as_deref().unwrap_or_default();
                certificate.hosts.iter().for_each(|host| family.add_least([host, key], at));
            }
        });
    };
    let expires = "When the certificate of a host expires, in seconds since 1970.";
    moment("segue_certificate_expiry_timestamp_seconds", expires, &|one| one.until.as_deref());
    let begins = "When the certificate of a host begins to hold, in seconds since 1970.";
    moment("segue_certificate_start_timestamp_seconds", begins, &|one| one.from.as_deref());
}

fn seconds_since_1970(moment: &str) -> Option<u64> {
    let moment = humantime::parse_rfc3339_weak(moment).ok()?;
    moment.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn branches(tree: Option<&CounterTree>) -> impl Iterator<Item = (&str, &CounterTree)> {
    tree.into_iter().flat_map(CounterTree::branches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::{GenerationStatus, HealthStatus, PoolStatus, WorkerStatus};

    fn status(servers: usize) -> ServiceStatus {
        let names = |index: usize| format!("10.0.{}.{}:80", index / 256, index % 256);
        let server = |index| ServerStatus {
            name: names(index),
            health: HealthStatus { state: "up".to_owned(), ..HealthStatus::default() },
            weight: 1,
            ..ServerStatus::default()
        };
        let pool = PoolStatus {
            name: "farm".to_owned(),
            servers: (0..servers).map(server).collect(),
            ..PoolStatus::default()
        };
        let worker = WorkerStatus { pools: vec![pool], ..WorkerStatus::default() };
        let counters = serde_json::json!({
            "listeners": { "http": { "bytes_in": 7, "connections": { "accepted": 3 }, "exchanges": { "2xx": 5, "5xx": 1 },
                "latency": { "1000": 2, "2500": 1, "longer": 1, "sum_us": 12_003_000 } } },
            "sites": { "*": { "exchanges": { "2xx": 5 }, "latency": { "response": { "2500": 5, "sum_us": 9_000 } } } },
            "pools": { "farm": { "retries": 2, "unserved": { "longer": 1, "sum_us": 11_000_000 }, "servers": (0..servers)
                .map(|index| (names(index), serde_json::json!({ "exchanges": { "2xx": 1, "5xx": 0 },
                    "latency": { "whole": { "1000": 1, "sum_us": 500 } } })))
                .collect::<serde_json::Map<_, _>>() } },
        });
        ServiceStatus {
            generations: vec![GenerationStatus {
                generation: 4,
                state: "serving".to_owned(),
                worker: Some(worker),
                ..GenerationStatus::default()
            }],
            counters: serde_json::from_value(counters).expect("counters"),
            ..ServiceStatus::default()
        }
    }

    #[test]
    fn counters_and_states_are_series_with_the_names_as_labels() {
        let text = text(&status(2), TextFormat::Prometheus);
        for line in [
            "# TYPE segue_exchanges_total counter",
            "segue_exchanges_total{listener=\"http\",class=\"2xx\"} 5",
            "segue_received_bytes_total{listener=\"http\"} 7",
            "segue_pool_retries_total{pool=\"farm\"} 2",
            "segue_server_up{pool=\"farm\",server=\"10.0.0.1:80\"} 1",
            "segue_serving_generation 4",
            "segue_site_exchanges_total{site=\"*\",class=\"2xx\"} 5",
            "segue_exchange_seconds_bucket{listener=\"http\",le=\"0.001\"} 2",
            "segue_exchange_seconds_bucket{listener=\"http\",le=\"10\"} 3",
            "segue_exchange_seconds_bucket{listener=\"http\",le=\"+Inf\"} 4",
            "segue_exchange_seconds_count{listener=\"http\"} 4",
            "segue_exchange_seconds_sum{listener=\"http\"} 12.003",
            "segue_site_exchange_seconds_bucket{site=\"*\",phase=\"response\",le=\"0.001\"} 0",
            "segue_site_exchange_seconds_bucket{site=\"*\",phase=\"response\",le=\"0.0025\"} 5",
            "segue_server_exchange_seconds_count{pool=\"farm\",server=\"10.0.0.1:80\",phase=\"whole\"} 1",
            "segue_pool_exchange_seconds_bucket{pool=\"farm\",phase=\"whole\",le=\"10\"} 2",
            "segue_pool_exchange_seconds_count{pool=\"farm\",phase=\"whole\"} 3",
            "segue_pool_exchange_seconds_sum{pool=\"farm\",phase=\"whole\"} 11.001",
            "segue_series_folded 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        }
    }

    #[test]
    fn open_metrics_has_units_apart_and_names_families_without_what_their_kind_adds() {
        let text = text(&status(1), TextFormat::OpenMetrics);
        let lines: Vec<_> = text.lines().collect();
        for line in [
            "# TYPE segue info",
            "segue_info{version=\"\"} 1",
            "# TYPE segue_exchanges counter",
            "segue_exchanges_total{listener=\"http\",class=\"2xx\"} 5",
            "# UNIT segue_received_bytes bytes",
            "segue_received_bytes_total{listener=\"http\"} 7",
            "# TYPE segue_exchange_seconds histogram",
            "# UNIT segue_exchange_seconds seconds",
            "segue_exchange_seconds_bucket{le=\"10.0\",listener=\"http\"} 3",
            "segue_exchange_seconds_bucket{le=\"+Inf\",listener=\"http\"} 4",
        ] {
            assert!(lines.contains(&line), "{line} in {text}");
        }
        assert_eq!(lines.last(), Some(&"# EOF"));
    }

    #[test]
    fn what_is_beyond_the_most_series_counts_as_one_and_nothing_is_lost() {
        let text = text(&status(10_000), TextFormat::Prometheus);
        let series: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(series.len() < 20_000, "{} series", series.len());
        let values = series.iter().filter(|line| line.starts_with("segue_server_exchanges_total{"));
        let sum: f64 =
            values.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum();
        assert_eq!(sum, 10_000.0);
        assert!(text.contains("segue_server_exchanges_total{pool=\"other\",server=\"other\",class=\"other\"} "));
        let other = "segue_server_exchange_seconds_count{pool=\"other\",server=\"other\",phase=\"other\"} 10000";
        assert!(text.lines().any(|line| line == other));
        assert!(!text.contains("segue_server_up{pool=\"other\"") && !text.contains("segue_series_folded 0"));
    }

    #[test]
    fn a_reload_gives_and_takes_no_room_of_counters() {
        let counters = |status: &ServiceStatus| -> Vec<String> {
            let text = text(status, TextFormat::Prometheus);
            let counters = text.lines().filter(|line| line.contains("_total{") || line.contains("_seconds_count{"));
            counters.map(str::to_owned).collect()
        };
        let quiet = status(10_000);
        let mut reloading = quiet.clone();
        for (generation, state) in [(5, "starting"), (2, "draining"), (3, "parked")] {
            let state = state.to_owned();
            reloading.generations.insert(0, GenerationStatus { generation, state, ..GenerationStatus::default() });
        }
        assert_eq!(counters(&quiet), counters(&reloading));
        let mut fewer = quiet.clone();
        fewer.generations[0].worker = status(3).generations[0].worker.clone();
        assert_eq!(counters(&quiet), counters(&fewer));
    }
}
