//! What the page looks like: light and dark, wide and narrow, with few servers and with many.

use std::path::PathBuf;

use serde_json::json;

use crate::axe::assert_accessible;
use crate::farm::Farm;
use crate::traffic::{MOST_REQUESTS, Traffic};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status-page");
/// An hour of points.
const HOUR: &str = include_str!("hour.js");
/// In pixels.
const WIDTHS: [(&str, u32); 2] = [("wide", 1280), ("narrow", 390)];
/// All of them together, in bytes.
const MOST_BYTES: u64 = 1_200_000;

/// What has to be so in each view. axe holds the page up, after which the rates still have to be right.
const FITS: &str = "
    const frame = () => new Promise(requestAnimationFrame);
    return frame().then(frame).then(() => ({
        width: document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth,
        outside: [...document.querySelectorAll('main *')].filter((one) => one.checkVisibility()
            && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 120)),
        plots: [...document.querySelectorAll('.plot')].map((plot) =>
            Math.abs(plot.clientWidth - (plot.querySelector('canvas')?.clientWidth ?? 0)) <= 1),
        tooFast: Number(document.querySelector('.pool dd').textContent) > arguments[0],
    }))";

#[test]
fn three_servers_are_readable_light_and_dark_wide_and_narrow() {
    let farm = Farm::new(3);
    look_at(&farm, 1200, &[(1, "kernel update")]);
}

#[test]
fn three_hundred_servers_are_readable_light_and_dark_wide_and_narrow() {
    let farm = Farm::new(300);
    let drained: Vec<(usize, &str)> = (40..45).map(|at| (at, "rack 7 moves")).collect();
    look_at(&farm, 900, &drained);
}

/// Of this height are the pictures.
fn look_at(farm: &Farm, height: u32, drained: &[(usize, &str)]) {
    let _service = farm.run.start();
    for (at, reason) in drained {
        let server = farm.servers[*at].to_string();
        let output = farm.run.segue(&["drain", &server, "--for", "30m", "--reason", reason]);
        assert!(output.status.success(), "{output:?}");
    }
    let browser = farm.browser(HOUR);
    let traffic = Traffic::start(farm.address);
    browser.wait("document.querySelector('.servers, summary') !== null");
    browser.run("document.querySelector('.pool details').open = true", &[]);
    browser.wait("document.querySelectorAll('.plot canvas').length === 4");
    browser.wait("[...document.querySelectorAll('.pool dd')].every((figure) => figure.textContent !== '–')");
    // rates are those of several statuses then
    browser.wait("performance.getEntriesByName('segue-update').length > 6");
    for (window, width) in WIDTHS {
        for scheme in ["light", "dark"] {
            browser.be(scheme, width, height);
            browser.wait("document.getElementById('live').dataset.state === 'live'");
            let view = format!("{}-servers-{window}-{scheme}", farm.servers.len());
            let seen = browser.run(FITS, &[json!(2 * MOST_REQUESTS)]);
            let fits = json!({ "width": 0, "outside": [], "plots": [true, true, true, true], "tooFast": false });
            assert_eq!(seen, fits, "{view}");
            keep(&view, &browser.picture(), (width, height));
            assert_accessible(&browser, &view);
        }
    }
    traffic.end();
    // a page that axe held up for long is cut off from its event stream, and comes again
    let faults: Vec<_> = browser.faults().into_iter().filter(|fault| !fault.contains("/lb/v1/live - ")).collect();
    assert_eq!(faults, [""; 0]);
}

/// A picture has this size; with REWRITE it is kept.
fn keep(view: &str, picture: &[u8], size: (u32, u32)) {
    // the first chunk of a PNG has its width and height (section 11.2.1)
    let number = |at: usize| picture[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    assert_eq!((&picture[1..4], number(16), number(20)), (&b"PNG"[..], size.0, size.1), "{view}");
    let path = PathBuf::from(format!("{FOLDER}/{view}.png"));
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, picture).expect("written");
    }
    assert!(path.exists(), "{} is missing: run this with REWRITE=1", path.display());
}

#[test]
fn the_pictures_are_small() {
    let files = std::fs::read_dir(FOLDER).expect("the folder");
    let sizes: Vec<u64> = files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).collect();
    assert_eq!(sizes.len(), 8);
    assert!(sizes.iter().sum::<u64>() < MOST_BYTES, "{sizes:?}");
}
