//! The generations as a table, and what keeps the old ones: for `segue status` and `segue generations`.

use std::time::Duration;

use serde::Serialize;

use crate::control::status::{GenerationStatus, OpenConnections};
use crate::observe::{Plain, Plural};

/// One line for each generation of a status, then what keeps those that accept nothing any more.
pub(super) fn generations(list: &[GenerationStatus]) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(list.iter().map(row));
    let mut text = aligned(&rows);
    for generation in list {
        text.push_str(&keepers(generation));
    }
    text
}

/// The same as JSON, for people and programs.
pub(super) fn json(status: &impl Serialize) -> String {
    serde_json::to_string_pretty(status).unwrap_or_default()
}

const HEADER: [&str; 12] = [
    "GENERATION",
    "STATE",
    "SINCE",
    "PID",
    "VERSION",
    "CONFIG",
    "OPEN",
    "IDLE",
    "EXCHANGES",
    "UPGRADES",
    "TCP",
    "CONFIGURATION",
];

fn row(generation: &GenerationStatus) -> [String; HEADER.len()] {
    let connections = generation.worker.as_ref().and_then(|worker| worker.connections.as_ref());
    let kind = |count: fn(&OpenConnections) -> u64| or_dash(connections.map(count));
    let hash = generation.config_hash.as_deref().map(|hash| hash.get(..SHORT_HASH).unwrap_or(hash));
    // a worker may be of another program: what it sends must not move the cursor
    let text = |text: Option<&str>| or_dash(text.map(Plain));
    [
        generation.generation.to_string(),
        text(Some(&generation.state)),
        age(generation.since_ms),
        generation.pid.to_string(),
        text(generation.version.as_deref()),
        text(hash),
        or_dash(generation.connections),
        kind(|connections| connections.idle),
        kind(|connections| connections.exchanges),
        kind(|connections| connections.upgrades),
        kind(|connections| connections.tcp),
        text(generation.summary.as_deref()),
    ]
}

/// The rows with their columns under each other.
pub(super) fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..COLUMNS).map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What a generation waits for before it can end; empty for one that serves, or has no connections.
fn keepers(generation: &GenerationStatus) -> String {
    let Some(worker) = &generation.worker else { return String::new() };
    let (Some(oldest), Some(connections)) = (&worker.oldest, &worker.connections) else {
        return String::new();
    };
    let kinds = [
        (connections.exchanges, "exchange"),
        (connections.upgrades, "upgrade"),
        (connections.tcp, "tcp tunnel"),
        (connections.idle, "idle connection"),
    ];
    let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
    let counted: Vec<_> = kinds.map(|(count, noun)| Plural(count, noun).to_string()).collect();
    if counted.is_empty() {
        return String::new();
    }
    let mut text = format!("\ngeneration {} is kept by {}", generation.generation, counted.join(", "));
    text.push_str(if oldest.is_empty() { "\n" } else { "; the oldest:\n" });
    for one in oldest {
        text.push_str(&format!("  {:<8}  {}\n", age(one.age_ms), Plain(&one.what)));
    }
    text
}

fn age(millis: u64) -> String {
    humantime::format_duration(Duration::from_secs(millis / 1000)).to_string().replace(' ', "")
}

/// The value, or a dash for none.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Digits of the hash of a configuration that tell two of them apart.
const SHORT_HASH: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table(list: serde_json::Value) -> String {
        generations(&serde_json::from_value::<Vec<_>>(list).expect("generations"))
    }

    #[test]
    fn there_is_a_line_for_each_generation_and_what_keeps_the_old_ones() {
        let oldest = json!([
            { "kind": "exchanges", "age_ms": 14_200, "what": "GET app.test/x from 10.0.0.5" },
            { "kind": "tcp", "age_ms": 3_000, "what": "tcp tunnel of postgres from 10.0.0.7" },
        ]);
        let list = json!([
                {
                    "generation": 1, "state": "draining", "since_ms": 61_000, "pid": 17, "version": "0.2.0",
                    "config_hash": "0123456789abcdef", "summary": "1 listener", "connections": 4,
                    "worker": {
                        "connections": { "open": 4, "idle": 1, "exchanges": 2, "upgrades": 0, "tcp": 1 },
                        "oldest": oldest,
                    },
                },
                { "generation": 2, "state": "starting", "since_ms": 300, "pid": 18 },
        ]);
        let expected = "\
GENERATION  STATE     SINCE  PID  VERSION  CONFIG    OPEN  IDLE  EXCHANGES  UPGRADES  TCP  CONFIGURATION
1           draining  1m1s   17   0.2.0    01234567  4     1     2          0         1    1 listener
2           starting  0s     18   -        -         -     -     -          -         -    -

generation 1 is kept by 2 exchanges, 1 tcp tunnel, 1 idle connection; the oldest:
  14s       GET app.test/x from 10.0.0.5
  3s        tcp tunnel of postgres from 10.0.0.7
";
        assert_eq!(table(list), expected);
    }

    #[test]
    fn a_generation_that_serves_is_kept_by_nothing() {
        let worker = json!({ "connections": { "open": 4, "exchanges": 2 }, "oldest": null });
        let list = json!([{ "generation": 1, "state": "serving", "worker": worker }]);
        assert!(!table(list).contains("kept"));
    }
}
