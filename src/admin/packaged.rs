//! The alert rules, the dashboard and the list of metrics ask for metrics, labels and values that exist.

use std::collections::BTreeSet;

use super::format::TextFormat;
use super::metrics::text;
use crate::control::status::ServiceStatus;
use crate::observe::metrics::counter_names;
use crate::observe::record::RecordNames;

const RULES: &str = include_str!("../../packaging/prometheus/segue.rules.yml");
const DASHBOARD: &str = include_str!("../../packaging/grafana/segue.json");
const LIST: &str = include_str!("../../docs/metrics.md");

/// A service with one of everything that has a metric.
fn everything() -> ServiceStatus {
    let one = |name: &str| vec![name.to_owned()];
    let names = RecordNames { listeners: one("http"), sites: one("*"), pools: vec![("farm".to_owned(), one("a"))] };
    // the place of a count stands for it: all but the first are above 0, and so all buckets are there
    let mut counters = serde_json::to_value(counter_names(&names).tree).expect("json");
    counters["records_limited"] = serde_json::json!({ "bad-request": 1 });
    let certificate = serde_json::json!({ "hosts": ["a.test"], "key": "ECDSA P-256", "from": "2026-01-01T00:00:00Z",
        "until": "2026-04-01T00:00:00Z" });
    let status = serde_json::json!({
        "generations": [{ "generation": 1, "state": "serving", "memory": 1, "worker": {
            "pools": [{ "name": "farm", "servers": [{ "name": "a", "state": "up" }] }],
            "certificates": [certificate],
        } }],
        "connections": { "listeners": { "http": {} } },
        "counters": counters,
    });
    serde_json::from_value(status).expect("a status")
}

/// The names of the metrics in `text`: a histogram has three kinds of series under its own name.
fn families(text: &str) -> BTreeSet<&str> {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    kinds.filter_map(|line| line.split(' ').next()).collect()
}

/// Each word that is the name of a metric, with what is behind it.
fn asked(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let starts = text.match_indices("segue_").chain(text.match_indices("process_")).map(|(at, _)| at);
    starts.filter(|at| !text[..*at].ends_with(|before: char| before.is_alphanumeric() || "_/".contains(before))).map(
        |at| {
            let end = text[at..].find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
            text[at..].split_at(end.unwrap_or(text.len() - at))
        },
    )
}

/// The values of the labels in braces that `behind` begins with, those of alternatives too.
fn values(behind: &str) -> Vec<(&str, &str)> {
    let matchers = behind.strip_prefix('{').and_then(|behind| behind.split('}').next()).unwrap_or_default();
    let pairs = matchers.split(',').filter_map(|matcher| {
        let (label, value) = matcher.split_once('=')?;
        Some((label.trim().trim_end_matches('!'), value.trim_start_matches('~').trim_matches(['"', '\\'])))
    });
    pairs.flat_map(|(label, values)| values.split('|').map(move |value| (label, value))).collect()
}

#[test]
fn rules_and_dashboard_ask_for_what_there_is() {
    let text = text(&everything(), TextFormat::Prometheus);
    let families = families(&text);
    for (name, behind) in asked(RULES).chain(asked(DASHBOARD)) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(families.contains(family), "{name} in {families:?}");
        for (label, value) in values(behind) {
            let there = value.starts_with('$') || text.contains(&format!("{label}=\"{value}\""));
            assert!(there, "{name} with {label}=\"{value}\"");
        }
    }
    assert!(asked(RULES).count() > 15 && asked(DASHBOARD).count() > 30);
}

#[test]
fn each_metric_is_in_the_list_and_the_list_has_no_other() {
    let text = text(&everything(), TextFormat::Prometheus);
    let listed: BTreeSet<_> = asked(LIST).map(|(name, _)| name).filter(|name| *name != "segue_").collect();
    assert_eq!(families(&text), listed);
}

#[test]
fn the_dashboard_is_json_and_no_two_panels_share_a_number() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let numbers: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("a number")).collect();
    assert_eq!(numbers.len(), panels.len());
}
