//! The page is used without a mouse.

use crate::axe::assert_accessible;
use crate::browser::{Browser, ENTER, ESCAPE, SPACE, TAB};
use crate::farm::Farm;

/// As many times as this Tab is pressed at most.
const MOST: usize = 60;

/// Presses Tab until the element with the focus has this selector.
#[track_caller]
fn tab_to(browser: &Browser, selector: &str) {
    let found = (0..MOST).any(|_| {
        browser.press(TAB);
        browser.value(&format!("document.activeElement.matches(`{selector}`)")) == true
    });
    assert!(found, "{selector} never has the focus");
}

#[test]
fn a_server_is_drained_with_the_keyboard_alone() {
    let farm = Farm::new(3);
    let _service = farm.run.start();
    let browser = farm.browser("");
    let name = farm.servers[2].to_string();
    let drain = format!("[aria-label='Drain: {name}']");
    browser.wait(&format!("document.querySelector(`{drain}`) !== null"));

    browser.press(TAB);
    assert_eq!(browser.value("document.activeElement.className"), "skip", "the first way is past the menu");
    browser.press(ENTER);
    browser.wait("document.activeElement.id === 'problems'");
    tab_to(&browser, &drain);
    browser.press(ENTER);
    browser.wait("document.getElementById('change').open && document.activeElement.id === 'change-reason'");
    assert_accessible(&browser, "dialog");
    browser.press(ESCAPE);
    browser.wait(&format!("!document.getElementById('change').open && document.activeElement.matches(`{drain}`)"));

    browser.press(SPACE);
    browser.wait("document.activeElement.id === 'change-reason'");
    browser.press("new disk");
    tab_to(&browser, "#change-for");
    browser.press("soon");
    browser.press(ENTER);
    browser.wait("!document.getElementById('change-error').hidden && document.getElementById('change').open");
    browser.run("document.getElementById('change-for').value = ''", &[]);
    browser.press("30m");
    tab_to(&browser, "#change-do");
    browser.press(SPACE);
    browser.wait(&format!("!document.getElementById('change').open && document.activeElement.matches(`{drain}`)"));
    browser.wait("document.activeElement.closest('tr').textContent.includes('new disk, until ')");
    assert_eq!(farm.set_of(&name), [("drain".to_owned(), "new disk".to_owned())]);
}
