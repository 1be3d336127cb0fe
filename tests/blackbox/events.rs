//! `segue events`: what happened, and what happens, over everything that can happen to the service.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;

use crate::admin::Farm;
use crate::support::{Run, SEGUE, signal, wait_for};

/// A `segue events --follow --json` that runs, with what it has printed so far.
struct Following {
    process: Child,
    events: Arc<Mutex<Vec<Value>>>,
    told: Arc<Mutex<String>>,
}

impl Following {
    fn start(run: &Run, arguments: &[&str]) -> Self {
        let mut command = Command::new(SEGUE);
        command.args(["events", "--follow", "--json", "--run-dir"]).arg(run.run_dir()).args(arguments);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("segue");
        let (events, told) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(String::new())));
        let (output, errors) = (process.stdout.take().expect("a pipe"), process.stderr.take().expect("a pipe"));
        let (all, said) = (events.clone(), told.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                all.lock().expect("events").push(serde_json::from_str(&line).expect("JSON"));
            }
        });
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                *said.lock().expect("text") += &(line + "\n");
            }
        });
        Self { process, events, told }
    }

    /// Waits until the last one of so many events of this kind has come.
    #[track_caller]
    fn wait(&self, kind: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} times {kind}, and not {}", self.told()), || {
            let events = self.events.lock().expect("events");
            let found = events.iter().filter(|event| event["event"] == kind).count();
            (found >= count).then(|| events.clone())
        })
    }

    fn told(&self) -> String {
        self.told.lock().expect("text").clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the service keeps.
fn kept(farm: &Farm) -> Vec<Value> {
    farm.segue(&["events", "--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn events_are_printed_with_time_level_kind_and_the_words_of_the_journal() {
    let farm = Farm::new();
    let service = farm.run.start();
    service.reload_anyway();
    farm.segue(&["drain", &farm.name(), "--reason", "a new disk"]);
    let text = farm.segue(&["events"]);
    let done = text.lines().find(|line| line.contains("reload-done")).expect("a line");
    let cells: Vec<_> = done.split_whitespace().collect();
    assert!(cells[0].ends_with('Z') && cells[1..4] == ["notice", "reload-done", "Reload"], "{done}");
    let drained = format!("Server farm/{} is set to drain by uid", farm.name());
    assert!(text.contains("server-administered  ") && text.contains(&drained), "{text}");

    let about = farm.segue(&["events", "--json", "--server", &farm.name(), "--kind", "server-administered,server-up"]);
    let about: Value = serde_json::from_str(about.trim()).expect("one event");
    assert_eq!((&about["pool"], &about["server"]), (&"farm".into(), &farm.name().into()), "{about}");
    assert_eq!(about["level"], "notice");
    let of_pool = farm.segue(&["events", "--pool", "farm"]);
    assert!(of_pool.contains("server-administered") && !of_pool.contains("reload-done"), "{of_pool}");
    assert!(farm.segue(&["events", "--since", "1h"]).starts_with(&text));
    let none = farm.run.segue(&["events", "--since", "0s"]);
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(none.status.success() && none.stdout.is_empty() && said.contains("none of the "), "{said}");
}

#[test]
fn a_filter_for_what_there_is_not_is_answered_with_what_there_is() {
    let farm = Farm::new();
    assert!(farm.refused(&["events"]).contains("hint: start it with `systemctl start proxy`"));
    let _service = farm.run.start();
    for follow in [&[][..], &["--follow"]] {
        let refused = |arguments: &[&str]| farm.refused(&[&["events"], arguments, follow].concat());
        assert!(refused(&["--pool", "frm"]).contains("no pool frm; there is farm"));
        let near = format!("{}x", farm.name());
        assert!(refused(&["--server", &near]).contains(&format!("did you mean {}?", farm.name())));
        assert!(refused(&["--kind", "relod-done"]).contains("'reload-done'"));
        assert!(refused(&["--since", "10"]).contains("write for example"));
    }
}

#[test]
fn events_are_followed_over_reloads_a_killed_worker_and_a_restart_and_none_comes_twice_or_is_lost() {
    let farm = Farm::new();
    let mut service = farm.run.start();
    let following = Following::start(&farm.run, &[]);
    following.wait("started", 1);
    for count in 1..4 {
        service.reload_anyway();
        following.wait("reload-done", count);
    }
    farm.segue(&["drain", &farm.name()]);
    following.wait("server-administered", 1);
    assert_eq!(following.told(), "", "the stream goes on");

    let (before, worker) = service.settled();
    signal(worker, Signal::KILL);
    wait_for("a replacement", || (service.serving().0 > before).then_some(()));
    farm.segue(&["ready", &farm.name()]);
    let all = following.wait("server-administered", 2);
    let numbers: Vec<_> = all.iter().map(|event| event["number"].as_u64().expect("a number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none twice, none lost: {numbers:?}");
    assert_eq!(all, kept(&farm)[..all.len()]);
    assert!(all.iter().any(|event| event["event"] == "worker-died"), "{all:?}");
    assert_eq!(following.told().matches("the events end here").count(), 1, "{}", following.told());

    let count = all.len();
    service.signal(Signal::TERM);
    service.ended();
    let service = farm.run.start();
    // that it was ready before the restart may be read here
    wait_for("the service", || farm.run.segue(&["servers"]).status.success().then_some(()));
    service.reload_anyway();
    let all = following.wait("reload-done", 4);
    let again: Vec<_> = all.into_iter().skip(count).skip_while(|event| event["number"] != 1).collect();
    assert_eq!(again, kept(&farm)[..again.len()], "{}", following.told());
    assert_eq!(following.told().matches("the events end here").count(), 2, "{}", following.told());
    assert!(!following.told().contains("lost"), "{}", following.told());
}

#[test]
fn an_output_that_is_closed_ends_it_though_nothing_happens() {
    let farm = Farm::new();
    let _service = farm.run.start();
    let mut command = Command::new(SEGUE);
    command.args(["events", "--follow", "--since", "0s", "--run-dir"]).arg(farm.run.run_dir());
    let mut process =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("segue");
    drop(process.stdout.take());
    wait_for("its end", || process.try_wait().expect("wait"));
    let output = process.wait_with_output().expect("its end");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
