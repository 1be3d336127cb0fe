//! Metrics as they are collected: families of series, which are not too many together. The library writes them.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::format::TextFormat;
use super::histogram::BucketCounts;
use crate::control::counter_tree::CounterTree;

/// Series of counters and histograms in one scrape, at most, beside those that stand for others: what is beyond counts as one
/// series of each metric, `other`. Gauges take none of this room, since their number changes with the configuration: a
/// counter must not be in `other` before a reload and by itself after it.
const MOST_COUNTERS: usize = 15_000;
/// The same of gauges; what is beyond is left out. With both there are fewer than 20,000 series.
const MOST_GAUGES: usize = 4_900;
/// The values of all labels of that one.
const OTHER: &str = "other";

/// Their names.
type Labels = &'static [&'static str];

/// The families so far, in the order of the text.
#[derive(Debug)]
pub(super) struct Families {
    list: Vec<Family>,
    /// Series of counters that there is room for.
    counters_left: usize,
    /// Of gauges.
    gauges_left: usize,
    /// Series that found none.
    folded: usize,
}

/// What is said of a family, whatever series it has.
#[derive(Clone, Copy, Debug)]
struct FamilyHead {
    kind: MetricType,
    name: &'static str,
    help: &'static str,
    labels: Labels,
}

/// One family.
#[derive(Debug)]
struct Family {
    head: FamilyHead,
    series: Vec<(Vec<String>, SeriesValue)>,
}

#[derive(Debug)]
enum SeriesValue {
    Number(u64),
    Histogram(BucketCounts),
}

/// One family of numbers while its series are collected, by the values of its labels.
pub(super) struct Series<'f> {
    head: FamilyHead,
    series: BTreeMap<Vec<String>, u64>,
    left: &'f mut usize,
    folded: &'f mut usize,
}

impl FamilyHead {
    /// Its name without what its kind and its unit add to it, and its unit.
    fn stem(&self) -> (&'static str, Option<Unit>) {
        let name = match self.kind {
            MetricType::Counter => self.name.strip_suffix("_total"),
            MetricType::Info => self.name.strip_suffix("_info"),
            _ => None,
        };
        let name = name.unwrap_or(self.name);
        let units = [("_bytes", Unit::Bytes), ("_seconds", Unit::Seconds)];
        let of_unit = units.into_iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, Some(unit))));
        of_unit.unwrap_or((name, None))
    }
}

impl Families {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), counters_left: MOST_COUNTERS, gauges_left: MOST_GAUGES, folded: 0 }
    }

    pub(super) fn folded(&self) -> usize {
        self.folded
    }

    /// All of them as text.
    pub(super) fn text(self, format: TextFormat) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        let written = match format {
            TextFormat::Prometheus => prometheus_text::encode(&mut text, &registry),
            TextFormat::OpenMetrics => text::encode(&mut text, &registry),
        };
        // a value and a label of any text can be written; without metrics there is no text
        written.map(|()| text).unwrap_or_default()
    }

    /// A family of counters; its unit is a part of its name.
    pub(super) fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        collect: impl FnOnce(&mut Series<'_>),
    ) {
        self.numbers(FamilyHead { kind: MetricType::Counter, name, help, labels }, collect);
    }

    /// The same of numbers that go up and down.
    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        collect: impl FnOnce(&mut Series<'_>),
    ) {
        self.numbers(FamilyHead { kind: MetricType::Gauge, name, help, labels }, collect);
    }

    /// What is told by labels alone.
    pub(super) fn info(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        collect: impl FnOnce(&mut Series<'_>),
    ) {
        self.numbers(FamilyHead { kind: MetricType::Info, name, help, labels }, collect);
    }

    fn numbers(&mut self, head: FamilyHead, collect: impl FnOnce(&mut Series<'_>)) {
        let left = if head.kind == MetricType::Gauge { &mut self.gauges_left } else { &mut self.counters_left };
        let mut series = Series { head, series: BTreeMap::new(), left, folded: &mut self.folded };
        collect(&mut series);
        let series = series.series.into_iter().map(|(values, value)| (values, SeriesValue::Number(value))).collect();
        self.put(head, series);
    }

    /// A family of histograms, each with the values of its labels.
    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        histograms: impl IntoIterator<Item = (Vec<String>, BucketCounts)>,
    ) {
        let (mut series, mut other) = (Vec::new(), None::<BucketCounts>);
        for (values, observed) in histograms {
            if let Some(left) = self.counters_left.checked_sub(BucketCounts::SERIES) {
                self.counters_left = left;
                series.push((values, SeriesValue::Histogram(observed)));
            } else {
                self.folded += BucketCounts::SERIES;
                other.get_or_insert_default().add(&observed);
            }
        }
        let others = vec![OTHER.to_owned(); labels.len()];
        series.extend(other.map(|other| (others, SeriesValue::Histogram(other))));
        self.put(FamilyHead { kind: MetricType::Histogram, name, help, labels }, series);
    }

    fn put(&mut self, head: FamilyHead, series: Vec<(Vec<String>, SeriesValue)>) {
        if !series.is_empty() {
            self.list.push(Family { head, series }); // one without a series says nothing
        }
    }
}

impl Series<'_> {
    /// Adds `value` to the series with these values of the labels.
    pub(super) fn add<const N: usize>(&mut self, values: [&str; N], value: u64) {
        let key: Vec<String> = values.into_iter().map(str::to_owned).collect();
        if let Some(there) = self.series.get_mut(&key) {
            *there += value;
        } else if *self.left > 0 || N == 0 {
            *self.left = self.left.saturating_sub(1);
            self.series.insert(key, value);
        } else {
            *self.folded += 1;
            if self.head.kind == MetricType::Gauge {
                return; // the sum of states, or of moments, is neither
            }
            *self.series.entry(vec![OTHER.to_owned(); self.head.labels.len()]).or_default() += value;
        }
    }

    /// The same; of two with the same values of the labels, the smaller one counts.
    pub(super) fn add_least<const N: usize>(&mut self, values: [&str; N], value: u64) {
        match self.series.get_mut(&values.map(str::to_owned)[..]) {
            Some(there) => *there = (*there).min(value),
            None => self.add(values, value),
        }
    }

    /// The counts below a name, each with that name as its last label.
    pub(super) fn add_all(&mut self, first: &[&str], counts: Option<&CounterTree>) {
        for (name, count) in counts.into_iter().flat_map(CounterTree::branches) {
            let Some(value) = count.count() else { continue };
            match *first {
                [one] => self.add([one, name], value),
                [one, two] => self.add([one, two, name], value),
                _ => self.add([name], value),
            }
        }
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { head, series } in &self.list {
            let (name, unit) = head.stem();
            let mut family = encoder.encode_descriptor(name, head.help, unit.as_ref(), head.kind)?;
            for (values, value) in series {
                let labels = head.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
                write(&mut family, head.kind, &labels, value)?;
            }
        }
        Ok(())
    }
}

fn write(
    family: &mut MetricEncoder<'_>,
    kind: MetricType,
    labels: &Vec<(&str, &str)>,
    value: &SeriesValue,
) -> fmt::Result {
    if kind == MetricType::Info {
        return family.encode_info(labels);
    }
    let mut one = family.encode_family(labels)?;
    match value {
        SeriesValue::Histogram(counts) => {
            one.encode_histogram::<NoLabelSet>(counts.sum(), counts.count(), &counts.buckets(), None)
        }
        SeriesValue::Number(count) if kind == MetricType::Counter => {
            one.encode_counter::<NoLabelSet, _, u64>(count, None)
        }
        SeriesValue::Number(number) => one.encode_gauge(number),
    }
}
