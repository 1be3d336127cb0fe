//! What the fuzz targets of `tests/fuzz` call: one function a target, for input that they cannot build from outside.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ClientHello;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::config::load::Sources;
use crate::control::message::{ToSupervisor, ToWorker};
use crate::control::payload::Payload;
use crate::control::request::{ControlReply, Request};
use crate::handover::capabilities::Capabilities;
use crate::handover::message::{self, Batch, ToSender};
use crate::handover::transfer::Load;
use crate::http2::session::saved::SavedSession;
use crate::http2::settings::LocalSettings;
use crate::http2::{Event, FieldSection, Session};
use crate::proxy::RuntimeConfig;
use crate::supervisor::totals::Totals;
use crate::supervisor::upgrade::state::SupervisorState;
use crate::tls::client_hello::{ClientHelloName, HelloReader};
use crate::tls::staple::Staple;
use crate::tls::{
    Certificate, CertificateFiles, Certificates, CertificatesInUse, Handshake, HandshakeError, TicketKeys, Tickets,
    handed, server_config,
};
use crate::worker::saved_state;

pub use crate::listener::tests::fuzzing::connection;
pub use crate::tls::record::fuzzing::run as records;

use crate::listener::tests::arrival::arrival;

/// Text of a configuration: the check ends, and the effective configuration means the same.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let sources = Sources::from_text(text);
    let checked = sources.check();
    for problem in &checked.problems {
        let _ = problem.to_string();
    }
    let Ok(effective) = sources.effective() else {
        assert!(checked.config.is_none(), "a good configuration has an effective one");
        return;
    };
    let again = Sources::from_text(&effective);
    assert_eq!(again.hash(), sources.hash(), "the effective configuration means something else:\n{effective}");
}

/// Messages between two workers: a batch that is understood packs to itself, with its bytes and descriptors, and its
/// connections go on until both of their sides are gone.
pub fn transfer(data: &[u8]) {
    let Some((&descriptors, data)) = data.split_first() else { return };
    same::<ToSender>(data);
    same::<Capabilities>(data);
    let cut = memchr::memchr(0, data).unwrap_or(data.len());
    let (json, bytes) = data.split_at(cut);
    let Ok(batch) = serde_json::from_slice::<Batch>(json) else { return };
    let number = batch.number;
    let before = serde_json::to_value(&batch).expect("JSON");
    let (mut all, peers): (Vec<OwnedFd>, Vec<UnixStream>) = (0..descriptors & 15).map(|_| socket()).unzip();
    if !bytes.is_empty() {
        all.push(Payload::new(bytes).expect("a memory file").into());
    }
    let Ok(transfers) = message::unpack(batch, all) else { return };
    for transfer in &transfers {
        if let Load::Http2(http2) = &transfer.load {
            session(&http2.session, &http2.ahead);
        }
    }
    let packed = message::pack(number, transfers.iter()).expect("a memory file");
    assert_eq!(serde_json::to_value(&packed.batch).expect("JSON"), before);
    drop(packed);
    let _ = arrival(transfers, peers);
}

/// The state of a connection of HTTP/2: it is refused, or goes on with whatever its client sends, and moves once more.
fn session(saved: &SavedSession, input: &[u8]) {
    let SavedSession { state, table, block, unsent } = saved;
    let again =
        SavedSession { state: state.clone(), table: table.clone(), block: block.clone(), unsent: unsent.clone() };
    let local = LocalSettings { max_streams: 8, max_fields: 512, ..LocalSettings::default() };
    let Ok(mut session) = Session::resumed(again, local) else { return };
    let (mut fields, mut used) = (FieldSection::default(), 0);
    while let Ok((len, Some(event))) = session.next(&input[used..], &mut fields, Duration::MAX) {
        used += len;
        match event {
            Event::Request { key, .. } => session.respond(key, 200, b"X-A: b\r\n", true),
            Event::Data { key, data } => session.give_back(key, data.len()),
            Event::Windows { key: Some(key) } => session.send(key, &[b'y'; 3][..session.room(key).min(3)], false),
            _ => {}
        }
    }
    for key in 0..session.open() {
        session.finish(key);
    }
    assert!(Session::resumed(session.save(), local).is_ok(), "what a session is can be saved");
}

