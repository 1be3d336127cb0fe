//! An open page over reloads.

use std::time::Instant;

use serde_json::{Value, json};

use crate::farm::Farm;
use crate::support::{DEADLINE, wait_for};
use crate::traffic::Traffic;

/// Points of a chart that come meanwhile.
const POINTS: u64 = 2;

const HISTORY: &str = "return fetch(new URL('v1/history', location.href)).then((answer) => answer.json())";

/// The data of a plot: moments and values. A gap is no number.
fn numbers(data: &Value) -> Vec<Vec<f64>> {
    let list = |value: &Value| value.as_array().expect("a list").clone();
    list(data).iter().map(|one| list(one).iter().map(|one| one.as_f64().unwrap_or(f64::NAN)).collect()).collect()
}

#[test]
fn reloads_lose_no_point_of_a_chart_and_close_no_event_stream() {
    let farm = Farm::new(3);
    let service = farm.run.start();
    let browser = farm.browser("");
    let traffic = Traffic::start(farm.address);
    // before the first point a chart has no data
    let points = "document.querySelectorAll('#charts .plot canvas').length === 4 ? watched.plots[0].data[0].length : 0";
    let mut reloads = 0;
    let until = Instant::now() + 4 * DEADLINE;
    while browser.value(points).as_u64().expect("a number") < POINTS {
        service.reload_anyway();
        service.settled();
        reloads += 1;
        assert!(Instant::now() < until, "{reloads} reloads, and no points");
    }
    traffic.end();
    assert!(reloads > 2, "{reloads} reloads");
    // a point may come between the two questions
    wait_for("the chart to have what the service has", || {
        let drawn = browser.value("watched.plots.map((plot) => plot.data)");
        let kept = browser.run(HISTORY, &[]);
        let kept = kept["points"].as_array()?;
        let of = |name: &str, factor: f64| -> Vec<f64> {
            kept.iter().map(|point| point[name].as_f64().expect("a number") / factor).collect()
        };
        let same = numbers(&drawn[0]) == [of("at", 1.0), of("requests", 10.0)]
            && numbers(&drawn[2]) == [of("at", 1.0), of("connections", 1.0)];
        same.then_some(())
    });
    assert_eq!(browser.value("watched.streams.length"), 1, "after {reloads} reloads");
    assert_eq!(browser.value("[watched.streams[0].readyState, watched.breaks]"), json!([1, 0]));
    let told = format!("Reload done in .*{}", service.serving().0);
    browser.wait(&format!("/{told}/s.test(document.getElementById('events').textContent)"));
    assert_eq!(browser.faults(), [""; 0]);
}
