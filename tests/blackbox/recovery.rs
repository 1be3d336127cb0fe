//! What takes the place of a process that was killed serves at once, whatever outside answers nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Answering, DEADLINE, Names, Run, Server, Service, assert_serves, fill, signal, socket, wait_for};

/// A service whose one good server has a name, and whose other one hangs in checks; afterwards no name is found.
struct Silent {
    run: Run,
    address: SocketAddr,
    _well: Answering,
    hanging: Server,
    names: Names,
}

impl Silent {
    fn new(change: impl FnOnce(Run, &Names) -> Run) -> Option<Self> {
        let names = Names::new()?;
        let (listening, address) = socket();
        let (well, hanging) = (Answering::start("well"), Server::new());
        names.know(&[("well.test", well.address.ip())]);
        let config = format!(
            "[site.\"*\"]\nto = \"farm\"\n[pool.farm]\nservers = [\"well.test:{}\", \"{}\"]\n\
             check = \"GET /\"\ncheck_interval = \"10m\"\n",
            well.address.port(),
            hanging.address
        );
        let run = change(Run::new(&config).socket("http", listening).names(&names), &names);
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

/// One request on a fresh connection: the whole answer; none when the process that had the connection is killed.
fn fetch(address: SocketAddr) -> String {
    let mut client = TcpStream::connect_timeout(&address, DEADLINE).expect("the connection is queued at least");
    client.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let mut answer = String::new();
    let asked = client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    match asked.and_then(|()| client.read_to_string(&mut answer)) {
        Err(fault) if matches!(fault.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => String::new(),
        Err(fault) => panic!("no answer: {fault}"),
        Ok(_) => answer,
    }
}

#[test]
fn the_replacement_of_a_killed_worker_knows_what_that_one_knew_and_serves_at_once() {
    let Some(silent) = Silent::new(|run, _| run) else { return };
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
fn the_next_supervisor_goes_on_from_what_the_one_that_was_killed_has_kept() {
    let Some(silent) = Silent::new(|run, _| run) else { return };
    let mut service = silent.start();
    silent.run.wait_memory();
    for _ in 0..2 {
        let (_, worker) = service.serving();
        // systemd kills what is left of a service whose main process is gone
        service.signal(Signal::KILL);
        signal(worker, Signal::KILL);
        service.ended();
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

/// Asks again and again on fresh connections until `stop`; gives the answers that are wrong, and the longest wait. Who
/// was connected to a process that was killed connects again.
fn ask_on(address: SocketAddr, stop: &AtomicBool) -> (Vec<String>, Duration) {
    let (mut wrong, mut longest) = (Vec::new(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = std::iter::repeat_with(|| fetch(address)).find(|answer| !answer.is_empty()).unwrap_or_default();
        longest = longest.max(began.elapsed());
        wrong.extend(Some(answer).filter(|answer| !answer.ends_with("well")));
    }
    (wrong, longest)
}

#[test]
fn with_the_journal_and_dns_silent_and_a_check_hanging_reload_crashes_and_restart_are_seen_by_no_client() {
    let Some(silent) = Silent::new(|run, names| run.silent_journal(names)) else { return };
    let mut service = silent.start();
    silent.run.wait_memory();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| ask_on(silent.address, &stop));
        service.reload_anyway();
        let _ = service.settled();
        for _ in 0..2 {
            let (number, worker) = service.serving();
            signal(worker, Signal::KILL);
            wait_for("the next generation", || (service.serving().0 > number).then_some(()));
        }
        let (_, worker) = service.serving();
        service.signal(Signal::KILL);
        signal(worker, Signal::KILL);
        service.ended();
        service = silent.run.spawn();
        silent.run.notifications().wait("READY=1");
        service.signal(Signal::TERM);
        service.ended();
        service = silent.run.start();
        stop.store(true, Ordering::Relaxed);
        let (wrong, longest) = client.join().expect("every connection was taken");
        eprintln!("the longest wait of a client: {longest:?}");
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

#[test]
fn no_process_waits_at_its_end_for_the_answer_of_dns() {
    let Some(names) = Names::new() else { return };
    let (listening, _) = socket();
    let config = "[site.\"*\"]\nto = [\"nowhere.test:80\"]\n[drain]\nstop_timeout = \"1h\"\ntimeout = \"1h\"\n";
    let run = Run::new(config).socket("http", listening).names(&names);
    names.fall_silent();
    let mut service = run.start();
    run.wait_log("no answer within"); // and the question stays open
    service.reload_anyway();
    wait_for("the end of the first worker", || (service.workers().len() == 1).then_some(()));
    service.signal(Signal::TERM);
    let began = Instant::now();
    assert_eq!(service.ended().code(), Some(0));
    // the supervisor kills a worker that lingers, 10 s later
    assert!(began.elapsed() < Duration::from_secs(8), "the worker was killed after {:?}", began.elapsed());
}

#[test]
fn neither_a_full_standard_error_nor_a_service_manager_that_does_not_listen_is_waited_for() {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&writer, true).expect("nonblocking");
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("blocking");
    let (listening, address) = socket();
    let run = Run::new("").socket("http", listening).errors(writer);
    fill(&run.notifications().path);
    let service = run.spawn();
    assert_serves(address);
    service.reload_anyway();
    let (_, worker) = service.settled();
    signal(worker, Signal::KILL);
    assert_serves(address);
    assert_eq!(service.settled().0, 3);
}
