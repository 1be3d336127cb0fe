//! Reloads of a configuration that lost what serves, as when its file was cut short.

use std::net::SocketAddr;
use std::process::Output;

use rustix::process::Signal;

use crate::support::{Run, assert_serves, free_address};

const SITE: &str = "[site.\"*\"]\nto = [\"127.0.0.1:9\"]\n";

fn listening(address: SocketAddr, rest: &str) -> String {
    format!("[listen.http]\naddress = \"{address}\"\n{rest}")
}

#[test]
fn a_reload_that_takes_the_last_site_away_is_refused_and_says_how_it_is_done() {
    let address = free_address();
    let run = Run::new(&listening(address, SITE));
    let service = run.start();
    let before = service.settled();
    for rest in ["", "# truncated", "[log]\naccess = \"off\"\n", "[tcp.db]\nlisten = \"127.0.0.1:0\"\nto = [\"a:1\"]\n"]
    {
        run.configure(&listening(address, rest));
        let (good, text) = service.reload();
        assert!(!good && text.contains("takes the last site away") && text.contains("reload --force"), "{text}");
        assert_eq!(service.settled(), before);
    }
    service.signal(Signal::HUP);
    run.wait_log("takes the last site away");
    assert_eq!(service.settled(), before);
    assert_serves(address);
    run.configure(&listening(address, ""));
    let (good, text) = service.reload_with(&["--force"]);
    assert!(good && text.contains("0 sites"), "{text}");
    // nothing is lost any more
    run.configure(&listening(address, "max_connections = 100\n"));
    service.reload_well();
}

#[test]
fn a_reload_that_takes_the_last_tcp_listener_away_is_refused_where_there_is_no_site() {
    let database = |rest: &str| format!("[tcp.db]\nlisten = \"{}\"\nto = [\"127.0.0.1:9\"]\n{rest}", free_address());
    let run = Run::new(&database(""));
    let service = run.start();
    run.configure(&listening(free_address(), ""));
    let (good, text) = service.reload();
    assert!(!good && text.contains("takes the last TCP listener away"), "{text}");
    run.configure(&listening(free_address(), SITE));
    service.reload_well();
}

#[test]
fn an_empty_file_is_refused_after_a_crash_and_starts_the_service_after_a_stop() {
    let address = free_address();
    let run = Run::new(&listening(address, SITE));
    let service = run.start();
    crate::support::signal(service.serving().1, Signal::KILL);
    assert_serves(address);
    run.configure(&listening(address, ""));
    assert!(!service.reload().0);
    drop(service);
    run.start();
}

#[test]
fn diff_warns_of_a_reload_that_would_be_refused() {
    let address = free_address();
    let run = Run::new(&listening(address, SITE));
    let _service = run.start();
    run.configure(&listening(address, ""));
    let Output { status, stdout, stderr } = run.segue(&["diff"]);
    let (said, warned) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.code() == Some(1) && said.contains("site removed"), "{said}");
    assert!(warned.contains("a reload refuses this") && warned.contains("--force"), "{warned}");
}
