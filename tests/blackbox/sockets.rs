//! Sockets of systemd by name, and sockets that the service binds itself.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{Asking, Notification, Run, Service, assert_serves, free_address, signal, socket, wait_for};

fn two_listeners(address: SocketAddr) -> String {
    format!("[listen.http]\n[listen.metrics]\naddress = \"{address}\"\n")
}

fn assert_refused(address: SocketAddr) {
    wait_for("a closed port", || TcpStream::connect(address).is_err().then_some(()));
}

fn local_address(socket: &OwnedFd) -> SocketAddr {
    let listener = TcpListener::from(socket.try_clone().expect("dup"));
    listener.local_addr().expect("address")
}

// The listener of port 80 was there only as long as no other was written: who added one, as the manual has it, closed 80.
#[test]
fn a_new_listener_is_not_the_end_of_http() {
    let (http, http_address) = socket();
    let other = free_address();
    let run = Run::new("").socket("http", http);
    let service = run.start();
    run.configure(&format!("[listen.other]\naddress = \"{other}\"\n"));
    service.reload_well();
    assert_serves(other);
    assert_serves(http_address);
    assert!(!run.log().contains("No listener serves the socket"), "{}", run.log());
}

#[test]
fn without_a_socket_for_http_another_listener_is_enough() {
    let other = free_address();
    let run = Run::new(&format!("[site.\"*\"]\nto = [\"127.0.0.1:1\"]\n[listen.other]\naddress = \"{other}\"\n"));
    let _service = run.start();
    TcpStream::connect(other).expect("somebody listens");
}

#[test]
fn sockets_go_by_name_in_whatever_order_they_come() {
    let config = "[listen.http]\n[listen.other]\n";
    for http_first in [true, false] {
        let (http, http_address) = socket();
        let (other, other_address) = socket();
        let run = Run::new(config);
        let run = match http_first {
            true => run.socket("http", http).socket("other", other),
            false => run.socket("other", other).socket("http", http),
        };
        let service = run.start();
        assert_serves(http_address);
        assert_serves(other_address);
        let log = run.log();
        assert!(log.contains(&format!("http has its socket from systemd: {http_address}")), "{log}");
        drop(service);
    }
}

#[test]
fn a_socket_that_no_listener_names_is_said_and_left_alone() {
    let (http, address) = socket();
    let (odd, _) = socket();
    let run = Run::new("").socket("odd", odd).socket("http", http);
    let _service = run.start();
    run.wait_log("No listener serves the socket odd");
    assert_serves(address);
}

// Its port stays open, since it is systemd's: a client waits there for an answer that never comes.
#[test]
fn a_reload_that_takes_the_listener_of_a_unit_away_says_how_its_port_is_closed() {
    let (http, address) = socket();
    let (https, _) = socket();
    let run = Run::new("[listen.https]\n").socket("https", https).socket("http", http);
    let service = run.start();
    assert!(!run.log().contains("No listener serves"), "{}", run.log());
    run.configure("[log]\naccess = \"all\"\n");
    let (good, text) = service.reload();
    assert!(good && text.contains("no listener serves the socket https"), "{text}");
    assert!(text.contains("`systemctl disable --now proxy-https.socket`, then `systemctl restart proxy`"), "{text}");
    run.wait_log("No listener serves the socket https");
    assert_serves(address);
}

#[test]
fn a_descriptor_that_is_no_listening_socket_is_said_and_left_out() {
    let (http, address) = socket();
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").expect("socket");
    let run = Run::new("").socket("udp", datagram).socket("http", http);
    let _service = run.start();
    run.wait_log("\"udp\"");
    assert_serves(address);
}

#[test]
fn a_listener_added_by_reload_is_bound_and_stored_with_systemd() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http);
    let service = run.start();
    let address = free_address();
    run.configure(&two_listeners(address));
    service.reload_well();
    assert_serves(address);
    let stored = run.notifications().wait_for("metrics", |one| one.value("FDNAME") == Some("bound/metrics"));
    assert!(stored.says("FDSTORE=1"), "{:?}", stored.lines);
    let [descriptor] = &stored.descriptors[..] else { panic!("{} descriptors", stored.descriptors.len()) };
    assert_eq!(local_address(descriptor), address);
}

