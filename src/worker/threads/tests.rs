use std::fs::File;

use tokio::sync::mpsc;

use super::*;
use crate::observe::journal::{Identity, Role};

fn threads() -> Threads {
    let config = Config::from_toml("[worker]\nthreads = 2\n[listen.http]\n").expect("a configuration");
    let identity = Identity { role: Role::Worker, generation: Some(1) };
    let journal = Journal::start(identity, None).expect("a journal");
    Threads::start(Arc::new(RuntimeConfig::new(1, config)), journal).expect("threads")
}

#[tokio::test(flavor = "current_thread")]
async fn a_socket_that_cannot_be_accepted_on_is_said() {
    let threads = threads();
    // the kernel watches no regular files
    let file = File::open("/proc/self/exe").expect("open");
    let fault = threads.serve(vec![("http".to_owned(), file.into())]).await.expect_err("no socket");
    assert_eq!(fault.to_string(), "a thread cannot accept");
}

#[tokio::test(flavor = "current_thread")]
async fn a_thread_that_ends_is_noticed() {
    let mut threads = threads();
    let ended = threads.ended();
    // as after a panic: its orders are not taken any more
    threads.threads[1].orders = mpsc::channel(1).0;
    ended.notified().await;
    assert!(!threads.heartbeat(Heartbeat::OfAll, Duration::from_secs(10)).await);
}

#[tokio::test(flavor = "current_thread")]
async fn a_thread_that_waits_for_events_is_alive_unasked_and_one_that_hangs_in_a_task_is_not() {
    const SHORT: Duration = Duration::from_millis(20);
    let mut threads = threads();
    // nothing reads these orders: that thread cannot answer
    let (unread, _orders) = mpsc::channel(16);
    let orders = std::mem::replace(&mut threads.threads[1].orders, unread);
    while !threads.heartbeat(Heartbeat::OfBusy, SHORT).await {}
    assert!(!threads.heartbeat(Heartbeat::OfAll, SHORT).await);
    threads.threads[1].orders = orders;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (hangs, hung) = oneshot::channel();
    let hang = Order::Look(Box::new(move |_| {
        let _ = hangs.send(());
        let _ = held.recv();
    }));
    assert!(threads.threads[0].orders.send(hang).await.is_ok());
    hung.await.expect("it hangs");
    assert!(!threads.heartbeat(Heartbeat::OfBusy, SHORT).await);
    drop(release);
    assert!(threads.heartbeat(Heartbeat::OfAll, Duration::from_secs(10)).await);
}
