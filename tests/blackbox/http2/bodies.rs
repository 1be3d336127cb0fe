//! Bodies and their ends, both ways, and the windows that bound them.

use crate::http2::Setup;
use crate::http2::client::*;

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

// The request was whole for the server with its last octet, so that DATA beyond its length could only be reset afterwards.
#[test]
fn the_last_octet_of_a_body_waits_for_the_end_of_its_stream() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.post(1, "a.test", &[("content-length", "5")]);
    client.send(DATA, 0, 1, b"hello");
    let mut server = setup.server.accept();
    assert_eq!(server.head().field("content-length"), Some("5"));
    server.expect("hell");
    server.assert_silent();
    client.send(DATA, END_STREAM, 1, b"");
    server.expect("o");
    server.send(NO_CONTENT);
    assert_eq!(client.response(1).status(), "204");
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_never_becomes_whole() {
    let setup = Setup::new();
    let frames: [&[(u8, u8, &[u8])]; 4] = [
        &[(DATA, 0, b"hello"), (DATA, 1, b"!")],
        &[(DATA, 0, b"hello!")],
        &[(DATA, 1, b"hell")],
        &[(DATA, 0, b"hell"), (HEADERS, WHOLE, b"\x00\x01a\x01b")],
    ];
    for frames in frames {
        let mut client = setup.client();
        client.post(1, "a.test", &[("content-length", "5")]);
        client.settle();
        for (kind, flags, payload) in frames {
            client.send(*kind, *flags, 1, payload);
        }
        assert_eq!(client.response(1).reset, Some(1), "{frames:?}");
        let (sent, _) = setup.server.accept().rest();
        let body = sent.windows(4).position(|octets| octets == b"\r\n\r\n").map_or(&b""[..], |head| &sent[head + 4..]);
        assert!(body.len() < 5, "{frames:?}: {body:?}");
    }
}

#[test]
fn a_body_of_unknown_length_is_chunked_and_its_trailers_follow() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.post(1, "a.test", &[]);
    client.send(DATA, 8, 1, b"\x02helloXX");
    client.send(HEADERS, WHOLE, 1, &block(&[("x-sum", "1"), ("authorization", "b"), ("x-b", "2")]));
    let mut server = setup.server.accept();
    assert_eq!(server.head().field("transfer-encoding"), Some("chunked"));
    assert_eq!(server.chunks(), (b"hello".to_vec(), "x-sum: 1\r\nx-b: 2\r\n".to_owned()));
    server.send(NO_CONTENT);
    assert_eq!(client.response(1).status(), "204");
}

#[test]
fn trailers_of_a_response_go_to_a_client_that_takes_them() {
    let setup = Setup::new();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n";
    for (te, trailers) in [(&[("te", "trailers")][..], "grpc-status: 0\n"), (&[], "")] {
        let mut client = setup.client();
        client.send(HEADERS, WHOLE, 1, &block(&[&request("GET", "a.test", "/")[..], te].concat()));
        let _server = setup.answers(chunked);
        let response = client.response(1);
        assert_eq!((&response.body[..], &response.trailers[..], response.reset), (&b"ok"[..], trailers, None));
    }
}

#[test]
fn a_large_body_goes_up_as_the_server_takes_it() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.post(1, "a.test", &[("content-length", "1000000")]);
    let (mut left, mut window, mut total) = (1_000_000_usize, 65_535_usize, 65_535_usize);
    let reading = std::thread::spawn({
        let server = setup.server.accept();
        move || {
            let mut server = server;
            server.head();
            let body = server.take(1_000_000);
            server.send(NO_CONTENT);
            body
        }
    });
    let settings = client.next(SETTINGS);
    let initial = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 4]).map(|setting| &setting[2..]);
    window = initial.map_or(window, |value| u32::from_be_bytes(value.try_into().expect("four octets")) as usize);
    while left > 0 {
        let len = left.min(window).min(total).min(16_384);
        if len == 0 {
            let update = client.next(WINDOW_UPDATE);
            *(if update.stream == 0 { &mut total } else { &mut window }) += update.number() as usize;
            continue;
        }
        (left, window, total) = (left - len, window - len, total - len);
        client.send(DATA, u8::from(left == 0), 1, &vec![b'u'; len]);
    }
    assert!(reading.join().expect("a server").iter().all(|octet| *octet == b'u'));
    assert_eq!(client.response(1).status(), "204");
}

#[test]
fn no_more_is_read_ahead_of_a_body_than_the_window_of_its_stream() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.post(1, "a.test", &[("content-length", "1000000")]);
    let mut server = setup.server.accept();
    server.head();
    for _ in 0..7 {
        client.send(DATA, 0, 1, &[0; 16_384]);
    }
    client.settle();
    for _ in 0..100 {
        client.send(DATA, 0, 1, &[0; 16_384]);
    }
    // the server reads nothing and the kernel takes some, so it ends somewhere
    assert_eq!(client.response(1).reset, Some(3));
}

#[test]
fn an_answer_before_the_end_of_the_body_is_whole_and_stops_the_rest() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.post(1, "a.test", &[("content-length", "1000")]);
    client.send(DATA, 0, 1, b"some");
    let (_, _server) = setup.answers("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let response = client.response(1);
    assert_eq!((response.status(), &response.body[..]), ("403", &b"no"[..]));
    assert_eq!(client.find(|frame| frame.kind == RST_STREAM).number(), 0);
    client.send(DATA, END_STREAM, 1, b"more");
    client.get(3, "a.test", "/");
    setup.answers(NO_CONTENT);
    assert_eq!(client.response(3).status(), "204");
}