#[test]
fn a_stored_socket_comes_back_and_goes_with_its_listener() {
    let (http, http_address) = socket();
    let (metrics, address) = socket();
    // as systemd passes them after a restart: those of its store come last
    let run = Run::new(&two_listeners(address)).socket("http", http).socket("bound/metrics", metrics);
    let service = run.start();
    assert_serves(address);
    let bound = |one: &Notification| one.says("FDSTORE=1") && one.value("FDNAME") == Some("bound/metrics");
    assert!(!run.notifications().so_far().iter().any(bound), "bound again");
    run.configure("[listen.http]\n");
    service.reload_well();
    let removed = run.notifications().wait("FDSTOREREMOVE=1");
    assert_eq!(removed.value("FDNAME"), Some("bound/metrics"));
    assert_serves(http_address);
}

#[test]
fn a_bound_listener_that_is_removed_by_reload_is_closed() {
    let (http, http_address) = socket();
    let address = free_address();
    let run = Run::new(&two_listeners(address)).socket("http", http);
    let service = run.start();
    assert_serves(address);
    run.configure("[listen.http]\n");
    service.reload_well();
    assert_refused(address);
    assert_serves(http_address);
}

#[test]
fn a_bound_listener_that_moves_is_bound_anew_and_the_old_address_closed() {
    let (first, second) = (free_address(), free_address());
    let config = |address: SocketAddr| format!("[listen.http]\naddress = \"{address}\"\n");
    let run = Run::new(&config(first));
    let service = run.start();
    assert_serves(first);
    run.configure(&config(second));
    service.reload_well();
    assert_serves(second);
    assert_refused(first);
}

#[test]
fn a_worker_inherits_nothing_but_what_it_is_sent() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http).variable("WATCHDOG_USEC", "60000000");
    let service = run.start();
    let (_, pid) = service.serving();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("environment");
    let environment = String::from_utf8_lossy(&environment).into_owned();
    for name in ["LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_"] {
        assert!(!environment.split('\0').any(|one| one.starts_with(name)), "{name} in {environment}");
    }
    assert_eq!(open_sockets(&service), 2, "a socket reached the worker in more than one way: http and the admin API");
}

/// How many listening sockets the worker has, before it duplicates them for its threads.
fn open_sockets(service: &Service<'_>) -> usize {
    let supervisor = sockets_of(service.pid());
    let worker = sockets_of(service.serving().1);
    supervisor.iter().filter(|socket| worker.contains(socket)).count()
}

fn sockets_of(pid: u32) -> Vec<String> {
    let directory = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    let links = directory.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let mut sockets: Vec<_> =
        links.map(|link| link.display().to_string()).filter(|link| link.starts_with("socket:")).collect();
    sockets.sort();
    sockets.dedup();
    sockets
}

#[test]
fn several_sockets_of_one_name_are_all_accepted_on() {
    let (one, first) = socket();
    let (other, second) = socket();
    let run = Run::new("").socket("http", one).socket("http", other);
    let service = run.start();
    service.reload_anyway();
    assert_serves(first);
    assert_serves(second);
}

#[test]
fn an_address_bound_for_a_reload_that_is_refused_is_given_up() {
    let (http, _) = socket();
    let (_taken, taken) = socket();
    let run = Run::new("").socket("http", http);
    let service = run.start();
    let address = free_address();
    run.configure(&format!("{}[listen.nowhere]\naddress = \"{taken}\"\n", two_listeners(address)));
    assert!(!service.reload().0);
    let removed = run.notifications().wait("FDSTOREREMOVE=1"); // after the message that holds a copy of the socket
    assert_eq!(removed.value("FDNAME"), Some("bound/metrics"));
    assert_refused(address);
}

#[test]
fn an_address_bound_for_a_reload_that_is_rolled_back_is_given_up() {
    let (http, http_address) = socket();
    let run = Run::new("").socket("http", http).argument("--probation=1h");
    let service = run.start();
    let address = free_address();
    run.configure(&two_listeners(address));
    service.reload_well();
    assert_serves(address);
    signal(service.serving().1, Signal::KILL);
    run.wait_log("Rolled back");
    let removed = run.notifications().wait("FDSTOREREMOVE=1");
    assert_eq!(removed.value("FDNAME"), Some("bound/metrics"));
    assert_refused(address);
    assert_serves(http_address);
}

