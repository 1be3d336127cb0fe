//! One site of a proxy that many facts share, with a server of its own: facts do not see each other.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, Weak};

use super::{Answer, Head, Proxy, Server, Wire};

/// How many facts share a proxy before the next one is started.
const SITES: usize = 64;

/// What the listeners are for; `http` has the defaults.
const LISTENERS: [&str; 5] = ["http", "trusting", "hasty", "narrow", "patient"];
const SETTINGS: &str = r#"
[listen.http]

[listen.trusting]
trusted_proxies = ["127.0.0.0/8"]

[listen.hasty]
header_timeout = "500ms"
idle_timeout = "500ms"
body_timeout = "500ms"
write_timeout = "500ms"
half_close_timeout = "500ms"

[listen.patient]
half_close_timeout = "10s"

[listen.narrow]
max_head = "2KiB"
max_target = "128B"
max_fields = 8
"#;

/// A site and the one server behind it.
pub struct Site {
    proxy: Arc<Proxy>,
    pub server: Server,
    pub host: String,
}

/// The proxy that runs now, as long as a fact uses it, and the servers that no fact has had yet.
struct Shared {
    proxy: Weak<Proxy>,
    free: Vec<(String, Server)>,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared { proxy: Weak::new(), free: Vec::new() });

impl Site {
    #[track_caller]
    pub fn new() -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| {
            SHARED.clear_poison();
            poisoned.into_inner()
        });
        if let (Some(proxy), Some((host, server))) = (shared.proxy.upgrade(), shared.free.pop()) {
            return Self { proxy, server, host };
        }
        let (proxy, mut free) = start(SITES);
        let (host, server) = free.pop().expect("there are several");
        *shared = Shared { proxy: Arc::downgrade(&proxy), free };
        Self { proxy, server, host }
    }

    /// A site that shares its proxy with no other: for a fact whose requests may name any host.
    #[track_caller]
    pub fn alone() -> Self {
        let (proxy, mut free) = start(1);
        let (host, server) = free.pop().expect("there is one");
        Self { proxy, server, host }
    }

    /// A connection with the default settings.
    #[track_caller]
    pub fn client(&self) -> Wire {
        self.client_of("http")
    }

    /// A connection to another listener.
    #[track_caller]
    pub fn client_of(&self, listener: &str) -> Wire {
        self.proxy.client_of(listener).of_host(&self.host)
    }

    /// Sends a request without a body on a fresh connection, and gives what the server got.
    #[track_caller]
    pub fn sees(&self, request: &str) -> Head {
        self.exchange(request, "HTTP/1.1 204 No Content\r\n\r\n").0
    }

    /// Sends a request without a body on a fresh connection, answers it, and gives what both sides got.
    #[track_caller]
    pub fn exchange(&self, request: &str, response: &str) -> (Head, Answer) {
        let mut client = self.client();
        client.send(request);
        let mut server = self.server.accept();
        let head = server.head();
        server.send(response);
        server.finish();
        let answer = client.answer();
        (head, answer)
    }

    /// Sends what must not pass on a fresh connection: it is answered with this status, the connection is closed and
    /// no server was touched.
    #[track_caller]
    pub fn assert_refused(&self, request: impl AsRef<[u8]>, status: u16) {
        self.assert_refused_by("http", request, status);
    }

    #[track_caller]
    pub fn assert_refused_by(&self, listener: &str, request: impl AsRef<[u8]>, status: u16) {
        let request = request.as_ref();
        let shown = String::from_utf8_lossy(request);
        let mut client = self.client_of(listener);
        client.send(request);
        let answer = client.answer();
        assert_eq!(answer.status(), status, "{shown:?}");
        assert!(answer.says_close(), "{shown:?}");
        client.assert_closed();
        self.server.assert_untouched();
    }
}

fn start(sites: usize) -> (Arc<Proxy>, Vec<(String, Server)>) {
    let mut config = SETTINGS.to_owned();
    let free: Vec<_> = (0..sites).map(|number| (format!("site{number}.test"), Server::new())).collect();
    for (host, server) in &free {
        let written = write!(config, "\n[site.\"{host}\"]\nto = [\"{}\"]\nmax_body = \"1GiB\"\n", server.address);
        written.expect("a String takes every write");
    }
    (Arc::new(Proxy::with_listeners(&config, &LISTENERS)), free)
}
