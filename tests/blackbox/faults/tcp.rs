//! TCP mode: half-closed connections, large transfers, servers that are gone, generations that end.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::support::{DEADLINE, Run, free_address, socket};

/// A server that gives back what it gets, to the end.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let Ok(mut writer) = stream.try_clone() else { return };
                let _ = std::io::copy(&mut stream, &mut writer);
                let _ = writer.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn run(keys: &str) -> (Run, SocketAddr) {
    let (listening, address) = socket();
    let run = Run::new(&format!("[tcp.relay]\n{keys}\n")).socket("relay", listening);
    (run.socket("http", socket().0), address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("connect");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    client
}

#[test]
fn what_a_client_sends_before_it_closes_its_side_comes_back_whole() {
    let (run, address) = run(&format!("to = [\"{}\"]", echo()));
    let _service = run.start();
    let mut client = connect(address);
    let mut writer = client.try_clone().expect("clone");
    let sent: Vec<u8> = (0..8_000_000_u32).map(|number| (number % 251) as u8).collect();
    let sending = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sending).expect("write");
        writer.shutdown(Shutdown::Write).expect("shutdown");
    });
    let mut back = Vec::new();
    client.read_to_end(&mut back).expect("everything");
    writing.join().expect("the writer");
    assert!(back == sent, "{} bytes of {}", back.len(), sent.len());
}

#[test]
fn a_server_that_is_gone_is_left_for_the_backup() {
    let (run, address) = run(&format!("to = [\"{}\"]\nbackup = [\"{}\"]", free_address(), echo()));
    let _service = run.start();
    for _ in 0..20 {
        let mut client = connect(address);
        client.write_all(b"hello").expect("write");
        let mut back = [0; 5];
        client.read_exact(&mut back).expect("an echo");
    }
}

#[test]
fn without_a_server_the_connection_is_closed_and_recorded() {
    let (run, address) = run(&format!("to = [\"{}\"]\nretries = 0", free_address()));
    let _service = run.start();
    let mut client = connect(address);
    // an end or a reset, and nothing before it
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    run.wait_log("could not connect");
}

#[test]
fn a_tunnel_to_a_server_that_is_gone_goes_on_until_the_drain_deadline_and_then_is_cut() {
    let keys = |server| format!("to = [\"{server}\"]\n[drain]\ntimeout = \"2s\"");
    let (run, address) = run(&keys(echo()));
    let service = run.start();
    let mut client = connect(address);
    let mut back = [0; 5];
    client.write_all(b"hello").expect("write");
    client.read_exact(&mut back).expect("an echo");
    run.configure(&format!("[tcp.relay]\n{}\n", keys(echo())));
    service.reload_anyway();
    run.wait_log("The tunnel of 127.0.0.1 to relay/");
    for _ in 0..100 {
        client.write_all(b"hello").expect("write");
        client.read_exact(&mut back).expect("an echo");
    }
    assert_eq!(client.read(&mut back).unwrap_or(0), 0, "the deadline came");
    run.wait_log("drain deadline");
    assert_eq!(service.settled().0, 2);
}
