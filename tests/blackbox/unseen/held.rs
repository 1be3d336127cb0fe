//! Exchanges that are open all through many reloads.

use std::time::{Duration, Instant};

use crate::strict::{Certificate, Door, HeldOpen, Place};
use crate::support::{Run, free_address, socket, wait_for};

/// Connections of HTTP/1.1 and of HTTP/2, with TLS and without: each four have 18 exchanges, so that 112 of each are 2,016.
/// `HELD_CONNECTIONS` and `HELD_RELOADS` say otherwise.
const CONNECTIONS: usize = 12;
const RELOADS: usize = 6;

fn number(variable: &str, or: usize) -> usize {
    std::env::var(variable).map_or(or, |value| value.parse().expect("a number"))
}

#[test]
fn exchanges_of_each_kind_stay_open_through_every_reload_and_leave_one_worker() {
    let (connections, reloads) = (number("HELD_CONNECTIONS", CONNECTIONS), number("HELD_RELOADS", RELOADS));
    let files = tempfile::tempdir().expect("a directory");
    let certificate = Certificate::issue(files.path());
    for (name, content) in &certificate.files {
        std::fs::write(files.path().join(name), content).expect("written");
    }
    let mut held = HeldOpen::serve(Place::Here, socket().1.ip(), reloads as u64 + 1);
    let (http, https) = (free_address(), free_address());
    let config = |changed: &str| {
        format!(
            "[log]\naccess = \"all\"\n[worker]\nthreads = 2\n\
             [listen.http]\naddress = \"{http}\"\nh2c = true\nbody_timeout = \"10m\"\n\
             [listen.https]\naddress = \"{https}\"\ntls = true\nbody_timeout = \"10m\"\n\
             [site.localhost]\nto = \"farm\"\ntls = \"{}\"\nhttps_redirect = false\n\
             [pool.farm]\nservers = [\"{}\"]\nresponse_timeout = \"10m\"\n{changed}",
            files.path().display(),
            held.server,
        )
    };
    let configs = [config(""), config("retries = 1\n")];
    let run = Run::new(&configs[0]);
    let service = run.start();
    let door = Door { http, host: "localhost".to_owned(), tcp: http, tls: Some(certificate.at(https)) };
    held.open(Place::Here, door, connections);
    let opened = Instant::now();
    let mut longest = Duration::ZERO;
    for reload in 0..reloads {
        held.step();
        if reload % 2 == 0 {
            run.configure(&configs[1 - reload / 2 % 2]);
            service.reload_well();
        } else {
            service.reload_anyway();
        }
        let began = Instant::now();
        assert_eq!(service.settled().0, reload as u64 + 2);
        longest = longest.max(began.elapsed());
        run.notifications().so_far(); // systemd reads them too
    }
    let open_for = opened.elapsed();
    held.step();
    let exchanges = held.end();
    eprintln!(
        "{exchanges} exchanges, open for {open_for:?} through {reloads} reloads; one worker was left {longest:?} after a reload at most"
    );
    assert_eq!(service.workers().len(), 1, "one worker is left");
    let bytes = (reloads + 1) * HeldOpen::PIECE as usize;
    let ends = [
        ("GET localhost/download/", format!(", {bytes} bytes out [")),
        ("GET localhost/events/", format!(", {bytes} bytes out [")),
        ("GET localhost/poll/", format!(", {} bytes out [", HeldOpen::PIECE)),
        ("POST localhost/upload/", format!(", {} bytes out, {bytes} in [", HeldOpen::PIECE)),
    ];
    wait_for("a whole record of each exchange", || {
        let log = run.log();
        let is_whole = |line: &&str| {
            let of_kind = |(kind, end): &&(&str, String)| line.contains(kind) && line.contains(end.as_str());
            ends.iter().any(|kind| of_kind(&kind)) && line.contains(" → 200 from farm/") && lasted(line) >= open_for
        };
        (log.lines().filter(is_whole).count() as u64 == exchanges).then_some(())
    });
}

/// What a record says of its time: `in 950 ms` or `in 16.2 s`, to a tenth of a second, cut off.
fn lasted(line: &str) -> Duration {
    let time = line.split_once(" in ").map_or("", |(_, rest)| rest);
    let mut words = time.split([' ', ',']);
    let number: f64 = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let seconds = if words.next() == Some("ms") { number / 1000.0 } else { number + 0.1 };
    Duration::from_secs_f64(seconds)
}
