//! What Prometheus sees of the service over its whole life, and what it makes of the rules of the package.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Answering, DEADLINE, Run, free_address, get, signal, socket, wait_for};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/prometheus/segue.rules.yml");
/// What raises which alert.
const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/blackbox/alerts.yml");
const RELOADS: u64 = 20;
const ROLL_BACKS: usize = 3;

/// A Prometheus with the rules of the package. It runs as long as this lives.
struct Prometheus {
    directory: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Prometheus {
    /// One that asks this address every two seconds.
    fn start(metrics: SocketAddr) -> Self {
        let (directory, address) = (tempfile::tempdir().expect("a directory"), free_address());
        let config = directory.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s }}\nrule_files: ['{RULES}']\n\
             scrape_configs: [{{ job_name: segue, static_configs: [{{ targets: ['{metrics}'] }}] }}]\n"
        );
        std::fs::write(&config, text).expect("written");
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let process = Command::new("prometheus")
            .arg("--config.file")
            .arg(&config)
            .arg("--storage.tsdb.path")
            .arg(directory.path().join("data"))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("dup"))
            .stderr(log)
            .spawn()
            .expect("prometheus (apt install prometheus)");
        let prometheus = Self { directory, address, process };
        wait_for("Prometheus", || prometheus.ask("/-/ready").filter(|answer| answer.contains(" 200 ")));
        prometheus
    }

    fn ask(&self, path: &str) -> Option<String> {
        request(self.address, path, "")
    }

    /// What is behind `data` of an answer.
    fn data(&self, path: &str) -> Value {
        let answer = self.ask(path).expect("an answer");
        let body = answer.split_once("\r\n\r\n").expect("a head").1;
        let json: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(json["status"], "success", "{answer}");
        json["data"].clone()
    }

    /// The labels and the value of each series that comes of an expression.
    fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.data(&format!("/api/v1/query?query={encoded}"));
        let result = data["result"].as_array().expect("a vector").clone();
        let value = |one: &Value| one["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
        result.into_iter().map(|one| (one["metric"].clone(), value(&one))).collect()
    }

    /// The only value of an expression.
    fn value(&self, expression: &str) -> Option<f64> {
        self.query(expression).first().map(|(_, value)| *value)
    }

    /// The names of all series that only grow.
    fn counters(&self) -> Vec<String> {
        let names = self.data("/api/v1/label/__name__/values");
        let names = names.as_array().expect("names").iter().filter_map(Value::as_str).map(str::to_owned);
        let ends = ["_total", "_bucket", "_count", "_sum"];
        names.filter(|name| name.starts_with("segue_") && ends.iter().any(|end| name.ends_with(end))).collect()
    }

    fn firing(&self) -> Vec<String> {
        let alerts = self.query("ALERTS{alertstate=\"firing\"}").into_iter();
        alerts.map(|(labels, _)| labels["alertname"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- log of Prometheus\n{log}");
        }
    }
}

