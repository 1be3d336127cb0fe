//! Segue: a reverse proxy and load balancer for services run by systemd.
//!
//! `segue run` is the [`supervisor`]: the process that systemd knows, holding every listening socket and serving
//! nothing. It starts a [`worker`] for each generation of the configuration; the worker serves. The way of a request
//! reads top-down in [`proxy`]; the way of a reload in [`supervisor`] and [`worker`]. ARCHITECTURE.md is the map.

pub mod acme;
pub mod admin;
pub mod buffers;
pub mod cli;
pub mod config;
pub mod control;
pub mod drain;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod handover;
pub mod http1;
pub mod http2;
pub mod import;
pub mod listener;
pub mod message;
pub mod moment;
pub mod net;
pub mod observe;
pub mod pool;
pub mod proxy;
pub mod route;
pub mod supervisor;
pub mod sys;
pub mod systemd;
pub mod timer;
pub mod tls;
pub mod turn;
pub mod upstream;
pub mod worker;
