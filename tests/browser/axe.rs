//! axe-core, which finds what keeps users of keyboards and screen readers, or with weak eyes, from a page.

use serde_json::Value;

use crate::browser::Browser;

const AXE: &str = include_str!("axe.min.js");
/// Of hundreds of rows, which are alike, it looks at the first ones.
const RUN: &str = "
    const most = { exclude: ['tbody tr:nth-child(n + 62)'] };
    return axe.run(most, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(
        ({ id, impact, nodes }) => ({
            id, impact, why: nodes[0].failureSummary,
            where: nodes.slice(0, 3).map((node) => node.html.slice(0, 200)),
        })))";

/// What it finds in the page as it is now must not be serious or critical.
#[track_caller]
pub fn assert_accessible(browser: &Browser, view: &str) {
    if browser.value("!window.axe") == true {
        browser.run(AXE, &[]);
    }
    let found = browser.run(RUN, &[]);
    let found = found.as_array().expect("a list");
    let serious: Vec<&Value> =
        found.iter().filter(|one| one["impact"] == "serious" || one["impact"] == "critical").collect();
    assert!(serious.is_empty(), "{view}: {serious:#?}");
}
