//! TLS on a pair of sockets, with rustls at the other end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use tokio::time::timeout;

use super::*;
use crate::tls::RecordError;
use crate::tls::tests::{Server, client, suites};

type Client = StreamOwned<ClientConnection, UnixStream>;
const SOON: Duration = Duration::from_secs(20);

/// A connection with each suite: the server's end, and a thread that is the client.
async fn connected<T: Send + 'static>(
    suite: rustls::SupportedCipherSuite,
    act: impl FnOnce(Client) -> T + Send + 'static,
) -> (Stream, JoinHandle<T>) {
    let server = Server::new();
    let client = client(&server.client_with(suite, &[b"http/1.1"]));
    let (here, there) = UnixStream::pair().expect("a pair");
    there.set_read_timeout(Some(SOON)).expect("an option");
    here.set_nonblocking(true).expect("an option");
    let thread = spawn(move || {
        let mut client = StreamOwned::new(client, there);
        while client.conn.is_handshaking() {
            client.conn.complete_io(&mut client.sock).expect("a handshake");
        }
        act(client)
    });
    let socket = Stream::from_fd(here.into()).expect("a socket");
    let accepted = accept(socket, BytesMut::new(), |_| Some(server.config.clone()), || false);
    let stream = timeout(SOON, accepted).await.expect("in time").map_err(|(_, error)| error).expect("a handshake");
    (stream, thread)
}

async fn read(stream: &Stream) -> io::Result<BytesMut> {
    let mut bytes = BytesMut::with_capacity(4096);
    timeout(SOON, std::future::poll_fn(|cx| stream.poll_read_into(cx, &mut bytes))).await.expect("in time")?;
    Ok(bytes)
}

async fn read_to_end(stream: &Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let bytes = read(stream).await?;
        if bytes.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&bytes);
    }
}

async fn write_all(stream: &Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = timeout(SOON, std::future::poll_fn(|cx| stream.poll_write_some(cx, bytes))).await;
        bytes = &bytes[written.expect("in time").expect("written")..];
    }
}

async fn finish_writing(stream: &Stream) {
    let finished = timeout(SOON, std::future::poll_fn(|cx| stream.poll_finish_writing(cx))).await;
    finished.expect("in time").expect("FIN");
}

