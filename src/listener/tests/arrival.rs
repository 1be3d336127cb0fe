//! Connections that come from another generation, whatever that says of them: they go on, and end once both of their
//! sides are gone.

use std::cell::OnceCell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::handover::transfer::Transfer;
use crate::listener::arrive::arrive;
use crate::listener::kind::Kind;
use crate::listener::limits::{Limits, WorkerLimit};
use crate::observe::journal::{Identity, Journal, Role};
use crate::observe::metrics::Counters;
use crate::proxy::{RuntimeConfig, Thread};

/// The names that connections may have; no server is there.
const CONFIG: &str = "[listen.http]\n[log]\naccess = 'off'\n[worker]\ntcp_keep_alive = 'off'\n[site.'*']\nto = 'farm'\n\
    [pool.farm]\nservers = ['unix:/nowhere/a', 'unix:/nowhere/b']\n";
/// Longer than every timeout.
const EVER: Duration = Duration::from_secs(24 * 3600);

/// Has connections arrive, of whose sockets `peers` are the other ends, and gives how many were taken.
pub(crate) fn arrival(transfers: Vec<Transfer>, peers: Vec<UnixStream>) -> usize {
    thread_local! {
        static RUNTIME: OnceCell<(tokio::runtime::LocalRuntime, Rc<Thread>)> = const { OnceCell::new() };
    }
    RUNTIME.with(|cell| {
        let (runtime, thread) = cell.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build_local(tokio::runtime::LocalOptions::default())
                .expect("a runtime");
            let thread = runtime.block_on(async { thread() });
            (runtime, thread)
        });
        runtime.block_on(go_on(thread, transfers, peers))
    })
}

fn thread() -> Rc<Thread> {
    let runtime_config = Arc::new(RuntimeConfig::new(1, Config::from_toml(CONFIG).expect("a configuration")));
    let journal = Journal::start(Identity { role: Role::Worker, generation: Some(1) }, None).expect("a journal");
    Thread::start(0, runtime_config.clone(), Counters::alone(&runtime_config.names), journal)
}

async fn go_on(thread: &Rc<Thread>, transfers: Vec<Transfer>, peers: Vec<UnixStream>) -> usize {
    let limits = Arc::new(Limits::new(1000, &Arc::new(WorkerLimit::new(1000))));
    let mut taken = 0;
    for transfer in transfers {
        // what it leads to may be unknown here
        taken += usize::from(arrive(thread, 0, Kind::Http(0), &limits, transfer).is_ok());
    }
    tokio::task::yield_now().await;
    drop(peers);
    let over = std::future::poll_fn(|cx| thread.clients.poll_empty(cx));
    tokio::time::timeout(EVER, over).await.expect("every connection ends");
    taken
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use bytes::BytesMut;

    use super::*;
    use crate::control::payload::Payload;
    use crate::handover::http2::{Http2Transfer, SavedHttp2, SavedStream, StreamTransfer};
    use crate::handover::message::{Batch, unpack};
    use crate::handover::transfer::Load;
    use crate::http2::Session;
    use crate::http2::settings::LocalSettings;
    use crate::net::Detached;

    const MUTATIONS: u64 = 400;

    /// As the fuzz target `transfer` has it: how many descriptors there are, a batch, and the bytes behind a 0.
    fn arrive_as(seed: &[u8]) -> usize {
        let (&descriptors, rest) = seed.split_first().expect("a seed");
        let (json, bytes) = rest.split_at(memchr::memchr(0, rest).unwrap_or(rest.len()));
        let Ok(batch) = serde_json::from_slice::<Batch>(json) else { return 0 };
        let (all, peers): (Vec<UnixStream>, Vec<UnixStream>) =
            (0..descriptors & 15).map(|_| UnixStream::pair().expect("a pair")).unzip();
        all.iter().for_each(|one| one.set_nonblocking(true).expect("nonblocking"));
        let mut all: Vec<OwnedFd> = all.into_iter().map(OwnedFd::from).collect();
        if !bytes.is_empty() {
            all.push(Payload::new(bytes).expect("a memory file").into());
        }
        let Ok(transfers) = unpack(batch, all) else { return 0 };
        arrival(transfers, peers)
    }

    #[test]
    fn a_session_that_contradicts_itself_is_refused_whole_and_its_client_told() {
        let (ours, mut client) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("nonblocking");
        let facts = r#"{"listener": "http", "peer": null, "age": {"secs": 1, "nanos": 0}, "idle": {"secs": 0, "nanos": 0},
            "exchanges": 1}"#;
        let mut session = Session::new(LocalSettings::default()).save();
        session.unsent.clear();
        let stream = StreamTransfer {
            state: SavedStream::default(),
            exchange: None,
            pending: BytesMut::new(),
            received: BytesMut::new(),
        };
        let load = Load::Http2(Box::new(Http2Transfer {
            session,
            client: SavedHttp2::default(),
            streams: vec![stream], // of which the session knows nothing
            ahead: BytesMut::new(),
        }));
        let transfer = Transfer {
            socket: Detached { socket: ours.into(), tls: None },
            client: serde_json::from_str(facts).expect("facts"),
            load,
        };
        arrival(vec![transfer], Vec::new());
        let mut told = Vec::new();
        client.read_to_end(&mut told).expect("closed");
        let goodbye = [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 2]].concat();
        assert_eq!(told, goodbye, "GOAWAY with INTERNAL_ERROR");
    }

    fn seeds() -> impl Iterator<Item = (String, Vec<u8>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/transfer");
        let files = std::fs::read_dir(folder).expect("the seeds").map(|file| file.expect("a seed").path());
        files.map(|path| (path.display().to_string(), std::fs::read(&path).expect("a seed")))
    }

    #[test]
    fn connections_of_which_anything_is_said_arrive_and_end() {
        let mut open = 0;
        for (name, seed) in seeds() {
            let is_exchange = memchr::memmem::find(&seed, b"\"http1\"").is_some();
            let taken = arrive_as(&seed);
            assert!(taken == 2 || !is_exchange, "{name}: {taken} connections");
            open += usize::from(is_exchange);
            for number in 0..MUTATIONS {
                // a digit or a letter is another one: what is said stays JSON
                let at = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % seed.len() as u64) as usize;
                let mut other = seed.clone();
                other[at] = match other[at] {
                    b'0'..=b'9' => b'0' + (number % 10) as u8,
                    b'a'..=b'z' => b'a' + (number % 26) as u8,
                    _ => continue,
                };
                arrive_as(&other);
            }
        }
        assert!(open >= 5, "{open} seeds with an open exchange");
    }
}
