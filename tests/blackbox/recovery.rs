//! What takes the place of a process that was killed serves at once, whatever outside answers nothing.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use rustix::process::Signal;

use crate::support::{Answering, Names, Run, Server, Service, Wire, signal, socket, wait_for};

/// A service whose one good server has a name, and whose other one hangs in checks; afterwards no name is found.
struct Silent {
    run: Run,
    address: SocketAddr,
    _well: Answering,
    hanging: Server,
    names: Names,
}

impl Silent {
    fn new() -> Option<Self> {
        let names = Names::new()?;
        let (listening, address): (TcpListener, _) = socket();
        let (well, hanging) = (Answering::start("well"), Server::new());
        names.know(&[("well.test", well.address.ip())]);
        let config = format!(
            "[site.\"*\"]\nto = \"farm\"\n[pool.farm]\nservers = [\"well.test:{}\", \"{}\"]\n\
             check = \"GET /\"\ncheck_interval = \"10m\"\n",
            well.address.port(),
            hanging.address
        );
        let run = Run::new(&config).socket("http", listening).names(&names);
        Some(Self { run, address, _well: well, hanging, names })
    }

    /// Starts it, and then no name is found any more.
    fn start(&self) -> Service<'_> {
        let service = self.run.spawn();
        let _unanswered = self.hanging.accept();
        self.run.notifications().wait("READY=1");
        assert!(fetch(self.address).ends_with("well"));
        self.names.fall_silent();
        service
    }
}

/// One request on a fresh connection: the whole answer.
fn fetch(address: SocketAddr) -> String {
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    String::from_utf8(client.rest().0).expect("text")
}

#[test]
fn the_replacement_of_a_killed_worker_knows_what_that_one_knew_and_serves_at_once() {
    let Some(silent) = Silent::new() else { return };
    let service = silent.start();
    for _ in 0..3 {
        let (number, pid) = service.serving();
        signal(pid, Signal::KILL);
        let began = Instant::now();
        let answer = fetch(silent.address);
        eprintln!("answered after {:?}", began.elapsed());
        assert!(answer.ends_with("well"), "{answer}");
        wait_for("the next generation", || (service.serving().0 > number).then_some(()));
    }
    assert!(!silent.run.log().contains("waits for DNS"), "{}", silent.run.log());
}

#[test]
fn the_next_supervisor_goes_on_from_what_systemd_stored_for_the_one_that_was_killed() {
    let Some(silent) = Silent::new() else { return };
    let mut service = silent.start();
    silent.run.wait_memory();
    for _ in 0..2 {
        let (_, worker) = service.serving();
        // systemd kills what is left of a service whose main process is gone
        service.signal(Signal::KILL);
        signal(worker, Signal::KILL);
        let began = Instant::now();
        service = silent.run.spawn();
        let answer = fetch(silent.address);
        eprintln!("answered after {:?}", began.elapsed());
        assert!(answer.ends_with("well"), "{answer}");
    }
    service.signal(Signal::TERM);
    service.ended();
    let service = silent.run.start();
    assert!(fetch(silent.address).ends_with("well"), "a restart");
    drop(service);
}
