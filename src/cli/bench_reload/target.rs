//! Where the clients go: an address, with TLS or without, and what each request says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri};
use http_body_util::Empty;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::arguments::BenchReloadArguments;
use super::lost::{LostRequest, words};
use crate::config::Address;
use crate::message::authority::Host;
use crate::net::{Stream, tls};
use crate::tls::upstream::ServerTrust;
use crate::tls::{PoolTls, UpstreamTls, UpstreamTlsOptions};

/// How long names may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(10);

/// The proxy, as its clients reach it: names are resolved once, so that all of them reach the same one.
pub(super) struct BenchTarget {
    address: SocketAddr,
    tls: Option<UpstreamTls>,
    host: HeaderValue,
}

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("{host}: it has no address: {why}")]
    Unresolved { host: String, why: String },
    #[error("--host {0:?} is neither a host name nor an address")]
    Host(String),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{url}: {why}")]
    Unreachable { url: String, why: String },
}

impl BenchTarget {
    /// The first address of the URL that takes a connection.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn reach(arguments: &BenchReloadArguments) -> Result<Self, TargetError> {
        let url = &arguments.url;
        let authority = arguments.host.clone().unwrap_or_else(|| url.authority.clone());
        let wrong = || TargetError::Host(authority.clone());
        let host = HeaderValue::from_str(&authority).map_err(|_| wrong())?;
        let name = Host::parse(&authority).map_err(|_| wrong())?.name.into_owned();
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match url.secure {
            true => Some(offer(ServerName::try_from(name).map_err(|_| wrong())?, arguments.insecure)?),
            false => None,
        };
        let unresolved = |why: String| TargetError::Unresolved { host: url.host.clone(), why };
        let addresses = match timeout(RESOLVE, tokio::net::lookup_host((url.host.as_str(), url.port))).await {
            Ok(found) => found.map_err(|fault| unresolved(words(&fault)))?.collect::<Vec<_>>(),
            Err(_) => return Err(unresolved(format!("no answer within {} s", RESOLVE.as_secs()))),
        };
        let mut target = match addresses.first() {
            Some(first) => Self { address: *first, tls, host },
            None => return Err(unresolved("the name is known, without an address".to_owned())),
        };
        let mut faults = Vec::new();
        for address in addresses {
            target.address = address;
            match target.connect(arguments.timeout).await {
                Ok(_) => return Ok(target),
                Err(fault) => faults.push(format!("{address}: {fault}")),
            }
        }
        let why = faults.join("; ");
        let url = format!("{}://{}", if url.secure { "https" } else { "http" }, url.authority);
        Err(TargetError::Unreachable { url, why })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection, with TLS where the URL says so.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Stream, LostRequest> {
        let opened = async {
            let socket = Stream::connect(&Address::Ip(self.address)).await.map_err(LostRequest::to_connect)?;
            match &self.tls {
                Some(offered) => Ok(tls::connect(socket, offered).await?),
                None => Ok(socket),
            }
        };
        timeout(patience, opened).await.unwrap_or(Err(LostRequest::Late))
    }

    /// A GET of this path with no field of the connection, as HTTP/1.1 keeps it.
    pub(super) fn get(&self, path: &PathAndQuery) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from(path.clone());
        let fields = request.headers_mut();
        fields.insert(HOST, self.host.clone());
        fields.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
        request
    }

    /// A GET after which the connection is closed.
    pub(super) fn get_last(&self, path: &PathAndQuery) -> Request<Empty<Bytes>> {
        let mut request = self.get(path);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        request
    }
}

const AGENT: &str = concat!("segue-bench-reload/", env!("CARGO_PKG_VERSION"));

/// What is offered to a server of this name, and what it has to show. Sessions are resumed, as by a browser.
fn offer(name: ServerName<'static>, insecure: bool) -> Result<UpstreamTls, rustls::Error> {
    let trust = match insecure {
        true => ServerTrust::Anything,
        // a root that cannot be read is one that verifies nothing
        false => ServerTrust::Roots(Arc::new(rustls_native_certs::load_native_certs().certs)),
    };
    Ok(PoolTls::new(&UpstreamTlsOptions { trust, certificate: None })?.to_server(name, &[b"http/1.1"]))
}
