//! A crowd of clients that never try again, and the servers behind the proxy that they talk to.
//!
//! Whatever a proxy does to a connection is counted, not repaired. Every byte is checked at both ends: it follows from
//! a key that no other request has and from its position, so that one that is lost, changed, out of order, there twice
//! or from another connection is noticed. The black-box facts and the system facts share it; for the latter it runs
//! inside the network of a container.

mod answers;
mod content;
mod crowd;
mod exchanges;
mod held;
mod ledger;
mod place;
mod servers;
mod setup;
mod steps;
mod streams;
mod tls;
mod tunnels;
mod wire;

pub use content::Chance;
pub use crowd::{Crowd, Door, Habits};
pub use held::HeldOpen;
pub use ledger::{Ends, Gone, Tally};
pub use place::Place;
pub use servers::Servers;
pub use setup::{Change, Setup};
pub use steps::Steps;
pub use tls::Certificate;

use std::fmt;
use std::time::Duration;

/// The longest wait for anything: far above what a reload takes, so what runs into it is lost.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why something did not come to its good end.
#[derive(Debug)]
pub struct Lost(String);

impl Lost {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<std::io::Error> for Lost {
    // "Connection reset by peer (os error 104)" without the number, which says nothing to most
    fn from(fault: std::io::Error) -> Self {
        Self(fault.to_string().split(" (os").next().unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Waits for what should come, and no longer than a client would.
async fn in_time<T>(what: &str, coming: impl Future<Output = Result<T, Lost>>) -> Result<T, Lost> {
    let late = |_| Lost(format!("no {what} within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, coming).await.map_err(late)?
}
