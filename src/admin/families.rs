//! Metrics as they are collected: families of series, which are not too many together. The library writes them.

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
/// Bytes of a line: most have fewer.
const LINE: usize = 128;
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
    series: Vec<(LabelValues, SeriesValue)>,
}

/// The values of all labels of a series in one text, each but the last with [`SEPARATOR`] behind it: thousands of them are
/// made for a scrape, and compared.
type LabelValues = String;

/// No value has it.
const SEPARATOR: char = '\u{1}';

#[derive(Debug)]
enum SeriesValue {
    Number(u64),
    Histogram(BucketCounts),
}

/// One family of numbers while its series are collected, in any order.
#[derive(Default)]
pub(super) struct Series {
    series: Vec<(LabelValues, u64)>,
    /// Of two with the same values of the labels the smaller one counts, and not the sum.
    is_least: bool,
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
        let lines = |(_, value): &(_, SeriesValue)| match value {
            SeriesValue::Number(_) => 1,
            SeriesValue::Histogram(_) => BucketCounts::SERIES,
        };
        let lines: usize = self.list.iter().flat_map(|family| &family.series).map(lines).sum();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::with_capacity(lines * LINE); // a text that grows is copied again and again
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
        collect: impl FnOnce(&mut Series),
    ) {
        self.numbers(FamilyHead { kind: MetricType::Counter, name, help, labels }, collect);
    }

    /// The same of numbers that go up and down.
    pub(super) fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        collect: impl FnOnce(&mut Series),
    ) {
        self.numbers(FamilyHead { kind: MetricType::Gauge, name, help, labels }, collect);
    }

    /// What is told by labels alone.
    pub(super) fn info(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        collect: impl FnOnce(&mut Series),
    ) {
        self.numbers(FamilyHead { kind: MetricType::Info, name, help, labels }, collect);
    }

    fn numbers(&mut self, head: FamilyHead, collect: impl FnOnce(&mut Series)) {
        let is_gauge = head.kind == MetricType::Gauge;
        let left = if is_gauge { &mut self.gauges_left } else { &mut self.counters_left };
        let mut series = Series::default();
        collect(&mut series);
        let mut series = series.merged();
        let room = if head.labels.is_empty() { series.len() } else { series.len().min(*left) };
        let beyond = series.split_off(room);
        *left = left.saturating_sub(series.len());
        self.folded += beyond.len();
        // the sum of states, or of moments, is neither
        if !is_gauge && !beyond.is_empty() {
            let (others, sum) = (others(head.labels), beyond.iter().map(|(_, value)| value).sum::<u64>());
            match series.iter_mut().find(|(values, _)| *values == others) {
                Some((_, there)) => *there += sum,
                None => series.push((others, sum)),
            }
        }
        let series = series.into_iter().map(|(values, value)| (values, SeriesValue::Number(value))).collect();
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
                series.push((joined(values.iter().map(String::as_str)), SeriesValue::Histogram(observed)));
            } else {
                self.folded += BucketCounts::SERIES;
                other.get_or_insert_default().add(&observed);
            }
        }
        series.extend(other.map(|other| (others(labels), SeriesValue::Histogram(other))));
        self.put(FamilyHead { kind: MetricType::Histogram, name, help, labels }, series);
    }

    fn put(&mut self, head: FamilyHead, series: Vec<(LabelValues, SeriesValue)>) {
        if !series.is_empty() {
            self.list.push(Family { head, series }); // one without a series says nothing
        }
    }
}

impl Series {
    /// Adds `value` to the series with these values of the labels.
    pub(super) fn add<const N: usize>(&mut self, values: [&str; N], value: u64) {
        self.series.push((joined(values.into_iter()), value));
    }

    /// The same in a family in which, of two with the same values of the labels, the smaller one counts.
    pub(super) fn add_least<const N: usize>(&mut self, values: [&str; N], value: u64) {
        self.is_least = true;
        self.add(values, value);
    }

    /// Each series once, by the values of its labels.
    fn merged(self) -> Vec<(LabelValues, u64)> {
        let Self { mut series, is_least } = self;
        series.sort_by(|(one, _), (other, _)| one.cmp(other)); // most of them are in this order already
        series.dedup_by(|(values, value), (kept, there)| {
            let is_same = values == kept;
            if is_same {
                *there = if is_least { (*there).min(*value) } else { *there + *value };
            }
            is_same
        });
        series
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
                let labels = head.labels.iter().copied().zip(values.split(SEPARATOR)).collect();
                write(&mut family, head.kind, &labels, value)?;
            }
        }
        Ok(())
    }
}

/// The values of labels as one text.
fn joined<'v>(values: impl Iterator<Item = &'v str> + Clone) -> LabelValues {
    let mut text = String::with_capacity(values.clone().map(|value| value.len() + 1).sum());
    for (at, value) in values.enumerate() {
        if at > 0 {
            text.push(SEPARATOR);
        }
        match value.contains(SEPARATOR) {
            true => text.extend(value.chars().filter(|char| *char != SEPARATOR)),
            false => text.push_str(value),
        }
    }
    text
}

fn others(labels: Labels) -> LabelValues {
    joined(labels.iter().map(|_| OTHER))
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
