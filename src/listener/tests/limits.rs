//! How many connections are open at once.

use std::time::Duration;

use super::support::get;
use super::{Fixture, run};

#[test]
fn connections_beyond_the_limit_wait_in_the_backlog() {
    run(|| async {
        let fixture = Fixture::with(|listener| listener.max_connections = 2);
        let mut first = fixture.connect().await;
        let mut second = fixture.connect().await;
        assert_eq!(first.get("/1").await.status(), "200");
        assert_eq!(second.get("/2").await.status(), "200");
        let mut third = fixture.connect().await;
        third.send(get("/3")).await;
        assert!(tokio::time::timeout(Duration::from_millis(50), third.answer()).await.is_err());
        assert_eq!(fixture.limits.listener().open(), 2);
        drop(first);
        assert_eq!(third.answer().await.text(), "/3");
    });
}
