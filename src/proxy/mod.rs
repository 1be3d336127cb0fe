//! The way of a request: the exchange opens, finds its site, is admitted, goes to a server by one attempt or several,
//! and its bodies are relayed. Read [`handler::RequestHandler::poll`] from the top.
//!
//! What comes before (accept, the connection, HTTP on it) is the listener's; what is below a single attempt is
//! `upstream`'s.

mod attempt;
pub mod certificate_files;
pub mod certificate_problem;
pub mod certificates;
pub mod client;
pub mod client_certificates;
mod client_identity;
pub mod client_side;
pub mod clients;
pub mod connections;
pub mod debug;
mod dormant;
mod empty;
mod exchange;
pub mod fault;
mod forwards;
pub mod handler;
mod headers;
pub mod https;
pub mod idle;
pub mod origin;
mod page;
pub mod private;
mod relay;
pub mod request;
pub mod response;
pub mod runtime_config;
mod saved;
pub mod thread;
pub mod tls;
mod trim;
pub mod tunnel;
pub mod underway;
pub mod upstream_tls;

pub use self::client::Client;
pub use self::empty::{record_empty, record_handshake, record_refused};
pub use self::handler::Handler;
pub use self::runtime_config::RuntimeConfig;
pub use self::thread::Thread;
