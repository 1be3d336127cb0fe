//! The generations as a table, and what keeps the old ones: for `segue status` and `segue generations`.

use std::time::Duration;

use serde_json::Value;

use crate::observe::Plain;

/// One line for each generation of a status, then what keeps those that accept nothing any more.
pub(super) fn generations(status: &Value) -> String {
    let list = list(&status["generations"]);
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(list.iter().map(row));
    let mut text = aligned(&rows);
    for generation in list {
        text.push_str(&keepers(generation));
    }
    text
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

fn row(generation: &Value) -> [String; HEADER.len()] {
    let connections = &generation["worker"]["connections"];
    let hash = generation["config_hash"].as_str().map(|hash| hash.get(..SHORT_HASH).unwrap_or(hash));
    [
        word(&generation["generation"]),
        word(&generation["state"]),
        age(&generation["since_ms"]),
        word(&generation["pid"]),
        word(&generation["version"]),
        hash.unwrap_or("-").to_owned(),
        word(&generation["connections"]),
        word(&connections["idle"]),
        word(&connections["exchanges"]),
        word(&connections["upgrades"]),
        word(&connections["tcp"]),
        word(&generation["summary"]),
    ]
}

/// Columns as wide as their longest word.
fn aligned(rows: &[[String; HEADER.len()]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..HEADER.len()).map(width).collect();
    let line = |row: &[String; HEADER.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What a generation waits for before it can end; nothing for one that serves, or has nothing left.
fn keepers(generation: &Value) -> String {
    let Some(oldest) = generation["worker"]["oldest"].as_array() else {
        return String::new();
    };
    let connections = &generation["worker"]["connections"];
    let kinds =
        [("exchanges", "exchange"), ("upgrades", "upgrade"), ("tcp", "tcp tunnel"), ("idle", "idle connection")];
    let counted = kinds.iter().filter_map(|(key, noun)| match connections[*key].as_u64() {
        None | Some(0) => None,
        Some(1) => Some(format!("1 {noun}")),
        Some(many) => Some(format!("{many} {noun}s")),
    });
    let counted: Vec<_> = counted.collect();
    if counted.is_empty() {
        return String::new();
    }
    let number = word(&generation["generation"]);
    let mut text = format!("\ngeneration {number} is kept by {}", counted.join(", "));
    text.push_str(if oldest.is_empty() { "\n" } else { "; the oldest:\n" });
    for one in oldest {
        text.push_str(&format!("  {:<8}  {}\n", age(&one["age_ms"]), word(&one["what"])));
    }
    text
}

fn age(millis: &Value) -> String {
    let whole = Duration::from_secs(millis.as_u64().unwrap_or_default() / 1000);
    humantime::format_duration(whole).to_string().replace(' ', "")
}

/// The elements, none for what is no list.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Text as it is, a dash for nothing.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // what a worker says must not move the cursor
        Value::String(text) => Plain(text).to_string(),
        other => other.to_string(),
    }
}

/// Digits of the hash of a configuration that tell two of them apart.
const SHORT_HASH: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_is_a_line_for_each_generation_and_what_keeps_the_old_ones() {
        let oldest = json!([
            { "kind": "exchanges", "age_ms": 14_200, "what": "GET app.test/x from 10.0.0.5" },
            { "kind": "tcp", "age_ms": 3_000, "what": "tcp tunnel of postgres from 10.0.0.7" },
        ]);
        let status = json!({
            "generations": [
                {
                    "generation": 1, "state": "draining", "since_ms": 61_000, "pid": 17, "version": "0.2.0",
                    "config_hash": "0123456789abcdef", "summary": "1 listener", "connections": 4,
                    "worker": {
                        "connections": { "open": 4, "idle": 1, "exchanges": 2, "upgrades": 0, "tcp": 1 },
                        "oldest": oldest,
                    },
                },
                { "generation": 2, "state": "starting", "since_ms": 300, "pid": 18 },
            ],
        });
        let expected = "\
GENERATION  STATE     SINCE  PID  VERSION  CONFIG    OPEN  IDLE  EXCHANGES  UPGRADES  TCP  CONFIGURATION
1           draining  1m1s   17   0.2.0    01234567  4     1     2          0         1    1 listener
2           starting  0s     18   -        -         -     -     -          -         -    -

generation 1 is kept by 2 exchanges, 1 tcp tunnel, 1 idle connection; the oldest:
  14s       GET app.test/x from 10.0.0.5
  3s        tcp tunnel of postgres from 10.0.0.7
";
        assert_eq!(generations(&status), expected);
    }

    #[test]
    fn a_generation_that_serves_is_kept_by_nothing() {
        let worker = json!({ "connections": { "open": 4, "exchanges": 2 }, "oldest": null });
        let status = json!({ "generations": [{ "generation": 1, "state": "serving", "worker": worker }] });
        assert!(!generations(&status).contains("kept"));
    }
}
