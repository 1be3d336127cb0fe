//! HTTP/2 as raw frames on the side of the client, HTTP/1 as raw bytes on that of the server.

mod abuse;
mod bodies;
pub mod client;
mod deadlines;
mod leaving;
mod moving;
mod rules;
mod streams;
mod tunnels;

use crate::support::{Proxy, Server, Wire};
use client::H2;

/// A proxy with one server behind it, whose listeners all speak HTTP/2 too.
struct Setup {
    proxy: Proxy,
    server: Server,
}

const LISTENERS: &str = r#"
[listen.http]
h2c = true

[listen.hasty]
h2c = true
header_timeout = "500ms"
idle_timeout = "500ms"
body_timeout = "500ms"
write_timeout = "500ms"

[listen.narrow]
h2c = true
max_head = "2KiB"
max_target = "128B"
max_fields = 8
max_streams = 2
trusted_proxies = ["127.0.0.0/8"]

[listen.plain]
"#;

impl Setup {
    fn new() -> Self {
        let server = Server::new();
        let config = format!("{LISTENERS}\n[site.\"a.test\"]\nto = [\"{}\"]\nmax_body = \"1MiB\"\n", server.address);
        Self { proxy: Proxy::with_listeners(&config, &["http", "hasty", "narrow", "plain"]), server }
    }

    fn client(&self) -> H2 {
        self.client_of("http")
    }

    fn client_of(&self, listener: &str) -> H2 {
        H2::begin(self.proxy.client_of(listener), &[])
    }

    /// Takes the next request at the server, and answers it.
    #[track_caller]
    fn answers(&self, response: &str) -> (String, Wire) {
        let mut server = self.server.accept();
        let head = server.head().text().to_owned();
        server.send(response);
        (head, server)
    }
}
