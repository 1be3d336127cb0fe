//! HTTP to the certificate authority: TLS alone, a deadline for each request, a bound for each answer.

use std::error::Error as StdError;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::AcmeError;

/// How long the authority may take for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to accept a connection: addresses of both families are tried.
const CONNECT: Duration = Duration::from_secs(10);
/// The largest answer: a chain of certificates is far smaller.
const LONGEST: usize = 1 << 20;

type HttpsClient = Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>;

/// The client.
pub struct AcmeClient {
    http: HttpsClient,
    retry_after: RetryAfter,
}

/// When the authority wants to be asked again, as its last refusal said: the library keeps only the body of one.
#[derive(Clone, Debug, Default)]
pub struct RetryAfter(Arc<Mutex<Option<SystemTime>>>);

impl RetryAfter {
    /// The time, once.
    pub fn take(&self) -> Option<SystemTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, time: Option<SystemTime>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }
}

impl AcmeClient {
    /// With the roots of this file, else those of the system.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn new(ca: Option<&Path>, retry_after: RetryAfter) -> Result<Self, AcmeError> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(path) => {
                let bad = |_| AcmeError::BadFile { path: path.to_owned(), what: "it has no certificate as PEM" };
                let pem = std::fs::read(path).map_err(AcmeError::file(path))?;
                let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(bad)?;
                if roots.add_parsable_certificates(all).0 == 0 {
                    return Err(AcmeError::BadFile { path: path.to_owned(), what: "it has no certificate as PEM" });
                }
            }
            // a root that cannot be read is one that verifies nothing
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| AcmeError::Key(error.to_string()))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(connector);
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { http, retry_after })
    }
}

impl HttpClient for AcmeClient {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        // RFC 8555 §6.1 wants the program, then the library
        let agent = concat!("segue/", env!("CARGO_PKG_VERSION"), " instant-acme");
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        let (answer, retry_after) = (self.http.request(request), self.retry_after.clone());
        Box::pin(async move {
            let whole = async {
                let (head, body) = answer.await.map_err(other)?.into_parts();
                let body = Limited::new(body, LONGEST).collect().await.map_err(Error::Other)?;
                Ok::<_, Error>(Response::from_parts(head, body.to_bytes()))
            };
            let late = |_| other(std::io::Error::from(std::io::ErrorKind::TimedOut));
            let (parts, body) = tokio::time::timeout(DEADLINE, whole).await.map_err(late)??.into_parts();
            if !parts.status.is_success() {
                let value = parts.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                retry_after.set(value.and_then(|value| time(value, SystemTime::now())));
            }
            Ok(BytesResponse { parts, body: Box::new(body) })
        })
    }
}

fn other(error: impl StdError + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

/// `Retry-After`: seconds or a date (RFC 9110 §10.2.3).
fn time(value: &str, now: SystemTime) -> Option<SystemTime> {
    match value.trim().parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value.trim()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(time("120", now), Some(now + Duration::from_secs(120)));
        assert_eq!(time(" Thu, 01 Jan 1970 00:01:00 GMT", now), Some(now + Duration::from_secs(60)));
        assert_eq!(time("soon", now), None);
        assert_eq!(time(&u64::MAX.to_string(), now), None);
    }
}
