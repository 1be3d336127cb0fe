//! Session tickets: one of any generation spares the certificate at a later one.

use rustix::process::Signal;
use rustls::HandshakeKind;

use super::client_certificates::Scene as TlsScene;
use super::moves::{Scene, reload};
use super::*;
use crate::support::{Answering, Notification, copy, signal, wait_for};
use crate::upgrade::{SEGUE, upgrade, wait_upgraded};

/// Clients of either version, which keep their tickets.
struct Clients<'s> {
    scene: &'s Scene,
    configs: [Arc<ClientConfig>; 2],
}

impl<'s> Clients<'s> {
    fn new(scene: &'s Scene) -> Self {
        Self { scene, configs: VERSIONS.map(|version| client_config(scene.roots.clone(), version, &[])) }
    }

    /// Connects anew with each version: whether a ticket spared the certificate.
    fn resume(&self) -> [bool; 2] {
        self.configs.each_ref().map(|config| {
            let name = "a.test".try_into().expect("a name");
            let socket = TcpStream::connect(self.scene.address).expect("connect");
            let mut client = StreamOwned::new(ClientConnection::new(config.clone(), name).expect("a client"), socket);
            write!(client, "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").expect("written");
            read_until(&mut client, "itself"); // with TLS 1.3 the tickets come before it
            client.conn.handshake_kind() == Some(HandshakeKind::Resumed)
        })
    }
}

#[test]
fn a_ticket_of_generation_1_resumes_at_generation_4_with_either_version_although_nothing_was_open() {
    let server = Answering::start("itself");
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    let clients = Clients::new(&scene);
    assert_eq!(clients.resume(), [false; 2]);
    for _ in 0..3 {
        reload(&service);
    }
    assert_eq!(service.settled().0, 4);
    assert_eq!(clients.resume(), [true; 2]);
}

#[test]
fn a_ticket_resumes_after_an_upgrade_of_the_supervisor_and_at_the_replacement_of_its_worker() {
    let server = Answering::start("itself");
    let mut scene = Scene::new(server.address);
    let program = scene.run.path("program");
    copy(SEGUE, &program);
    scene.run = scene.run.argument(format!("--worker-binary={}", program.display()));
    let service = scene.run.start();
    wait_upgraded(&service, &program);
    let clients = Clients::new(&scene);
    assert_eq!(clients.resume(), [false; 2]);
    upgrade(&service, &program);
    assert_eq!(clients.resume(), [true; 2]);
    let (before, worker) = service.settled();
    signal(worker, Signal::KILL);
    wait_for("a replacement", || (service.serving().0 > before).then_some(()));
    assert_eq!(clients.resume(), [true; 2]);
}

#[test]
fn a_ticket_resumes_after_a_restart_with_what_systemd_kept() {
    let server = Answering::start("itself");
    let mut scene = Scene::new(server.address);
    let (configs, kept) = {
        let mut service = scene.run.start();
        let clients = Clients::new(&scene);
        assert_eq!(clients.resume(), [false; 2]);
        scene.run.wait_memory();
        reload(&service); // and its worker has them in a memory file of its own
        let is_kept = |one: &Notification| one.says("FDSTORE=1") && one.value("FDNAME") == Some("kept/secrets");
        let mut kept = scene.run.notifications().wait_for("the secrets", is_kept);
        service.signal(Signal::TERM);
        service.ended();
        (clients.configs, kept.descriptors.pop().expect("a descriptor"))
    };
    scene.run = scene.run.socket("kept/secrets", kept);
    let _service = scene.run.start();
    assert_eq!(Clients { scene: &scene, configs }.resume(), [true; 2]);
}

#[test]
fn machines_that_share_keys_resume_each_others_sessions_and_others_do_not() {
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(keys.path(), format!("{0}\n{0}\n", "q83v".repeat(16))).expect("written");
    let shared = format!("[tls]\nticket_keys = '{}'", keys.path().display());
    let machines = [&shared, &shared, ""].map(TlsScene::new);
    let services: Vec<_> = machines.iter().map(|machine| machine.run.start()).collect();
    let mut roots = RootCertStore::empty();
    machines.iter().for_each(|machine| roots.roots.extend(machine.roots.roots.iter().cloned()));
    let roots = Arc::new(roots);
    for version in VERSIONS {
        let config = client_config(roots.clone(), version, &[]);
        let resumed = |machine: &TlsScene| {
            let mut client = machine.connect(&config, "a.test");
            machine.exchange(&mut client, "a.test", "");
            client.conn.handshake_kind() == Some(HandshakeKind::Resumed)
        };
        assert_eq!([0, 1, 0, 2].map(|machine: usize| resumed(&machines[machine])), [false, true, true, false]);
    }
    drop(services);
}

#[test]
fn a_ticket_resumes_at_the_replacement_of_a_worker_that_was_killed() {
    let server = Answering::start("itself");
    let scene = Scene::new(server.address);
    let service = scene.run.start();
    let clients = Clients::new(&scene);
    assert_eq!(clients.resume(), [false; 2]);
    scene.run.wait_memory();
    let (before, worker) = service.serving();
    signal(worker, Signal::KILL);
    wait_for("a replacement", || (service.serving().0 > before).then_some(()));
    assert_eq!(clients.resume(), [true; 2]);
}