fn request(address: SocketAddr, path: &str, fields: &str) -> Option<String> {
    let mut client = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    client.set_read_timeout(Some(DEADLINE)).expect("an option");
    client.write_all(format!("GET {path} HTTP/1.0\r\nHost: a\r\n{fields}\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    let tool = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().expect("promtool (apt install prometheus)");
    tool.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("read");
    let output = tool.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn prometheus_sees_no_counter_go_back_and_misses_no_scrape_over_reloads_roll_backs_a_crash_and_a_restart() {
    let ((listening, address), (scraped, metrics)) = (socket(), socket());
    let server = Answering::start("well");
    let config = format!(
        "[site.'*']\nto = 'farm'\n[pool.farm]\nservers = ['{}']\n[metrics]\non = '{metrics}'\n",
        server.address
    );
    let run = Run::new(&config).argument("--probation=50ms").socket("http", listening);
    // as the store of systemd has it over a restart
    let run = run.socket("bound/[metrics]", scraped);
    let mut service = run.start();
    let prometheus = Prometheus::start(metrics);
    wait_for("a scrape", || prometheus.value("up").filter(|up| *up == 1.0));
    let mut asked = 0;
    let mut some = || {
        (0..5).for_each(|_| drop(get(address).expect("a response")));
        asked += 5;
    };
    let scrapes = || prometheus.value("count_over_time(up[1h])").unwrap_or_default();
    for reload in 0..RELOADS {
        some();
        service.reload_anyway();
        if reload % 2 == 0 {
            let before = scrapes();
            wait_for("a scrape", || (scrapes() > before).then_some(()));
        }
        if reload == RELOADS / 2 {
            run.wait_memory();
            let (before, worker) = service.settled();
            signal(worker, Signal::KILL);
            wait_for("a replacement", || (service.serving().0 > before).then_some(()));
        }
    }
    for done in 1..=ROLL_BACKS {
        some();
        assert!(service.reload_with(&["--force", "--confirm", "1s"]).0);
        wait_for("the roll-back", || (run.log().matches("Rolled back").count() == done).then_some(()));
    }
    let total = "sum(segue_exchanges_total)";
    wait_for("all exchanges", || prometheus.value(total).filter(|seen| *seen == f64::from(asked)));
    service.signal(Signal::TERM);
    assert!(service.ended().success());
    drop(service);
    let service = run.start();
    (0..5).for_each(|_| drop(get(address).expect("a response")));
    asked += 5;
    wait_for("the exchanges after the restart", || prometheus.value(total).filter(|seen| *seen == f64::from(asked)));

    let scrapes = scrapes();
    assert!(scrapes > 10.0, "{scrapes} scrapes");
    assert_eq!(prometheus.value("min_over_time(up[1h])"), Some(1.0), "of {scrapes} scrapes one failed");
    let counters = prometheus.counters();
    assert!(counters.len() > 25, "{counters:?}");
    for counter in counters {
        assert_eq!(prometheus.query(&format!("resets({counter}[1h]) > 0")), [], "{counter} went back");
    }
    let events = prometheus.query("segue_events_total").into_iter();
    let events: Vec<_> =
        events.map(|(labels, count)| (labels["event"].as_str().unwrap_or_default().to_owned(), count)).collect();
    for (event, count) in [("rolled-back", ROLL_BACKS as f64), ("worker-died", 1.0), ("stopped", 1.0), ("started", 2.0)]
    {
        assert!(events.contains(&(event.to_owned(), count)), "{event}: {events:?}");
    }
    the_rules_hold(&prometheus);
    eprintln!("{scrapes} scrapes over {RELOADS} reloads, {ROLL_BACKS} roll-backs, a crash and a restart: none failed");
    drop(service);
}

/// Each rule can be evaluated, and those about what happened here fire.
#[track_caller]
fn the_rules_hold(prometheus: &Prometheus) {
    let data = prometheus.data("/api/v1/rules");
    let rules = data["groups"][0]["rules"].as_array().expect("rules").clone();
    assert!(rules.len() > 10, "{rules:?}");
    wait_for("two alerts", || {
        let firing = prometheus.firing();
        ["SegueRolledBack", "SegueWorkerFailed"].iter().all(|name| firing.iter().any(|one| one == name)).then_some(())
    });
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
    assert_eq!(prometheus.firing().len(), 2, "{:?}", prometheus.firing());
}

#[test]
fn prometheus_takes_both_formats_and_the_rules() {
    let ((listening, address), metrics) = (socket(), free_address());
    let server = Answering::start("well");
    let config = format!("[site.'*']\nto = ['{}']\n[metrics]\non = '{metrics}'\n", server.address);
    let run = Run::new(&config).socket("http", listening);
    let _service = run.start();
    get(address).expect("a response");
    let plain = request(metrics, "/metrics", "").expect("metrics");
    let (head, body) = plain.split_once("\r\n\r\n").expect("a head");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    promtool(&["check", "metrics"], body);
    promtool(&["check", "rules", RULES], "");
    promtool(&["test", "rules", ALERTS], "");
    let open =
        request(metrics, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").expect("metrics");
    let (head, body) = open.split_once("\r\n\r\n").expect("a head");
    let head = head.to_lowercase();
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(head.contains("vary: accept") && body.ends_with("\n# EOF\n"), "{head}\n{body}");
    let prometheus = Prometheus::start(metrics);
    wait_for("a scrape", || prometheus.value("up").filter(|up| *up == 1.0));
    // only OpenMetrics has units
    let metadata = prometheus.data("/api/v1/metadata?metric=segue_exchange_seconds");
    assert_eq!(metadata["segue_exchange_seconds"][0]["unit"], "seconds", "{metadata}");
}
