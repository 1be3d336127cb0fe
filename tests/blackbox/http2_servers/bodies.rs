//! Bodies, as far as the windows let them.

use super::{ServerSide, Setup, WINDOW};
use crate::http2::client::{DATA, END_STREAM, WINDOW_UPDATE};

#[test]
fn an_upload_follows_the_windows_of_the_server() {
    let setup = Setup::new();
    let mut client = setup.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut server = setup.accept(&[(WINDOW, 10)]);
    let (stream, _) = server.request();
    server.settle();
    server.answer(stream, "200");
    client.head();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 25\r\n\r\n0123456789012345678901234");
    let (stream, _) = server.request();
    assert_eq!(server.next(DATA).payload, b"0123456789");
    server.settle();
    server.send(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 4]);
    assert_eq!(server.next(DATA).payload, b"0123");
    server.send(WINDOW_UPDATE, 0, stream, &[0, 0, 1, 0]);
    let last = server.next(DATA);
    assert_eq!((&last.payload[..], last.ends()), (&b"45678901234"[..], true));
    server.answer(stream, "200");
    assert_eq!(client.head().status(), 200);
}

#[test]
fn a_client_that_does_not_read_stops_its_own_response_only() {
    let setup = Setup::new();
    let mut slow = setup.h2(); // its window is 65,535 octets
    slow.get(1, "a.test", "/slow");
    let mut server = setup.accept(&[]);
    let (blocked, _) = server.request();
    server.head(blocked, &[(":status", "200")]);
    // as much as the window of the stream lets the server send
    let piece = vec![b'x'; 16_384];
    for _ in 0..4 {
        server.send(DATA, 0, blocked, &piece);
    }
    server.find(|frame| frame.kind == WINDOW_UPDATE && frame.stream == blocked);
    server.send(DATA, 0, blocked, &piece);
    let mut client = setup.client();
    client.send("GET /other HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (stream, _) = server.request();
    server.head(stream, &[(":status", "200"), ("content-length", "163840")]);
    let mut window = 65_536;
    for place in 0..10 {
        while window < piece.len() {
            let update = server.find(|frame| frame.kind == WINDOW_UPDATE && frame.stream == stream);
            window += update.number() as usize;
        }
        server.send(DATA, if place == 9 { END_STREAM } else { 0 }, stream, &piece);
        window -= piece.len();
    }
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.take(163_840).len(), 163_840);
}
