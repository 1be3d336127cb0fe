//! Clients that are slow, and clients that vanish.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Crowd, Farm, Habit, Manners};
use crate::support::{DEADLINE, Run, Service, socket, wait_for};

/// What a client has said when it goes.
const STAGES: [&str; 5] = [
    "",
    "GET / HT",
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
];

fn say(address: SocketAddr, words: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("connect");
    client.write_all(words.as_bytes()).expect("write");
    client
}

#[track_caller]
fn wait_connections(service: &Service<'_>, count: u64) {
    wait_for(&format!("{count} connections"), || {
        (service.status()["generations"][0]["connections"] == count).then_some(())
    });
}

#[test]
fn hundreds_of_half_heads_hold_up_nobody_and_each_is_told() {
    let farm = Farm::new(1, Manners::Keeping);
    let (listening, address) = socket();
    let config = farm.config("[listen.http]\nheader_timeout = \"2s\"");
    let run = Run::new(&config).socket("http", listening);
    let service = run.start();
    let slow: Vec<_> = (0..400).map(|_| say(address, "GET / HTTP/1.1\r\nHost: local")).collect();
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Staying]);
    crowd.wait_served(100);
    crowd.end();
    for mut client in slow {
        client.set_read_timeout(Some(DEADLINE)).expect("timeout");
        let mut answer = [0; 12];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    wait_connections(&service, 0);
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let farm = Farm::new(2, Manners::Keeping);
    let (listening, address) = socket();
    let run = Run::new(&farm.config("")).socket("http", listening);
    let service = run.start();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", service.serving().1)).expect("fds").count();
    let before = descriptors();
    for round in 0..100 {
        for words in STAGES {
            let client = say(address, words);
            if round % 2 == 0 {
                // with a reset
                rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).expect("linger");
            }
        }
    }
    wait_connections(&service, 0);
    // idle connections to servers go after a few seconds
    wait_for("the descriptors of before", || (descriptors() <= before).then_some(()));
    let crowd = Crowd::start(address, &[Habit::Fresh, Habit::Post]);
    crowd.wait_served(20);
    crowd.end();
}
