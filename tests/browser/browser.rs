//! Chromium without a window, driven by chromedriver (W3C WebDriver, and commands of Chromium's own protocol).

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Wire, wait_for};

/// How long a command may take on a busy machine: a page of 300 servers is looked at by axe.
const SLOWEST: Duration = Duration::from_secs(120);
/// The name of an element in WebDriver (section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys as WebDriver has them (section 17.4.2).
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";
pub const SPACE: &str = " ";

/// A browser with one window and a new profile. Dropping it ends all of its processes.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    /// The path of the session.
    session: String,
    directory: TempDir,
}

impl Browser {
    /// Starts one; each page that it opens runs `script` before its own.
    #[track_caller]
    pub fn start(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("log");
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("a log"))
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver (apt install chromium-driver)");
        let port = wait_for("chromedriver", || {
            let text = std::fs::read_to_string(&log).ok()?;
            text.split("successfully on port ").nth(1)?.split_once('.')?.0.parse().ok()
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut browser = Self { driver, address, session: "/session".to_owned(), directory };
        let session = browser.post("", &browser.capabilities());
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("a session"));
        browser.post("/timeouts", &json!({ "script": SLOWEST.as_millis() as u64 }));
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
        browser.be("light", 1280, 1000);
        browser
    }

    fn capabilities(&self) -> Value {
        let profile = format!("--user-data-dir={}", self.directory.path().join("profile").display());
        let quiet = "--headless --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run --disable-sync \
                     --disable-background-networking --disable-component-update";
        // root has no sandbox
        let arguments: Vec<&str> = quiet.split_whitespace().chain(["--no-sandbox", &profile]).collect();
        json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } })
    }

    /// Has this colour scheme and a window of this size. A narrow one is that of a phone.
    #[track_caller]
    pub fn be(&self, scheme: &str, width: u32, height: u32) {
        // nothing is clicked on while it moves
        let features = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")];
        let features = features.map(|(name, value)| json!({ "name": name, "value": value }));
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
        let window = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &window);
        self.devtools("Emulation.setScrollbarsHidden", &json!({ "hidden": true }));
    }

    /// Opens a page, and waits until it is loaded.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function with these arguments in the page; what it returns, or what its promise gives.
    #[track_caller]
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// The value of an expression.
    #[track_caller]
    pub fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}"), &[])
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        let mut last = Value::Null;
        wait_for(expression, || {
            last = self.value(expression);
            (last == true).then_some(())
        });
    }

    /// Clicks on the element of this selector, where it is seen.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.post(&format!("/element/{}/click", self.element(selector)), &json!({}));
    }

    /// Types into it.
    #[track_caller]
    pub fn type_into(&self, selector: &str, text: &str) {
        self.post(&format!("/element/{}/value", self.element(selector)), &json!({ "text": text }));
    }

    /// Presses keys one after the other, wherever the focus is.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let press = |key: char| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }));
        let actions: Vec<Value> = keys.chars().flat_map(press).collect();
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// A command of Chromium's own protocol.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What is seen, as PNG.
    #[track_caller]
    pub fn picture(&self) -> Vec<u8> {
        let picture = self.ask("GET", "/screenshot", "");
        Base64::decode_vec(picture.as_str().expect("base64")).expect("base64")
    }

    /// What the console says of faults since it was asked last.
    #[track_caller]
    pub fn faults(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a list").iter();
        let faults = entries.filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        faults.map(|entry| entry["message"].to_string()).collect()
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    #[track_caller]
    fn post(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", command, &parameters.to_string())
    }

    #[track_caller]
    fn ask(&self, method: &str, command: &str, body: &str) -> Value {
        let mut wire = Wire::connect(self.address);
        wire.stream().set_read_timeout(Some(SLOWEST)).expect("a timeout");
        let (path, length) = (format!("{}{command}", self.session), body.len());
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}",
            self.address
        ));
        let answer = wire.answer();
        let mut value: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(answer.status(), 200, "{command} {body:.300}: {}", value["value"]["message"]);
        value["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; when the driver does not answer, with the driver
        if let Ok(stream) = TcpStream::connect(self.address) {
            let mut wire = Wire::new(stream);
            let end =
                format!("DELETE {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.session, self.address);
            if wire.try_send(end).is_ok() {
                let _ = wire.stream().read(&mut [0; 1024]);
            }
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
