//! The trials of ejected servers: at the end of the time a connection to the server is opened, and closed again. So
//! no client has to try it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{connect, send_proxy};
use crate::pool::passive::Ejection;
use crate::pool::{Pool, Server};

/// How often an ejected server in maintenance is looked at.
const IN_MAINTENANCE: std::time::Duration = std::time::Duration::from_secs(1);

/// The running trials; they end when this is dropped.
#[derive(Debug)]
pub struct Trials {
    /// Ended with this: a `JoinSet` aborts its tasks.
    _tasks: JoinSet<()>,
}

impl Trials {
    /// Watches every server that can be ejected, on this thread: inside a `LocalRuntime` or `LocalSet`.
    ///
    /// `on_back` gets the pool, the index of the server, and the ejection that is over.
    pub fn start(pools: &[Arc<Pool>], on_back: impl Fn(&Pool, usize, &Ejection) + 'static) -> Self {
        let on_back = Rc::new(on_back);
        let mut tasks = JoinSet::new();
        // the only server of a pool is never ejected
        for pool in pools.iter().filter(|pool| pool.configured().count() > 1) {
            for (index, _) in pool.servers.iter().enumerate().filter(|(_, server)| server.passive.is_on()) {
                let (pool, on_back) = (pool.clone(), on_back.clone());
                tasks.spawn_local(async move {
                    loop {
                        if let Some(ejection) = try_again(&pool, index).await {
                            on_back(&pool, index, &ejection);
                        }
                    }
                });
            }
        }
        Self { _tasks: tasks }
    }
}

/// Waits until a server is ejected and its time over, and tries it. Returns the ejection that this ends.
async fn try_again(pool: &Pool, index: usize) -> Option<Ejection> {
    let server = &pool.servers[index];
    let Some(left) = server.passive.due_in(SystemTime::now()) else {
        server.passive.news().await;
        return None;
    };
    if !left.is_zero() {
        tokio::select! {
            () = sleep(left) => {}
            () = server.passive.news() => {}
        }
        return None; // the state may have changed meanwhile
    }
    if server.admin.is_in_maint() {
        // no connection is opened to it; once it is ready it is tried soon
        sleep(IN_MAINTENANCE).await;
        return None;
    }
    if takes_connections(pool, server).await {
        return server.passive.passed();
    }
    server.passive.prolonged(SystemTime::now());
    None
}

async fn takes_connections(pool: &Pool, server: &Server) -> bool {
    let Some(addresses) = server.addresses() else { return false };
    let within = pool.settings.connect_timeout;
    // a server that speaks TLS would take the end of a connection for a broken handshake, and expects the header before one
    let header = pool.settings.send_proxy.filter(|_| server.scheme.is_tls());
    let header = header.map(|version| send_proxy::header(version, None));
    matches!(timeout(within, connect::open(server, &addresses, within, header.as_deref())).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::pool::tests::{server, settings};

    #[tokio::test(flavor = "local")]
    async fn an_ejected_server_is_back_once_it_takes_connections() {
        let place = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
        let servers = vec![server(&place.to_string(), 1), server("10.0.0.1:80", 1)];
        let pool = Arc::new(Pool::new(settings(servers), SystemTime::now()));
        let back = Rc::new(RefCell::new(Vec::new()));
        let heard = back.clone();
        let _trials = Trials::start(std::slice::from_ref(&pool), move |_, index, ejection| {
            heard.borrow_mut().push((index, ejection.reason.clone()));
        });
        // so early that the first trial is due at once
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        let ejection = (0..3).find_map(|_| pool.connection_failed(0, "refused", long_ago));
        assert!(ejection.is_some() && pool.servers[0].passive.is_ejected());
        let prolonged = async {
            while pool.servers[0].passive.due_in(long_ago).is_some_and(|pause| pause < Duration::from_secs(2)) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(10), prolonged).await.expect("the trial of a dead server fails");
        let listener = TcpListener::bind(place).await.expect("bind");
        let returned = async {
            while pool.servers[0].passive.is_ejected() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), returned).await.expect("the server is back");
        drop(listener);
        assert_eq!(back.take(), [(0, "3 connections in a row failed: refused".to_owned())]);
    }
}
