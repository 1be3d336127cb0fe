//! Servers are changed by click.

use crate::farm::Farm;

#[test]
fn a_server_is_drained_with_a_reason_and_made_ready_again_by_click() {
    let farm = Farm::new(3);
    let _service = farm.run.start();
    let browser = farm.browser("");
    browser.wait("document.querySelector('.pool .up').textContent.startsWith('3 of 3 servers up')");
    let shown = browser.value("[...document.querySelectorAll('.servers tbody .name')].map((name) => name.textContent)");
    assert_eq!(shown, serde_json::json!(farm.servers));
    let name = farm.servers[1].to_string();
    let row = format!("document.querySelector('[aria-label=\"Drain: {name}\"]').closest('tr').textContent");

    browser.click(&format!("[aria-label='Drain: {name}']"));
    browser.type_into("#change-reason", "kernel update");
    browser.click("#change-do");
    browser.wait("!document.getElementById('change').open");
    browser.wait(&format!("/drain.*set by admin: kernel update/.test({row})"));
    browser.wait("/drains: set by admin: kernel update/.test(document.getElementById('problem-list').textContent)");
    browser.wait("document.querySelector('.pool .up').textContent.startsWith('2 of 3 servers up')");
    assert_eq!(farm.set_of(&name), [("drain".to_owned(), "kernel update".to_owned())]);

    browser.click(&format!("[aria-label='Ready: {name}']"));
    browser.click("#change-do");
    browser.wait(&format!("{row}.includes('kernel update') === false"));
    browser.wait("document.querySelector('.pool .up').textContent.startsWith('3 of 3 servers up')");
    assert_eq!(farm.set_of(&name), []);
    assert_eq!(browser.faults(), [""; 0]);
}