fn numbers(length: u32) -> Vec<u8> {
    (0..length).map(|number| (number / 7) as u8).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_go_both_ways_and_each_side_ends_by_itself() {
    for suite in suites() {
        let (stream, client) = connected(suite, |mut client| {
            client.write_all(&numbers(1_000_000)).expect("written");
            client.conn.send_close_notify();
            client.flush().expect("written");
            let mut got = Vec::new();
            client.read_to_end(&mut got).expect("close_notify, and no reset");
            got
        })
        .await;
        assert_eq!(stream.tls().expect("TLS").facts().alpn.as_deref(), Some("http/1.1"));
        assert!(read_to_end(&stream).await.expect("read") == numbers(1_000_000), "{suite:?}");
        write_all(&stream, &numbers(3_000_000)).await;
        finish_writing(&stream).await;
        assert!(client.join().expect("a client") == numbers(3_000_000), "{suite:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_write_that_does_not_fit_is_done_when_it_is_tried_again() {
    let (go, wait) = mpsc::channel();
    let (stream, client) = connected(suites()[0], move |mut client| {
        wait.recv_timeout(SOON).expect("a full socket");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("close_notify");
        got
    })
    .await;
    let data = numbers(5_000_000);
    let mut at = 0;
    let full = loop {
        let slices = [&data[at..at + 10], &data[at + 10..]].map(IoSlice::new);
        match stream.try_write_vectored(&slices) {
            Ok(written) => at += written,
            Err(full) => break full,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    // told of less than it had sealed, in whatever pieces it is asked
    go.send(()).expect("a client");
    write_all(&stream, &data[at..at + 5]).await;
    write_all(&stream, &data[at + 5..]).await;
    finish_writing(&stream).await;
    assert!(client.join().expect("a client") == data);
}

#[tokio::test(flavor = "current_thread")]
async fn close_notify_waits_until_a_slow_client_has_made_room_for_it() {
    let (go, wait) = mpsc::channel();
    let (stream, client) = connected(suites()[0], move |mut client| {
        wait.recv_timeout(SOON).expect("a full socket");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("close_notify");
        got.len()
    })
    .await;
    let data = numbers(10_000);
    let mut written = 0;
    while let Ok(more) = stream.try_write(&data) {
        written += more;
    }
    assert_eq!(stream.finish_writing().expect_err("no room").kind(), io::ErrorKind::WouldBlock);
    go.send(()).expect("a client");
    finish_writing(&stream).await;
    let got = client.join().expect("a client");
    assert!((written..=written + data.len()).contains(&got), "{got} of {written}");
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_opened_and_not_taken_is_there_without_the_socket() {
    let (stream, client) = connected(suites()[0], |mut client| {
        client.write_all(b"first").expect("written");
        client.write_all(b"second").expect("written");
        client.flush().expect("written");
        client
    })
    .await;
    let _client = client.join().expect("a client");
    let mut byte = [0; 1];
    stream.readable().await.expect("readable");
    assert_eq!(stream.try_read(&mut byte).expect("a byte"), 1);
    assert!(!stream.is_silent());
    // both records have come: the poller says nothing any more, and all of it can be read
    stream.forget_readable();
    let mut rest = Vec::new();
    while rest.len() < 10 {
        rest.extend_from_slice(&read(&stream).await.expect("read"));
    }
    assert_eq!((byte, &rest[..]), (*b"f", &b"irstsecond"[..]));
    assert_eq!(stream.recv(&mut byte).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);
    assert!(stream.is_silent());
}

#[tokio::test(flavor = "current_thread")]
async fn a_record_that_was_changed_ends_the_connection_with_an_alert() {
    for suite in suites() {
        let (stream, client) = connected(suite, |mut client| {
            let mut sealed = Vec::new();
            client.conn.writer().write_all(b"data").expect("taken");
            client.conn.write_tls(&mut sealed).expect("a vector");
            *sealed.last_mut().expect("bytes") ^= 1;
            client.sock.write_all(&sealed).expect("written");
            client.read(&mut [0; 1]).expect_err("an alert").to_string()
        })
        .await;
        let error = read(&stream).await.expect_err("no data");
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::InvalidData, RecordError::BadRecordMac.to_string())
        );
        assert!(stream.try_read(&mut [0; 1]).is_err(), "and again");
        assert_eq!(client.join().expect("a client"), "received fatal alert: BadRecordMac", "{suite:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_socket_comes_back_from_a_client_that_does_not_speak_tls() {
    let (here, mut there) = UnixStream::pair().expect("a pair");
    here.set_nonblocking(true).expect("an option");
    there.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    let socket = Stream::from_fd(here.into()).expect("a socket");
    let refused = timeout(SOON, accept(socket, BytesMut::new(), |_| None, || false)).await.expect("in time");
    let (socket, error) = refused.expect_err("no TLS");
    assert!(matches!(error, AcceptError::Handshake(HandshakeError::NotTls)), "{error}");
    write_all(&socket, b"in plaintext").await;
    drop(socket);
    let mut got = String::new();
    there.read_to_string(&mut got).expect("read");
    assert_eq!(got, "in plaintext");
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_leaves_in_the_handshake_is_told_apart_from_one_that_never_spoke() {
    for said in [&[][..], &[22, 3, 1]] {
        let (here, mut there) = UnixStream::pair().expect("a pair");
        here.set_nonblocking(true).expect("an option");
        there.write_all(said).expect("written");
        drop(there);
        let socket = Stream::from_fd(here.into()).expect("a socket");
        let gone = timeout(SOON, accept(socket, BytesMut::new(), |_| None, || false)).await.expect("in time");
        match said {
            [] => assert!(matches!(gone, Err((_, AcceptError::Silent)))),
            _ => assert!(matches!(gone, Err((_, AcceptError::Ended)))),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_socket_alone_is_not_given_away() {
    let (stream, client) = connected(suites()[0], |client| client).await;
    assert_eq!(stream.into_fd().expect_err("no").kind(), io::ErrorKind::Unsupported);
    drop(client.join().expect("a client"));
}

/// The same connection after a way to another process.
fn moved(stream: Stream) -> Stream {
    stream.detach().expect("an open connection").attach().expect("a socket")
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_goes_on_where_it_is_attached_inside_of_records_both_ways() {
    for suite in suites() {
        let (go, wait) = mpsc::channel();
        let (mut stream, client) = connected(suite, move |mut client| {
            client.conn.set_buffer_limit(None);
            client.conn.writer().write_all(&numbers(200_000)).expect("taken");
            let mut sealed = Vec::new();
            while client.conn.wants_write() {
                client.conn.write_tls(&mut sealed).expect("a vector");
            }
            for piece in sealed.chunks(4099) {
                client.sock.write_all(piece).expect("written");
            }
            wait.recv_timeout(SOON).expect("a full socket");
            let mut got = Vec::new();
            client.read_to_end(&mut got).expect("close_notify");
            got
        })
        .await;
        let mut got = Vec::new();
        while got.len() < 200_000 {
            let mut bytes = BytesMut::with_capacity(1000);
            match stream.try_read_buf(&mut bytes) {
                Ok(read) => {
                    assert!(read > 0, "the end after {}", got.len());
                    got.extend_from_slice(&bytes);
                    stream = moved(stream);
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    stream.park();
                    timeout(SOON, stream.readable()).await.expect("in time").expect("readable");
                }
            }
        }
        assert!(got == numbers(200_000), "{suite:?}");
        let (data, mut at) = (numbers(3_000_000), 0);
        while let Ok(written) = stream.try_write(&data[at..]) {
            at += written;
        }
        stream = moved(stream); // with sealed records of which the writer was told nothing
        go.send(()).expect("a client");
        write_all(&stream, &data[at..at + 3]).await;
        stream = moved(stream);
        write_all(&stream, &data[at + 3..]).await;
        finish_writing(&moved(stream)).await;
        assert!(client.join().expect("a client") == data, "{suite:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_end_that_was_heard_of_is_one_where_the_connection_is_attached() {
    let (stream, client) = connected(suites()[0], |mut client| {
        client.write_all(b"last").expect("written");
        client.conn.send_close_notify();
        client.flush().expect("written");
        client
    })
    .await;
    let client = client.join().expect("a client"); // which keeps its socket open
    assert_eq!(&read(&stream).await.expect("read")[..], b"last");
    assert!(read(&stream).await.expect("the end").is_empty());
    assert!(read(&moved(stream)).await.expect("the end").is_empty());
    drop(client);
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_failed_is_not_given_away() {
    let (stream, client) = connected(suites()[0], |mut client| {
        client.sock.write_all(&[23, 3, 3, 0, 20]).expect("written");
        client.sock.write_all(&[0; 20]).expect("written");
        client
    })
    .await;
    read(&stream).await.expect_err("no data");
    assert_eq!(stream.detach().expect_err("no").kind(), io::ErrorKind::NotConnected);
    drop(client.join().expect("a client"));
}
