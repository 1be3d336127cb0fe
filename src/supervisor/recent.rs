//! The last hour in figures and events, for the admin API. The supervisor keeps it, because it outlives the workers.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::generations::Generations;
use super::totals::{self, Totals};
use crate::control::counter_tree::CounterTree;
use crate::control::recent::{HistoryPoint, INTERVAL_S, Recent, RecentEvent};
use crate::observe::event::Event;

/// An hour.
const MOST_POINTS: usize = 360;
const MOST_EVENTS: usize = 200;
/// In characters: what a reload changed are lines below the first.
const LONGEST_TEXT: usize = 3_000;

/// Points and events.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RecentHistory {
    points: VecDeque<HistoryPoint>,
    events: VecDeque<RecentEvent>,
    /// Events since the start of the service.
    happened: u64,
    /// The counters at the end of the last point.
    counted: Option<TrafficCounts>,
    /// When the next point is due; another program begins a new interval.
    #[serde(skip)]
    due: Option<Instant>,
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct TrafficCounts {
    requests: u64,
    errors: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl RecentHistory {
    /// Keeps an event of the supervisor.
    pub(super) fn happened(&mut self, event: &Event) {
        self.add(event.recent(), matches!(event, Event::ReloadDone { .. }));
    }

    /// Keeps an event of a worker, with a number and the time of now.
    pub(super) fn keep(&mut self, event: RecentEvent) {
        self.add(event, false);
    }

    /// The lines below the first are kept of what a reload changed alone: those of others have excerpts of the configuration,
    /// which users of the page may not see.
    fn add(&mut self, event: RecentEvent, has_more: bool) {
        self.happened += 1;
        let cut = |text: &str| text.chars().take(LONGEST_TEXT).collect::<String>();
        let line = |text: &str| cut(text.lines().next().unwrap_or_default());
        let name = |name: Option<String>| name.as_deref().map(line);
        self.events.push_back(RecentEvent {
            number: self.happened,
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            event: line(&event.event),
            text: if has_more { cut(&event.text) } else { line(&event.text) },
            level: line(&event.level),
            generation: event.generation,
            listener: name(event.listener),
            pool: name(event.pool),
            server: name(event.server),
        });
        if self.events.len() > MOST_EVENTS {
            self.events.pop_front();
        }
    }

    /// When the next point is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Adds the point that is due.
    pub(super) fn look(&mut self, generations: &Generations, totals: &Totals, now: Instant) {
        let Some(due) = self.due else {
            self.counted.get_or_insert_with(|| TrafficCounts::of(&totals.counters()));
            self.due = Some(now + INTERVAL);
            return;
        };
        if now < due {
            return;
        }
        // after a long wait, as that of a machine that slept, the interval begins anew
        self.due = Some(if now < due + INTERVAL { due + INTERVAL } else { now + INTERVAL });
        let counted = TrafficCounts::of(&totals.counters());
        let before = self.counted.replace(counted).unwrap_or(counted);
        let list = generations.list();
        let vitals = list.iter().rfind(|one| one.accepts()).and_then(|one| Some(one.pulse.last.as_ref()?.vitals));
        let vitals = vitals.unwrap_or_default();
        let since = |now: u64, before: u64| now.saturating_sub(before);
        self.points.push_back(HistoryPoint {
            at: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            requests: since(counted.requests, before.requests),
            errors: since(counted.errors, before.errors),
            bytes_in: since(counted.bytes_in, before.bytes_in),
            bytes_out: since(counted.bytes_out, before.bytes_out),
            connections: totals::connections(list).map_or(0, |connections| connections.open),
            servers_up: vitals.servers_up,
            servers: vitals.servers,
        });
        if self.points.len() > MOST_POINTS {
            self.points.pop_front();
        }
    }

    /// What came after a point of this time, and an event of this number.
    pub(super) fn after(&self, point: u64, event: u64) -> Recent {
        Recent {
            points: self.points.iter().filter(|one| one.at > point).cloned().collect(),
            events: self.events.iter().filter(|one| one.number > event).cloned().collect(),
        }
    }
}

impl TrafficCounts {
    /// The sums over all listeners.
    fn of(counters: &CounterTree) -> Self {
        let mut all = Self::default();
        let Some(CounterTree::Names(listeners)) = counters.get("listeners") else { return all };
        for listener in listeners.values() {
            let count = |name: &str| listener.get(name).and_then(CounterTree::count).unwrap_or_default();
            all.bytes_in += count("bytes_in");
            all.bytes_out += count("bytes_out");
            if let Some(CounterTree::Names(classes)) = listener.get("exchanges") {
                all.requests += classes.values().filter_map(CounterTree::count).sum::<u64>();
                all.errors += classes.get("5xx").and_then(CounterTree::count).unwrap_or_default();
            }
        }
        all
    }
}

const INTERVAL: Duration = Duration::from_secs(INTERVAL_S);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::generations::Settings;

    const SETTINGS: Settings = Settings { start_timeout: INTERVAL, probation: INTERVAL, hang_timeout: INTERVAL };

    fn counters(requests: u64, errors: u64) -> CounterTree {
        let classes = CounterTree::from_iter([("2xx", requests - errors), ("5xx", errors)]);
        let listener =
            CounterTree::from_iter([("exchanges", classes), ("bytes_out", CounterTree::from(requests * 100))]);
        CounterTree::from_iter([("listeners", CounterTree::from_iter([("http", listener)]))])
    }

    #[test]
    fn a_point_has_what_happened_in_its_interval_also_over_another_program() {
        let mut now = Instant::now();
        let (mut recent, mut totals) = (RecentHistory::default(), Totals::default());
        let generations = Generations::new(SETTINGS, now);
        totals.report(1, &counters(5, 0));
        recent.look(&generations, &totals, now);
        for (requests, errors) in [(15, 1), (15, 1), (40, 3)] {
            totals.report(1, &counters(requests, errors));
            now += INTERVAL;
            recent.look(&generations, &totals, now);
            let json = serde_json::to_string(&recent).expect("json");
            let due = recent.due;
            recent = serde_json::from_str(&json).expect("the same");
            recent.due = due;
        }
        let points: Vec<_> =
            recent.after(0, 0).points.iter().map(|one| (one.requests, one.errors, one.bytes_out)).collect();
        assert_eq!(points, [(10, 1, 1000), (0, 0, 0), (25, 2, 2500)]);
    }

    #[test]
    fn the_last_events_are_kept_and_those_after_one_are_told() {
        let mut recent = RecentHistory::default();
        let event = |number: usize| RecentEvent { text: format!("{number}\nmore"), ..RecentEvent::default() };
        (0..MOST_EVENTS + 3).for_each(|number| recent.keep(event(number)));
        let all = recent.after(0, 0).events;
        assert_eq!((all.len(), all[0].number, all[0].text.as_str()), (MOST_EVENTS, 4, "3"));
        assert_eq!(recent.after(0, all[MOST_EVENTS - 2].number).events.len(), 1);
    }
}
