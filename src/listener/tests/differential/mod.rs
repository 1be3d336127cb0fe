//! The codec beside hyper's server, which reads the same bytes, cut at the same places: each difference between what the
//! two make of a stream has the name of a rule.
//!
//! `SEGUE_CASES` says how many streams, `SEGUE_CASE` the first of them.

mod rules;
mod sides;
mod streams;

use std::collections::BTreeMap;

use self::sides::{Body, Ending, Observed, Seen};
use super::support::{Fixture, run_for};

/// Streams unless `SEGUE_CASES` says otherwise: some seconds in a debug build.
const CASES: u64 = 2000;

/// What one of the two does and the other does not.
#[derive(Debug)]
enum Difference<'a> {
    /// We refuse a head, for the reason said. hyper serves the request, or waits for more of it.
    OurRefusal(&'a str, Option<&'a Seen>),
    /// hyper refuses a head. We serve the request, or wait for more of it.
    ItsRefusal(&'a str, Option<&'a Seen>),
    /// We refuse the body of a request that hyper reads whole, or whose end it still waits for.
    OurBody(&'a str, &'a Seen),
    /// hyper refuses the body of a request that we read whole, or whose end we still wait for.
    ItsBody(&'a str, &'a Seen),
    /// Both serve a request, and do not understand the same.
    Understood { ours: &'a Seen, its: &'a Seen },
    /// We do not serve a request that hyper serves after this one.
    WeClose(&'a Seen),
    /// One of them serves a request that the other one does not, for no reason that can be seen.
    Unlike,
}

#[test]
fn whatever_hyper_makes_of_a_stream_otherwise_has_the_name_of_a_rule() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let (first, cases) = (number("SEGUE_CASE", 0), number("SEGUE_CASES", CASES));
    run_for(std::time::Duration::from_secs(3600), || async move {
        let fixture = Fixture::new();
        let mut count = BTreeMap::<&str, u64>::new();
        let (mut served, mut unexplained) = (0, Vec::new());
        for case in first..first + cases {
            let pieces = streams::stream(case);
            let [ours, its] = [sides::ours(&fixture.thread, &pieces).await, sides::hypers(&pieces).await];
            served += ours.seen.len();
            let bytes = pieces.concat();
            let Some(difference) = difference(&ours, &its) else { continue };
            match rules::explain(&difference, &bytes) {
                Some(rule) => *count.entry(rule).or_default() += 1,
                None => unexplained.push(format!("{case}: {difference:?}\n{}", bytes.escape_ascii())),
            }
        }
        println!("{cases} streams, {served} requests served, differences: {count:#?}");
        let few = &unexplained[..unexplained.len().min(40)];
        assert!(few.is_empty(), "{} differences without a rule:\n{}", unexplained.len(), few.join("\n\n"));
        assert!(served as u64 >= cases / 2, "most streams are no requests: {served} of {cases}");
        assert!(cases < CASES || count.len() >= 15, "the streams are too tame: {count:#?}");
    });
}

/// The first difference; after it the two read different streams.
fn difference<'a>(ours: &'a Observed, its: &'a Observed) -> Option<Difference<'a>> {
    let count = ours.seen.len().max(its.seen.len());
    for index in 0..count {
        let before = || ours.seen[..index].last();
        return Some(match (ours.seen.get(index), its.seen.get(index)) {
            (Some(ours), Some(its)) if !ours.is_head_of(its) => Difference::Understood { ours, its },
            (Some(ours), Some(its)) => match (&ours.body, &its.body) {
                (Body::Whole { .. }, Body::Whole { .. }) if ours.body == its.body => continue,
                (Body::Cut, Body::Cut) | (Body::Wrong(_), Body::Wrong(_)) => return None,
                (Body::Wrong(rule), _) => Difference::OurBody(rule, its),
                (_, Body::Wrong(why)) => Difference::ItsBody(why, ours),
                _ => Difference::Understood { ours, its },
            },
            (None, Some(its)) => match (&ours.end, before()) {
                (Ending::Refused(rule), _) => Difference::OurRefusal(rule, Some(its)),
                (Ending::Over, Some(before)) => Difference::WeClose(before),
                (Ending::Over, None) => Difference::Unlike,
            },
            (Some(ours), None) => match &its.end {
                Ending::Refused(why) => Difference::ItsRefusal(why, Some(ours)),
                Ending::Over => Difference::Unlike,
            },
            (None, None) => return None,
        });
    }
    match (&ours.end, &its.end) {
        (Ending::Refused(rule), Ending::Over) => Some(Difference::OurRefusal(rule, None)),
        (Ending::Over, Ending::Refused(why)) => Some(Difference::ItsRefusal(why, None)),
        _ => None,
    }
}
