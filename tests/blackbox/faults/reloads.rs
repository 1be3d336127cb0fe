//! Reloads one after the other, with changed and broken configurations, while clients are at work.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::crowd::read_answer;
use super::{Crowd, Farm, Habit, Manners};
use crate::support::{DEADLINE, Run, free_address, socket, wait_for};

const EVERYBODY: &[Habit] = &[Habit::Fresh, Habit::Fresh, Habit::Staying, Habit::Old, Habit::Put, Habit::Post];

#[test]
fn reloads_back_to_back_are_seen_by_nobody() {
    let farm = Farm::new(3, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let service = run.start();
    let crowd = Crowd::start(address, EVERYBODY);
    crowd.wait_served(20);
    for round in 0..12 {
        match round % 4 {
            0 => run.configure(&farm.config("balance = \"least-connections\"")),
            1 => run.configure("[pool.farm]\nservers = [\"nonsense"),
            2 => {
                run.configure(&farm.config(&format!("[listen.http]\n[listen.more]\naddress = \"{}\"", free_address())))
            }
            _ => run.configure(&farm.config("")),
        }
        assert_eq!(service.reload().0, round % 4 != 1, "{}", run.log());
        run.notifications().so_far(); // systemd reads them too
    }
    crowd.wait_served(20);
    crowd.end();
}

// "connection: close, keep-alive" stood there, and ab -k counted every connection that was let go as a failure.
#[test]
fn a_client_of_http_1_0_whose_listener_is_gone_is_told_to_close_in_one_word() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let drain = "[drain]\ntimeout = \"2s\"";
    let unused = format!("[listen.gone]\n[listen.unused]\naddress = \"{}\"", free_address());
    let run = Run::new(&farm.config(&format!("{unused}\n{drain}"))).socket("gone", listening);
    let service = run.start();
    let mut client = TcpStream::connect(address).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let request = b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: Keep-Alive\r\n\r\n";
    client.write_all(request).expect("write");
    assert!(read_answer(&mut client).expect("an answer").contains("connection: keep-alive"));
    run.configure(&farm.config(&format!("[listen.other]\naddress = \"{}\"\n{drain}", free_address())));
    service.reload_anyway();
    run.wait_log("Connections of listener gone stay with generation 1");
    assert!(!run.log().contains("Connections of listener unused"), "there are none: {}", run.log());
    let last = wait_for("the last answer", || {
        client.write_all(request).expect("write");
        let head = read_answer(&mut client).expect("an answer");
        (!head.contains("connection: keep-alive")).then_some(head)
    });
    assert!(last.contains("connection: close") && !last.contains("keep-alive"), "{last}");
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
}

#[test]
fn a_body_on_its_way_is_taken_to_its_end_by_the_generation_that_drains_and_the_connection_goes_on() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let service = run.start();
    let mut client = TcpStream::connect(address).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n").expect("write");
    client.write_all(&vec![b'x'; 500_000]).expect("write");
    service.reload_anyway();
    run.wait_log("Generation 1 drains");
    client.write_all(&vec![b'x'; 500_000]).expect("write");
    let head = read_answer(&mut client).expect("an answer");
    assert!(head.starts_with("http/1.1 200") && !head.contains("connection: close"), "{head}");
    assert_eq!(service.settled().0, 2);
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("write");
    assert!(read_answer(&mut client).expect("an answer").starts_with("http/1.1 200"));
}

#[test]
fn reloads_leave_nothing_behind_in_the_supervisor() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, _) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let service = run.start();
    let mut open = Vec::new();
    for _ in 0..3 {
        for _ in 0..5 {
            service.reload_anyway();
            run.notifications().so_far(); // systemd reads them too
        }
        service.settled();
        let directory = format!("/proc/{}/fd", service.pid());
        open.push(wait_for("descriptors", || Some(std::fs::read_dir(&directory).ok()?.count())));
    }
    // what one generation leaves for a moment is no leak; ten reloads would leave ten of it
    assert!(open[2] < open[0] + 5, "descriptors after 5, 10 and 15 reloads: {open:?}");
}
