//! What serves: every request is answered with `ok` and the number of the generation.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::config::Config;
use crate::observe::journal::Journal;
use crate::observe::record::Names;

/// What a generation serves by.
pub struct Plan {
    /// The number of the generation.
    pub generation: u64,
    /// The configuration that it was made from.
    pub config: Config,
    /// What the indexes of a record mean.
    pub names: Arc<Names>,
}

impl Plan {
    /// Builds what the configuration says.
    #[must_use]
    pub fn new(generation: u64, config: Config) -> Self {
        let names = Arc::new(Names::default());
        Self {
            generation,
            config,
            names,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Serving,
    Parked,
    Draining,
    Cut,
}

/// The serving threads.
pub struct Threads {
    plan: Arc<Plan>,
    stage: watch::Sender<Stage>,
    open: Arc<AtomicU64>,
}

impl Threads {
    /// Starts the threads; they accept nothing yet.
    ///
    /// # Errors
    /// Never.
    pub fn start(plan: Arc<Plan>, _journal: Journal) -> io::Result<Self> {
        Ok(Self {
            plan,
            stage: watch::Sender::new(Stage::Parked),
            open: Arc::default(),
        })
    }

    /// Accepts on these sockets.
    ///
    /// # Errors
    /// When one is no TCP listener.
    pub async fn serve(&self, sockets: Vec<(String, OwnedFd)>) -> io::Result<()> {
        for (_, socket) in sockets {
            let listener = TcpListener::from_std(std::net::TcpListener::from(socket))?;
            tokio::spawn(accept(
                listener,
                self.stage.subscribe(),
                self.open.clone(),
                self.plan.generation,
            ));
        }
        self.resume().await;
        Ok(())
    }

    /// Stops accepting.
    pub async fn park(&self) {
        self.stage.send_replace(Stage::Parked);
        tokio::task::yield_now().await;
    }

    /// Accepts again.
    pub async fn resume(&self) {
        self.stage.send_replace(Stage::Serving);
        tokio::task::yield_now().await;
    }

    /// Lets go of what is open.
    pub async fn drain(&self, timeout: Duration, _idle: Duration) {
        self.stage.send_replace(Stage::Draining);
        let stage = self.stage.clone();
        tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            stage.send_replace(Stage::Cut);
        });
    }

    /// Whether every thread answers within `deadline`.
    pub async fn heartbeat(&self, _deadline: Duration) -> bool {
        true
    }

    /// Waits until every thread is through with its drain.
    pub async fn finished(&mut self) {
        while self.open.load(Ordering::Relaxed) > 0 && *self.stage.borrow() != Stage::Cut {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the threads counted.
    #[must_use]
    pub fn status(&self) -> Value {
        json!({ "connections": self.open.load(Ordering::Relaxed), "servers": 0, "servers_up": 0, "cut": 0 })
    }
}

async fn accept(listener: TcpListener, mut stage: watch::Receiver<Stage>, open: Arc<AtomicU64>, generation: u64) {
    loop {
        let now = *stage.borrow_and_update();
        tokio::select! {
            changed = stage.changed() => if changed.is_err() { return },
            accepted = listener.accept(), if now == Stage::Serving => if let Ok((client, _)) = accepted {
                open.fetch_add(1, Ordering::Relaxed);
                let (stage, open) = (stage.clone(), open.clone());
                tokio::spawn(async move {
                    let _ = serve(client, stage, generation).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            },
        }
    }
}

async fn serve(mut client: TcpStream, mut stage: watch::Receiver<Stage>, generation: u64) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        while !buffer.windows(4).any(|end| end == b"\r\n\r\n") {
            tokio::select! {
                read = client.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
                _ = stage.wait_for(|stage| *stage == Stage::Cut) => return Ok(()),
            }
        }
        buffer.clear();
        let close = matches!(*stage.borrow(), Stage::Draining | Stage::Cut);
        let body = format!("ok from generation {generation}\n");
        let connection = if close { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        client.write_all(format!("{head}{body}").as_bytes()).await?;
        if close {
            return Ok(());
        }
    }
}
