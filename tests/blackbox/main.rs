//! The program as systemd and people see it: the real binary, real inherited sockets, a fake notification socket.
//!
//! Nothing here needs root or systemd. Every wait is for a condition and has a deadline.

mod death;
mod faults;
mod http;
mod reload;
mod sockets;
mod start_and_stop;
mod state;
mod support;
mod systemd;
mod tcp;
mod upgrade;
