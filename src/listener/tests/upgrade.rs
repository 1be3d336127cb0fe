//! Connections that turn into tunnels.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Fixture, run};
use crate::observe::end::{End, Phase, Reason};

const UPGRADE: &str = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn early_bytes_of_the_client_reach_the_tunnel_and_not_http() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        assert_eq!(peer.get("/before").await.status(), "200");
        peer.send(format!("{UPGRADE}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(peer.answer().await.status(), "101");
        peer.send("more").await;
        peer.stream.shutdown().await.expect("FIN");
        let echoed = peer.rest().await.expect("the end");
        assert_eq!(echoed, b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nmore");
        assert_eq!(fixture.seen(2).await, ["GET /before", "GET /upgrade"]);
        assert_eq!(fixture.end().await, End::OK);
    });
}

#[test]
fn a_tunnel_outlives_the_drain_until_the_deadline() {
    run(|| async {
        let fixture = Fixture::new();
        let mut peer = fixture.connect().await;
        peer.send(UPGRADE).await;
        assert_eq!(peer.answer().await.status(), "101");
        fixture.drain(std::time::Duration::ZERO);
        let mut buffer = [0; 4];
        peer.stream.write_all(b"ping").await.expect("write");
        peer.stream.read_exact(&mut buffer).await.expect("echo");
        fixture.enter(crate::drain::Stage::Cut);
        assert!(peer.rest().await.unwrap_or_default().is_empty());
        assert_eq!(fixture.end().await, End::new(Phase::Tunnel, Reason::Drained));
    });
}