// `systemctl restart` within the probation closed the new port until the next start bound it again
#[test]
fn an_address_bound_a_moment_ago_stays_with_systemd_when_the_service_stops() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http).argument("--probation=1h");
    let mut service = run.start();
    run.configure(&two_listeners(free_address()));
    service.reload_well();
    run.notifications().wait_for("metrics", |one| one.value("FDNAME") == Some("bound/metrics"));
    service.signal(Signal::TERM);
    assert!(service.ended().success());
    assert!(!run.notifications().so_far().iter().any(|one| one.says("FDSTOREREMOVE=1")), "given up at the stop");
}

#[test]
fn a_listener_that_was_dropped_serves_again_after_a_roll_back() {
    let (http, _) = socket();
    let address = free_address();
    let run = Run::new(&two_listeners(address)).socket("http", http).argument("--probation=1h");
    let service = run.start();
    run.configure("[listen.http]\n");
    service.reload_well();
    signal(service.serving().1, Signal::KILL);
    run.wait_log("Rolled back");
    assert_serves(address);
    assert!(!run.notifications().so_far().iter().any(|one| one.says("FDSTOREREMOVE=1")), "given up too early");
}

#[test]
fn a_refused_reload_in_between_takes_no_listener_away() {
    let (http, _) = socket();
    let address = free_address();
    let run = Run::new(&two_listeners(address)).socket("http", http);
    let service = run.start();
    run.configure("[listen.http]\n[listen.nowhere]\naddress = \"192.0.2.1:80\"\n");
    let (good, text) = service.reload();
    assert!(!good && text.contains("192.0.2.1:80") && text.contains("assign requested address"), "{text}");
    assert_serves(address);
}

#[test]
fn a_listener_that_gets_another_name_refuses_nobody_and_is_stored_under_it() {
    let (http, _) = socket();
    let address = free_address();
    let run = Run::new(&two_listeners(address)).socket("http", http);
    let service = run.start();
    let asking = Asking::start(address);
    run.configure(&two_listeners(address).replace("metrics", "renamed"));
    let (good, text) = service.reload();
    assert!(good, "{text}");
    service.settled();
    asking.end();
    let removed = run.notifications().wait("FDSTOREREMOVE=1");
    assert_eq!(removed.value("FDNAME"), Some("bound/metrics"));
    // only now: systemd keeps no socket twice
    let stored = run.notifications().wait("FDSTORE=1");
    assert_eq!(stored.value("FDNAME"), Some("bound/renamed"));
    assert_eq!(local_address(&stored.descriptors[0]), address);
}

#[test]
fn a_unix_socket_comes_and_goes_with_its_listener() {
    let (http, _) = socket();
    let run = Run::new("").socket("http", http);
    let service = run.start();
    let path = run.path("listener");
    let config = |path: &Path| format!("[listen.http]\n[listen.local]\naddress = \"unix:{}\"\n", path.display());
    run.configure(&config(&path));
    service.reload_well();
    UnixStream::connect(&path).expect("somebody listens");
    run.configure(&config(&run.path("missing/listener")));
    let (good, text) = service.reload();
    assert!(!good && text.contains("the directory must exist and be writable"), "{text}");
    UnixStream::connect(&path).expect("somebody still listens");
    run.configure("[listen.http]\n");
    service.reload_well();
    wait_for("the end of the path", || (!path.exists()).then_some(()));
}

#[test]
fn a_socket_for_which_systemd_has_no_room_is_said() {
    let (http, _) = socket();
    let (first, second) = (free_address(), free_address());
    let more = format!("[listen.other]\naddress = \"{second}\"\n");
    let run = Run::new(&(two_listeners(first) + &more)).socket("http", http).variable("FDSTORE", "2");
    let _service = run.start();
    run.wait_log("systemd keeps 1 sockets, and other is one more: a restart closes it");
    assert_serves(first);
    assert_serves(second);
}

// A socket unit that is enabled, and not started or not named right yet: the restart that takes it up must not close port
// 80 for it.
#[test]
fn a_start_without_the_socket_of_one_listener_serves_the_others_and_a_reload_is_refused() {
    let (http, address) = socket();
    let (odd, _) = socket();
    let run = Run::new("[listen.9000]\n").socket("proxy-9000.socket", odd).socket("http", http);
    let service = run.start();
    assert_serves(address);
    run.wait_log("listener 9000 has no socket: systemd passed none of this name, only proxy-9000.socket");
    run.configure("[listen.9000]\n[drain]\ntimeout = \"5m\"\n");
    let (good, text) = service.reload();
    assert!(!good && text.contains("listener 9000 has no socket"), "{text}");
    assert_serves(address);
    signal(service.settled().1, Signal::KILL);
    assert_serves(address);
}
