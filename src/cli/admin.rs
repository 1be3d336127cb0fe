//! The client of the admin API, over `admin.sock` in the run directory: one request, or a response that goes on.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::net::UnixStream;

use super::table::json;
use crate::control::admin::ADMIN_SOCKET;
use crate::control::request::socket_path;

/// The time for the answer. During a reload the API waits for the generation that will serve.
const DEADLINE: Duration = Duration::from_secs(20);
/// The time in which a service that starts again opens its socket.
const START: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(50);
/// Bytes of an answer: the status of thousands of servers has some.
const LARGEST: usize = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The service does not run there, or this user may not connect.
    #[error("{path} cannot be connected to: {source}")]
    Connect {
        /// The socket.
        path: String,
        /// The error of the kernel.
        source: io::Error,
    },
    /// The API answers that it does not do it.
    #[error("{0}")]
    Refused(String),
    /// It does not do it now, and may soon.
    #[error("{0}")]
    Busy(String),
    /// The connection broke.
    #[error("the admin API broke off: {0}")]
    Broken(String),
    /// No answer came in time.
    #[error("the admin API does not answer within {} s", DEADLINE.as_secs())]
    Late,
}

/// Asks the admin API of the service with this run directory.
///
/// # Errors
/// See [`CallError`].
pub(super) fn call(run_dir: &Path, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, CallError> {
    block_on(ask(run_dir, method, path, body))?
}

/// The same, for a program that does more than one thing.
///
/// # Errors
/// See [`CallError`].
pub(super) async fn ask(run_dir: &Path, method: Method, path: &str, body: Option<&Value>) -> Result<Bytes, CallError> {
    let asked = async {
        let response = send(run_dir, method, path, body).await?;
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        body.map(|body| body.to_bytes()).map_err(|fault| broken(&fault))
    };
    tokio::time::timeout(DEADLINE, asked).await.unwrap_or(Err(CallError::Late))
}

/// Opens a response that goes on.
///
/// # Errors
/// See [`CallError`].
pub(super) async fn open(run_dir: &Path, path: &str) -> Result<ResponseLines, CallError> {
    let opened = tokio::time::timeout(DEADLINE, send(run_dir, Method::GET, path, None)).await;
    Ok(ResponseLines { body: opened.unwrap_or(Err(CallError::Late))?.into_body(), ahead: Vec::new() })
}

/// Runs it on this thread.
///
/// # Errors
/// When there is no runtime for it.
pub(super) fn block_on<T>(doing: impl Future<Output = T>) -> Result<T, CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|fault| broken(&fault))?.block_on(doing))
}

/// The lines of a response that goes on.
#[derive(Debug)]
pub(super) struct ResponseLines {
    body: Incoming,
    /// Read, and not a whole line yet.
    ahead: Vec<u8>,
}

impl ResponseLines {
    /// The next line without its end; none at the end of the response. A call that is given up loses nothing.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn next(&mut self) -> Result<Option<String>, CallError> {
        let mut looked_at = 0;
        loop {
            if let Some(length) = self.ahead[looked_at..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.ahead.drain(..=looked_at + length).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()));
            }
            looked_at = self.ahead.len();
            if looked_at > LARGEST {
                return Err(broken(&"a line is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.ahead.extend(frame.into_data().unwrap_or_default()),
                Some(Err(fault)) => return Err(broken(&fault)),
                None => return Ok(None),
            }
        }
    }
}

/// Reports why there is no answer, and what to do about it.
pub(super) fn failed(fault: &CallError) -> ExitCode {
    super::complain(fault);
    if let CallError::Connect { source, .. } = fault {
        match source.kind() {
            io::ErrorKind::PermissionDenied => eprintln!("hint: try `sudo`"),
            _ => eprintln!("hint: start it with `systemctl start proxy`, or say with --run-dir where it runs"),
        }
    }
    ExitCode::FAILURE
}

/// Prints an answer as JSON.
pub(super) fn print_json(answer: &[u8]) -> ExitCode {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    super::print(&(json(&value) + "\n"))
}

/// The text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    /// What needs no escape in a segment (RFC 3986 3.3).
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    utf8_percent_encode(text, KEPT).to_string()
}

/// Connects; waits a moment where the service is between its end and its next start.
async fn connect(run_dir: &Path) -> Result<UnixStream, CallError> {
    let path = run_dir.join(ADMIN_SOCKET);
    let until = Instant::now() + START;
    loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => return Ok(stream),
            Err(source) => {
                use io::ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
                // the last one: so many others are about to be accepted
                let in_a_moment = matches!(source.kind(), NotFound | ConnectionRefused | WouldBlock);
                if !in_a_moment || !socket_path(run_dir).exists() || Instant::now() > until {
                    return Err(CallError::Connect { path: path.display().to_string(), source });
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Sends a request, and gives a response that is a success.
async fn send(
    run_dir: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, CallError> {
    let stream = TokioIo::new(connect(run_dir).await?);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|fault| broken(&fault))?;
    tokio::spawn(connection); // it ends with the response; what breaks it is the error of that
    let text = body.map(ToString::to_string).unwrap_or_default();
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost").header(USER_AGENT, "segue");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Full::new(Bytes::from(text))).map_err(|fault| broken(&fault))?;
    let response = sender.send_request(request).await.map_err(|fault| broken(&fault))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|fault| broken(&fault))?;
    let said = serde_json::from_slice::<Value>(&body.to_bytes()).ok();
    let why = said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str);
    let why = why.map_or_else(|| format!("the admin API says {status}"), str::to_owned);
    Err(if status == StatusCode::SERVICE_UNAVAILABLE { CallError::Busy(why) } else { CallError::Refused(why) })
}

fn broken(fault: &dyn std::fmt::Display) -> CallError {
    CallError::Broken(fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        assert_eq!(segment("10.0.0.1:80"), "10.0.0.1:80");
        assert_eq!(segment("https://a/b?c#d%"), "https:%2F%2Fa%2Fb%3Fc%23d%25");
    }

    #[test]
    fn where_no_service_runs_that_is_said_at_once() {
        let run_dir = tempfile::tempdir().expect("directory");
        let fault = call(run_dir.path(), Method::GET, "/v1/servers", None).expect_err("there is none");
        assert!(fault.to_string().contains("admin.sock cannot be connected to"), "{fault}");
    }
}
