//! HTTP/1 as raw bytes on both sides of the proxy: what a client sends and a server gets, and the way back.
//!
//! Where several byte streams break one rule they are rows of one fact.

mod auth;
mod bodies;
mod ends;
mod expect;
mod faults;
mod fields;
mod framing;
mod held;
mod hostile;
mod limits;
mod lines;
mod methods;
mod pages;
mod pipelining;
mod records;
mod responses;
mod retries;
mod targets;
mod time;
mod trailers;
mod trust;
mod upgrade;