#[test]
fn a_body_above_the_limit_of_the_site_is_413() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.post(1, "a.test", &[("content-length", "1048577")]);
    assert_eq!(client.response(1).status(), "413");
    setup.server.assert_untouched();
}

#[test]
fn a_response_waits_for_the_windows_of_the_client() {
    let setup = Setup::new();
    let mut client = H2::begin(setup.proxy.client(), &[(4, 5)]);
    client.get(1, "a.test", "/");
    let _server = setup.answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n");
    assert_eq!(client.next(DATA).payload, b"01234");
    client.settle();
    client.send(WINDOW_UPDATE, 0, 1, &3_u32.to_be_bytes());
    assert_eq!(client.next(DATA).payload, b"567");
    client.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 7]);
    let last = client.next(DATA);
    assert_eq!(last.payload, b"89");
    assert!(last.ends() || client.next(DATA).ends());
}

// What came with the head was read whole, 128 KiB, and kept.
#[test]
fn a_stream_whose_window_is_shut_keeps_a_small_part_of_its_response() {
    const STREAMS: usize = 100;
    let setup = Setup::new();
    let mut client = H2::begin(setup.proxy.client(), &[(4, 0)]);
    let body = vec![b'x'; 60_000];
    let answered = |client: &mut H2, stream: u32| {
        client.get(stream, "a.test", "/");
        let mut server = setup.server.accept();
        server.head();
        server.send([&b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"[..], &body].concat());
        client.next(HEADERS);
        server
    };
    let mut servers = vec![answered(&mut client, 1)];
    let before = setup.proxy.memory();
    servers.extend((1..STREAMS as u32).map(|number| answered(&mut client, 2 * number + 1)));
    let each = setup.proxy.memory().saturating_sub(before) as usize / STREAMS;
    assert!(each < 40 * 1024, "{each} bytes for each stream");
}

#[test]
fn a_body_that_fills_the_window_still_ends() {
    let setup = Setup::new();
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = H2::begin(setup.proxy.client(), &[(4, 5)]);
        client.get(1, "a.test", "/");
        let (_, mut server) = setup.answers(response);
        if response.contains("chunked") {
            assert_eq!(client.next(DATA).payload, b"hello");
            server.send("0\r\n\r\n");
            assert!(client.next(DATA).ends());
        } else {
            assert_eq!(client.response(1).body, b"hello");
        }
    }
}

#[test]
fn a_large_response_comes_whole() {
    let setup = Setup::new();
    let mut client = H2::begin(setup.proxy.client(), &[(4, 1 << 24)]);
    client.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes());
    client.get(1, "a.test", "/");
    let mut server = setup.server.accept();
    server.head();
    let body: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
    let sent = body.clone();
    let sending = std::thread::spawn(move || {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n");
        server.send(sent);
    });
    assert!(client.response(1).body == body);
    sending.join().expect("a server");
}

// Each window went to the same streams, and the others had none of it for as long as those lasted.
#[test]
fn a_window_of_the_connection_that_is_too_small_for_all_its_streams_is_shared_by_all() {
    assert_shared(8192);
}

#[test]
fn windows_that_are_smaller_than_a_turn_are_shared_by_all_too() {
    assert_shared(3000);
}

/// Has eight streams share windows of the connection of this size.
#[track_caller]
fn assert_shared(window: usize) {
    const STREAMS: usize = 8;
    const LENGTH: usize = 300_000;
    /// More than a turn of each.
    const MOST_APART: usize = 3 * 8192;
    let setup = Setup::new();
    let mut client = H2::begin(setup.proxy.client(), &[(4, 1 << 20)]);
    let servers = (0..STREAMS as u32).map(|stream| {
        client.get(2 * stream + 1, "a.test", "/");
        let mut server = setup.server.accept();
        server.head();
        std::thread::spawn(move || {
            server.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
            server.send(vec![b'x'; LENGTH]);
            server
        })
    });
    let servers: Vec<_> = servers.collect();
    let (mut got, mut given) = ([0; STREAMS], 65_535);
    let mut receive = |client: &mut H2, until: usize| {
        while got.iter().sum::<usize>() < until {
            let data = client.next(DATA);
            got[data.stream as usize / 2] += data.payload.len();
        }
        got
    };
    let at_first = receive(&mut client, given); // most of it to those that were there first
    for _ in 0..64 {
        receive(&mut client, given);
        client.send(WINDOW_UPDATE, 0, 0, &(window as u32).to_be_bytes());
        given += window;
    }
    let mut got = receive(&mut client, given);
    got.iter_mut().zip(at_first).for_each(|(got, at_first)| *got -= at_first);
    let (least, most) = (got.iter().min().expect("some"), got.iter().max().expect("some"));
    assert!(most - least <= MOST_APART, "{got:?}");
    client.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes());
    assert_eq!(receive(&mut client, STREAMS * LENGTH), [LENGTH; STREAMS]);
    servers.into_iter().for_each(|server| drop(server.join().expect("no panic")));
}
