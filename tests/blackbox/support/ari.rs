//! What stands before pebble and passes everything on. It adds what pebble of Debian 12 lacks, renewal information (ARI,
//! RFC 9773), and can leave a request without an answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64ct::{Base64UrlUnpadded, Encoding};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::pebble::Pebble;

/// What it was asked for.
#[derive(Debug, Default)]
pub struct AriAsked {
    /// The certificates whose renewal was asked about.
    pub about: Vec<String>,
    /// What new orders replace.
    pub replaces: Vec<String>,
}

/// Says of the first certificate that it is to be renewed at once, and of others in ten years.
pub struct Ari {
    pub asked: Arc<Mutex<AriAsked>>,
    swallowed: Receiver<()>,
}

/// A request that has no answer: the first whose line begins with this. The authority never sees it, so no time of the
/// authority runs from it.
type Swallows = Arc<Mutex<Option<(&'static str, Sender<()>)>>>;

#[derive(Clone)]
struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    pebble: SocketAddr,
    front: SocketAddr,
    asked: Arc<Mutex<AriAsked>>,
    swallows: Swallows,
}

impl Ari {
    /// Before this one, at [`Pebble::front`].
    pub fn before(pebble: &Pebble) -> Self {
        Self::start(pebble, None)
    }

    /// The same; the first request whose line begins with this is never answered.
    pub fn that_swallows(pebble: &Pebble, line: &'static str) -> Self {
        Self::start(pebble, Some(line))
    }

    /// Waits until the request that is never answered has come.
    #[track_caller]
    pub fn wait_swallowed(&self) {
        self.swallowed.recv_timeout(super::DEADLINE).expect("a request");
    }

    fn start(pebble: &Pebble, swallows: Option<&'static str>) -> Self {
        let certificate = CertificateDer::from_pem_file(pebble.path("ca.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(pebble.path("ca.key")).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let server = server.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key);
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
        let (asked, front) = (Arc::<Mutex<AriAsked>>::default(), pebble.front);
        let (server, client, pebble) = (Arc::new(server.expect("a key")), Arc::new(client), pebble.address());
        let (swallows_one, swallowed) = channel();
        let swallows = Arc::new(Mutex::new(swallows.map(|line| (line, swallows_one))));
        let sides = Sides { server, client, pebble, front, asked: asked.clone(), swallows };
        let listener = TcpListener::bind(front).expect("the port");
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let sides = sides.clone();
                std::thread::spawn(move || sides.serve(socket));
            }
        });
        Self { asked, swallowed }
    }
}

impl Sides {
    /// One request on each connection.
    fn serve(&self, socket: TcpStream) -> Option<()> {
        let mut client = StreamOwned::new(ServerConnection::new(self.server.clone()).ok()?, socket);
        let (head, body) = message(&mut client, true)?;
        let line = head.lines().next()?.to_owned();
        if self.swallows(&line) {
            // until the other side gives up, or is gone
            let _ = client.read(&mut [0]);
            return None;
        }
        let answer = match line.split(' ').nth(1)?.strip_prefix("/renewal-info/") {
            Some(id) => self.renewal_info(id),
            None => self.passed_on(&line, &head, &body)?,
        };
        client.write_all(&answer).ok()?;
        client.conn.send_close_notify();
        client.flush().ok()
    }

    fn swallows(&self, line: &str) -> bool {
        let mut swallows = self.swallows.lock().expect("a lock");
        let one = swallows.take_if(|(begins, _)| line.starts_with(*begins));
        one.is_some_and(|(_, one)| one.send(()).is_ok())
    }

    fn renewal_info(&self, id: &str) -> Vec<u8> {
        let mut asked = self.asked.lock().expect("a lock");
        asked.about.push(id.to_owned());
        let day = Duration::from_secs(24 * 60 * 60);
        let is_first = asked.about.first().is_some_and(|first| first == id);
        let start = if is_first { SystemTime::now() - 2 * day } else { SystemTime::now() + 3650 * day };
        let time = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
        let body = json!({ "suggestedWindow": { "start": time(start), "end": time(start + day) } }).to_string();
        let head = "HTTP/1.1 200 OK\r\nRetry-After: 60\r\nConnection: close\r\nContent-Type: application/json";
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn passed_on(&self, line: &str, head: &str, body: &[u8]) -> Option<Vec<u8>> {
        let name = self.pebble.ip().into();
        let connection = ClientConnection::new(self.client.clone(), name).ok()?;
        let mut server = StreamOwned::new(connection, TcpStream::connect(self.pebble).ok()?);
        // an answer of HTTP/1.0 has no chunks
        let (first, rest) = head.split_once(" HTTP/1.1\r\n")?;
        server.write_all(format!("{first} HTTP/1.0\r\n{rest}").as_bytes()).ok()?;
        server.write_all(body).ok()?;
        let replaces = replaces(body);
        self.asked.lock().expect("a lock").replaces.extend(replaces.clone());
        let (head, body) = message(&mut server, !line.starts_with("HEAD"))?;
        let changed = match serde_json::from_slice::<Value>(&body) {
            Ok(mut answer) if line.contains(" /dir ") => {
                answer["renewalInfo"] = json!(format!("https://{}/renewal-info", self.front));
                Some(answer)
            }
            Ok(mut answer) => replaces.map(|id| {
                answer["replaces"] = json!(id);
                answer
            }),
            Err(_) => None,
        };
        let body = changed.map_or(body, |answer| answer.to_string().into_bytes());
        let kept = head.trim_end().lines().filter(|line| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !["content-length", "connection", "transfer-encoding"].contains(&name.as_str())
        });
        let kept = kept.collect::<Vec<_>>().join("\r\n");
        let mut answer = format!("{kept}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        Some(answer)
    }
}

/// What a new order says to replace.
fn replaces(body: &[u8]) -> Option<String> {
    let jws: Value = serde_json::from_slice(body).ok()?;
    let payload = Base64UrlUnpadded::decode_vec(jws["payload"].as_str()?).ok()?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    payload["replaces"].as_str().map(str::to_owned)
}

/// Head and body.
fn message(stream: &mut impl Read, has_body: bool) -> Option<(String, Vec<u8>)> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let mut body = Vec::new();
    if !has_body {
        return Some((head, body));
    }
    match field("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            body.resize(length, 0);
            stream.read_exact(&mut body).ok()?;
        }
        // pebble closes after what has no length; it forgets close_notify at times
        None if head.starts_with("HTTP/") => {
            let _ = stream.read_to_end(&mut body);
        }
        None => {}
    }
    Some((head, body))
}
