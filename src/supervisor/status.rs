//! The supervisor's status: one line for `systemctl status`, everything for `segue status`.

use std::time::{Duration, Instant};

use super::generation::{Generation, GenerationState};
use super::generations::{Generations, ServicePhase};
use super::totals::{self, Totals};
use crate::control::status::{CertificateStatus, GenerationStatus, ServiceStatus, SupervisorStatus, WorkerStatus};

/// The line in `systemctl status`.
#[must_use]
pub fn line(generations: &Generations, now: Instant) -> String {
    let mut parts: Vec<String> = generations.note().map(one_line).into_iter().collect();
    parts.push(standing(generations, now));
    let serving = generations.list().iter().rfind(|one| one.accepts());
    if let Some(pong) = serving.and_then(|one| one.pulse.last.as_ref()) {
        let vitals = pong.vitals;
        parts.push(format!("{}/{} servers up", vitals.servers_up, vitals.servers));
        parts.push(counted(vitals.connections, "connection"));
        parts.extend(pong.status.as_ref().and_then(|status| certificates(&status.certificates)));
    }
    parts.join("; ")
}

/// Everything, for `segue status`.
#[must_use]
pub fn all(generations: &Generations, totals: &Totals, now: Instant) -> ServiceStatus {
    status(generations, totals, now, WorkerStatus::clone)
}

/// The same without the counters of each generation.
#[must_use]
pub fn summed(generations: &Generations, totals: &Totals, now: Instant) -> ServiceStatus {
    status(generations, totals, now, WorkerStatus::without_counters)
}

fn status(
    generations: &Generations,
    totals: &Totals,
    now: Instant,
    of_worker: impl Fn(&WorkerStatus) -> WorkerStatus,
) -> ServiceStatus {
    ServiceStatus {
        line: line(generations, now),
        note: generations.note().map(str::to_owned),
        supervisor: SupervisorStatus { pid: std::process::id(), version: crate::sys::version().to_owned() },
        generations: generations.list().iter().map(|one| generation(one, now, &of_worker)).collect(),
        connections: totals::connections(generations.list()),
        counters: totals.counters(),
    }
}

fn generation(one: &Generation, now: Instant, of_worker: impl Fn(&WorkerStatus) -> WorkerStatus) -> GenerationStatus {
    let ready = one.ready.as_ref();
    let pong = one.pulse.last.as_ref();
    GenerationStatus {
        generation: one.number,
        state: one.state_name().to_owned(),
        pid: one.pid,
        since_ms: millis(now.saturating_duration_since(one.since)),
        age_ms: millis(now.saturating_duration_since(one.made)),
        proven: one.proven,
        confirm_within_ms: one.confirm_within(now).map(millis),
        memory: (one.memory > 0).then_some(one.memory),
        version: ready.map(|ready| ready.version.clone()),
        summary: ready.map(|ready| ready.summary.clone()),
        config_hash: ready.map(|ready| ready.config_hash.clone()),
        connections: pong.map(|pong| pong.vitals.connections),
        worker: pong.and_then(|pong| pong.status.as_ref()).map(of_worker),
    }
}

fn standing(generations: &Generations, now: Instant) -> String {
    let list = generations.list();
    match generations.phase() {
        ServicePhase::Stopping => return format!("stopping, {} left", counted(list.len() as u64, "generation")),
        ServicePhase::Over => return "stopped".to_owned(),
        ServicePhase::Starting | ServicePhase::Running => {}
    }
    let Some(serving) = list.iter().rfind(|one| one.accepts()) else {
        return without_serving(generations, now);
    };
    let mut line = format!("generation {} serving", serving.number);
    for (state, word) in [("parked", "parked"), ("draining", "draining"), ("starting", "starting")] {
        let numbers: Vec<_> =
            list.iter().filter(|one| one.state_name() == state).map(|one| one.number.to_string()).collect();
        if !numbers.is_empty() {
            line.push_str(&format!(", {} {word}", numbers.join(" and ")));
        }
        if state == "parked" && !numbers.is_empty() {
            line.push_str(&probation(serving, generations.probation(), now));
        }
    }
    line
}

fn probation(serving: &Generation, whole: Duration, now: Instant) -> String {
    match (serving.state, serving.confirm_within(now)) {
        (GenerationState::Serving { .. }, Some(left)) => format!(" (to be confirmed within {} s)", left.as_secs()),
        (GenerationState::Serving { probation: Some(_) }, None) => format!(" (probation {} s)", whole.as_secs_f32()),
        _ => String::new(),
    }
}

fn without_serving(generations: &Generations, now: Instant) -> String {
    let starting = generations.list().iter().rfind(|one| matches!(one.state, GenerationState::Starting { .. }));
    match (starting, generations.respawn_at()) {
        (Some(starting), _) => format!("generation {} starting", starting.number),
        (None, Some(at)) => {
            let left = at.saturating_duration_since(now);
            format!("no generation serves, the next starts in {} ms", left.as_millis())
        }
        (None, None) => "no generation serves".to_owned(),
    }
}

/// The certificate that expires first, or is wrong, and how many others do.
fn certificates(list: &[CertificateStatus]) -> Option<String> {
    let mut news: Vec<_> = list.iter().filter_map(|one| Some((one.days, one.news()?))).collect();
    news.sort_by_key(|(days, _)| *days);
    let more = news.len().saturating_sub(1);
    let first = news.into_iter().next()?.1;
    Some(if more > 0 { format!("{first} (and {more} more: segue certs)") } else { first })
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// One line, and not so long that the rest is lost behind it.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST_NOTE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const LONGEST_NOTE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_that_is_most_urgent_is_named() {
        let certificate = |host: &str, state: &str, days| CertificateStatus {
            hosts: vec![host.to_owned()],
            state: state.to_owned(),
            days,
            ..CertificateStatus::default()
        };
        let good = certificate("a.test", "good", Some(80));
        let (soon, sooner) = (certificate("b.test", "expires", Some(13)), certificate("c.test", "expires", Some(1)));
        assert_eq!(certificates(std::slice::from_ref(&good)), None);
        assert_eq!(certificates(&[good, soon.clone()]).as_deref(), Some("certificate of b.test expires in 13 days"));
        let both = certificates(&[soon.clone(), sooner]);
        assert_eq!(both.as_deref(), Some("certificate of c.test expires within a day (and 1 more: segue certs)"));
        let missing = certificates(&[soon, certificate("d.test", "missing", None)]);
        assert_eq!(missing.as_deref(), Some("d.test has no certificate (and 1 more: segue certs)"));
    }
}
