//! What a client does that costs and brings nothing ends its connection, with a record.

use std::net::SocketAddr;

use crate::http2::Setup;
use crate::http2::client::*;
use crate::support::{Run, Wire, socket, wait_for};

/// Sends `each` again and again until the connection ends, and gives the code.
#[track_caller]
fn floods(mut client: H2, mut each: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for round in 0..20_000 {
        if client.wire.try_send(each(2 * round + 1)).is_err() {
            break;
        }
    }
    client.goes_away()
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[test]
fn floods_are_told_to_be_calm() {
    let setup = Setup::new();
    let get = |stream| frame(HEADERS, WHOLE, stream, &block(&request("GET", "a.test", "/")));
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let calm = 11;
    assert_eq!(floods(setup.client(), |stream| [get(stream), reset(stream)].concat()), calm, "rapid reset");
    assert_eq!(floods(setup.client(), |_| frame(PING, 0, 0, &[0; 8]).repeat(8)), calm, "PING");
    assert_eq!(floods(setup.client(), |_| frame(SETTINGS, 0, 0, &[]).repeat(8)), calm, "SETTINGS");
    assert_eq!(floods(setup.client(), |_| frame(PRIORITY, 0, 1, &[0; 5]).repeat(8)), calm, "PRIORITY");
    assert_eq!(floods(setup.client(), |_| frame(0x55, 0, 0, &[]).repeat(8)), calm, "a type that is not known");
    let mut client = setup.client();
    client.post(1, "a.test", &[]);
    assert_eq!(floods(client, |_| frame(DATA, 0, 1, &[])), calm, "empty DATA");
    let malformed = |stream| frame(HEADERS, WHOLE, stream, &block(&[("x", "y")]));
    assert_eq!(floods(setup.client(), malformed), calm, "what we have to reset");
    let mut client = setup.client();
    client.send(HEADERS, END_STREAM, 1, &[]);
    assert_eq!(floods(client, |_| frame(CONTINUATION, 0, 1, &[])), calm, "CONTINUATION");
}

#[test]
fn a_flood_has_a_record() {
    let (listener, address) = socket();
    let run = Run::new("[listen.http]\nh2c = true\n").socket("http", listener);
    let _service = run.start();
    let client = |address: SocketAddr| H2::begin(Wire::connect(address), &[]);
    assert_eq!(floods(client(address), |_| frame(PING, 0, 0, &[0; 8]).repeat(8)), 11);
    run.wait_log("Too many frames ask for nothing.");
    let said = wait_for("a record", || run.log().lines().find(|line| line.contains("Too many")).map(str::to_owned));
    assert!(said.contains("429"), "{said}");
}

// Each block of 8 KB took 84 µs, and 1,000 of a connection were a 431 before it ended: others waited for 0.3 s.
#[test]
fn a_table_that_is_named_again_and_again_costs_no_memory_and_ends_its_connection() {
    let setup = Setup::new();
    let value = "v".repeat(3000);
    let mut bomb = block(&request("GET", "a.test", "/"));
    bomb.extend([0x40, 1, b'a', 127, 0xb9, 0x16]);
    bomb.extend(value.as_bytes());
    bomb.extend([0xbe; 10_000]);
    let before = setup.proxy.memory();
    for _ in 0..50 {
        let mut client = setup.client();
        client.send(HEADERS, WHOLE, 1, &bomb);
        assert_eq!(client.goes_away(), ENHANCE_YOUR_CALM);
    }
    let more = setup.proxy.memory().saturating_sub(before);
    assert!(more < 8 << 20, "{more} bytes for 1.5 GB of fields");
}

#[test]
fn a_client_whose_fields_are_a_little_too_long_is_told_so_each_time() {
    let setup = Setup::new();
    let mut client = setup.client();
    for stream in 0..20 {
        client.send(HEADERS, WHOLE, 2 * stream + 1, &long_head());
        assert_eq!(client.response(2 * stream + 1).status(), "431");
    }
}

/// 40 KB in 14 KB, by a field that is named three times.
fn long_head() -> Vec<u8> {
    let value = "v".repeat(3000);
    let mut head = block(&request("GET", "a.test", "/"));
    head.extend([0x40, 1, b'a', 127, 0xb9, 0x16]);
    head.extend(value.as_bytes());
    head.extend([0xbe; 13]);
    head
}

#[test]
fn a_client_that_reads_nothing_of_many_responses_costs_little_and_not_for_long() {
    let setup = Setup::new();
    let mut client = H2::begin(setup.proxy.client_of("hasty"), &[(4, 1 << 30)]);
    client.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
    let before = setup.proxy.memory();
    let mut servers = Vec::new();
    for stream in 0..64 {
        client.get(2 * stream + 1, "a.test", "/");
        let mut server = setup.server.accept();
        server.head();
        servers.push(server);
    }
    let sends = |mut server: Wire| {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        while server.try_send([0; 64 * 1024]).is_ok() {}
    };
    let sending: Vec<_> = servers.into_iter().map(|server| std::thread::spawn(move || sends(server))).collect();
    let mut most = before;
    while sending.iter().any(|thread| !thread.is_finished()) {
        most = most.max(setup.proxy.memory());
        std::thread::yield_now();
    }
    let more = most - before;
    assert!(more < 16 << 20, "{more} bytes");
}