/// A socket, and its other end.
fn socket() -> (OwnedFd, UnixStream) {
    let (one, other) = UnixStream::pair().expect("a socket pair");
    one.set_nonblocking(true).expect("nonblocking");
    (one.into(), other)
}

/// What a client says in its handshake, in pieces, or a file with something for it: none of it ends in anything but an error,
/// and what is no TLS gets no answer in it.
pub fn handshake(data: &[u8], server: &Arc<ServerConfig>) {
    let Some((&piece, data)) = data.split_first() else { return };
    match piece {
        0 => drop(Staple::read(data, &[7], SystemTime::UNIX_EPOCH)),
        1 => drop(handed::from_bytes(data)),
        2 => drop(TicketKeys::from_bytes(data)),
        3 => drop(TicketKeys::from_file(data)),
        _ => {
            let (mut handshake, mut received, mut out) = (Handshake::default(), Vec::new(), Vec::new());
            let found = client_hello(data, piece.into());
            let choose = |hello: &ClientHello<'_>| {
                if let Some(name) = hello.server_name() {
                    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                    assert_eq!(found, ClientHelloName::Host(name), "what answers the client finds another one");
                }
                Some(server.clone())
            };
            for part in data.chunks(usize::from(piece)) {
                received.extend_from_slice(part);
                match handshake.receive(&received, &mut out, choose) {
                    Ok((taken, None)) => drop(received.drain(..taken)),
                    Ok((_, Some(_))) => panic!("no client without a secret ends a handshake"),
                    Err(HandshakeError::NotTls) => return assert!(out.is_empty()),
                    Err(_) => return,
                }
            }
        }
    }
}

/// The host that is asked for: the same one however it comes.
fn client_hello(data: &[u8], piece: usize) -> ClientHelloName {
    let (mut reader, whole) = (HelloReader::default(), HelloReader::default().look(data));
    for end in (piece..data.len()).step_by(piece) {
        match reader.look(&data[..end]) {
            ClientHelloName::More => {}
            found => {
                assert_eq!(found, whole);
                return whole;
            }
        }
    }
    assert_eq!(reader.look(data), whole);
    whole
}

/// A server with this certificate, for handshakes.
///
/// # Panics
/// When certificate and key do not match.
#[must_use]
pub fn server(certificate: &[u8], key: &[u8]) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    let key = PrivateKeyDer::try_from(key.to_vec()).expect("a key");
    let certificate = Certificate::new(&CertificateFiles::in_directory(Path::new("/")), chain, &key).expect("a pair");
    let (certificate, certificates) = (Arc::new(certificate), CertificatesInUse::default());
    certificates.set(Certificates::new(&[(certificate.clone(), Vec::new())], Some(certificate)));
    server_config(Arc::new(certificates), Arc::<Tickets>::default(), None, &[b"h2", b"http/1.1"]).expect("a server")
}

/// JSON that another process, another version or a file says: what is understood means the same written again, and a
/// pool continues from it.
pub fn state(data: &[u8]) {
    same::<ToWorker>(data);
    same::<ToSupervisor>(data);
    same::<Request>(data);
    same::<ControlReply>(data);
    same::<Sources>(data);
    same::<Totals>(data);
    let payload = Payload::new(data).expect("a memory file");
    let _ = SupervisorState::read(&payload, 1);
    saved_state::fuzz(payload.into(), &pools(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
}

/// Anything that is understood and written again is understood as the same.
fn same<T: DeserializeOwned + Serialize>(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_string(&value).expect("JSON");
    let again: T = serde_json::from_str(&written).expect("what was written is understood");
    assert_eq!(serde_json::to_string(&again).expect("JSON"), written);
}

fn pools() -> RuntimeConfig {
    const TEXT: &str = "[site.\"*\"]\nto = [\"10.0.0.1:80\", \"10.0.0.2:80\", \"a.example:80\"]\ncheck = \"GET /\"\n";
    thread_local! {
        static CONFIG: Config = Sources::from_text(TEXT).check().config.expect("a configuration");
    }
    RuntimeConfig::new(1, CONFIG.with(Config::clone))
}
