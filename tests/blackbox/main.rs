//! The program as systemd and people see it: the real binary, real inherited sockets, a fake notification socket.
//!
//! Nothing here needs root or systemd. Every wait is for a condition and has a deadline.

mod accept_proxy;
mod acme;
mod admin;
mod bench_reload;
mod bounds;
mod certificates;
mod completion;
mod confirm;
mod connections;
mod dashboard;
mod death;
mod debug;
mod demo;
mod diff;
mod differential;
mod dormant;
mod events;
mod faults;
mod flags;
mod http;
mod http2;
mod http2_servers;
mod https;
mod import;
mod journal;
mod lost_sites;
mod members;
mod metrics;
mod pane;
mod prometheus;
mod recovery;
mod reload;
mod send_proxy;
mod servers;
mod sni;
mod sockets;
mod start_and_stop;
mod state;
mod status_keys;
#[allow(dead_code, reason = "the system facts use the rest")]
#[path = "../strict/mod.rs"]
mod strict;
mod support;
mod systemd;
mod tcp;
mod tls;
mod tls_servers;
mod unchanged;
mod unseen;
mod upgrade;
