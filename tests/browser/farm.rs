//! A service with a status page, before servers of which most are well.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::JoinHandle;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::browser::Browser;
use crate::support::{Run, socket};

/// `admin`, whose password is `secret`.
const USER: &str =
    "admin:$argon2id$v=19$m=19456,t=2,p=1$II717tedqdJvfSCPJn9fHg$Lmi1MbS5LZOQFzPUXhNAMEFZPXP+0h56o1oH0fTC1Lo";
/// Of so many servers one answers its checks with 503, and another one does not listen.
const ILL: usize = 60;
const REFUSING: usize = 75;
/// What a page is watched by.
const WATCH: &str = include_str!("watch.js");

/// The servers, and what the service is run with.
pub struct Farm {
    pub run: Run,
    pub address: SocketAddr,
    pub servers: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Farm {
    /// So many servers, each on an address of its own, with the same port.
    pub fn new(count: usize) -> Self {
        let (servers, listeners) = (0..20).find_map(|_| listen(count).ok()).expect("a port that is free everywhere");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listeners, stopped));
        let (listening, address) = socket();
        let names: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
        let config = format!(
            "[site.'*']\nto = 'web-farm'\n\
             [pool.web-farm]\nservers = [{}]\ncheck = 'GET /health'\ncheck_interval = '5s'\n\
             [dashboard]\non = '*/lb'\nusers = ['{USER}']\nallow = 'change'\n",
            names.join(", ")
        );
        let run = Run::new(&config).argument("--probation=50ms").socket("http", listening);
        Self { run, address, servers, stop: Some(stop), thread: Some(thread) }
    }

    /// A browser that has logged in to the page, by an address with user and password such as bookmarks have. Each page runs
    /// `script` before its own.
    #[track_caller]
    pub fn browser(&self, script: &str) -> Browser {
        let browser = Browser::start(&format!("{WATCH}\n{script}"));
        browser.open(&format!("http://admin:secret@{}/lb/", self.address));
        browser.wait("document.getElementById('live').dataset.state === 'live'");
        browser
    }

    /// What operators set of this server, as `segue servers --json` says: value and reason.
    #[track_caller]
    pub fn set_of(&self, name: &str) -> Vec<(String, String)> {
        let output = self.run.segue(&["servers", "--json"]);
        let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let servers = list["pools"][0]["servers"].as_array().expect("a list");
        let server = servers.iter().find(|server| server["name"] == name).expect("the server");
        let set = server["admin"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        set.map(|one| (text(&one["value"]), text(&one["reason"]))).collect()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where a server listens, and whether its checks go well.
type Listening = (TcpListener, bool);

/// Sockets for all but those that refuse.
fn listen(count: usize) -> io::Result<(Vec<SocketAddr>, Vec<Listening>)> {
    let (mut port, mut servers, mut listeners) = (0, Vec::new(), Vec::new());
    for (number, low) in (0..count).zip(11..) {
        let [high, low] = u16::to_be_bytes(low);
        let listener = TcpListener::bind((Ipv4Addr::new(127, 100, high, low), port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        port = address.port();
        servers.push(address);
        if number % REFUSING != REFUSING - 1 {
            listeners.push((listener, number % ILL != ILL - 1));
        }
    }
    Ok((servers, listeners))
}

#[tokio::main(flavor = "current_thread")]
async fn serve(listeners: Vec<Listening>, stopped: oneshot::Receiver<()>) {
    for (listener, is_well) in listeners {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = service_fn(move |request| std::future::ready(answer(&request, is_well)));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
    }
    let _ = stopped.await;
}

fn answer(request: &Request<Incoming>, is_well: bool) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::from(vec![b'.'; 2000]));
    if request.uri().path() == "/health" && !is_well {
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}
