//! A client that opens one connection after the other, to see whether a port is open throughout.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::strict::Place;

/// The longest that a connection may take: it waits in the queue of the socket, whoever accepts it later.
const PATIENCE: Duration = Duration::from_secs(10);
/// Some 200 a second, so that they fit into the queue while nobody accepts.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Knocking {
    stop: oneshot::Sender<()>,
    client: JoinHandle<(u64, Vec<String>)>,
}

impl Knocking {
    pub(crate) fn at(place: Place, address: SocketAddr) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let client = place.run("knocking", move || async move {
            let (mut opened, mut refused) = (0, Vec::new());
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) && refused.len() < 10 {
                match timeout(PATIENCE, TcpStream::connect(address)).await {
                    Ok(Ok(_)) => opened += 1,
                    Ok(Err(fault)) => refused.push(fault.to_string()),
                    Err(_) => refused.push("too late".to_owned()),
                }
                sleep(PAUSE).await;
            }
            (opened, refused)
        });
        Self { stop, client }
    }

    /// How many connections were opened, and why others were not.
    pub(crate) fn end(self) -> (u64, Vec<String>) {
        drop(self.stop);
        self.client.join().expect("the client")
    }
}
