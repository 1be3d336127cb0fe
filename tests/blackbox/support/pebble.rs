//! A certificate authority: pebble, of Let's Encrypt, with a name server that knows one address.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DEADLINE, free_address, wait_for};

/// What pebble is told beside the ports.
#[derive(Clone, Debug, Default)]
pub struct PebbleOptions {
    /// `certificateValidityPeriod`, in seconds.
    pub lasts: Option<u64>,
    /// The external accounts that it knows, identifier and key; one of them is demanded then.
    pub external: Vec<(String, String)>,
    /// Of a hundred requests so many are refused for their nonce.
    pub rejects: u32,
}

/// It runs as long as this lives.
pub struct Pebble {
    directory: TempDir,
    options: PebbleOptions,
    listens: SocketAddr,
    manages: SocketAddr,
    names: SocketAddr,
    names_managed: SocketAddr,
    looks_at: (u16, u16),
    /// Where something may stand before it, under its certificate.
    pub front: SocketAddr,
    authority: Option<Child>,
    name_server: Child,
}

impl Pebble {
    /// A pebble that looks for every host at this address: for `http-01` at the one port, for `tls-alpn-01` at the other.
    pub fn new(address: IpAddr, looks_at: (u16, u16), options: PebbleOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (names, names_managed) = (free_address(), free_address());
        let name_server = Command::new("pebble-challtestsrv")
            .args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-defaultIPv4", &address.to_string(), "-dns01", &names.to_string()])
            .args(["-management", &names_managed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble-challtestsrv (apt install pebble)");
        let pebble = Self {
            directory,
            options,
            listens: free_address(),
            manages: free_address(),
            names,
            names_managed,
            looks_at,
            front: free_address(),
            authority: None,
            name_server,
        };
        pebble.write_certificate();
        wait_for("the name server", || TcpStream::connect(names_managed).ok());
        pebble
    }

    /// The same, running.
    pub fn start(address: IpAddr, looks_at: (u16, u16), options: PebbleOptions) -> Self {
        let mut pebble = Self::new(address, looks_at, options);
        pebble.run();
        pebble
    }

    /// Starts the authority.
    pub fn run(&mut self) {
        let config = self.directory.path().join("pebble.json");
        let file = File::create(&config).expect("a file");
        serde_json::to_writer(file, &self.config()).expect("written");
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let mut command = Command::new("pebble");
        command.arg("-strict").arg("-config").arg(config).arg("-dnsserver").arg(self.names.to_string());
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        command.env("PEBBLE_WFE_NONCEREJECT", self.options.rejects.to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("dup")).stderr(log);
        self.authority = Some(command.spawn().expect("pebble (apt install pebble)"));
        // it makes RSA keys before it listens
        let until = Instant::now() + 5 * DEADLINE;
        while TcpStream::connect(self.listens).is_err() {
            assert!(Instant::now() < until, "pebble does not listen: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Ends the authority; what it knew is gone.
    pub fn end(&mut self) {
        if let Some(mut authority) = self.authority.take() {
            authority.kill().expect("a process");
            authority.wait().expect("its end");
        }
    }

    /// The `[acme]` table for it, with these lines more.
    pub fn table(&self, more: &str) -> String {
        self.table_of(self.listens, more)
    }

    /// The same for what stands before it, with the same certificate.
    pub fn table_of(&self, address: SocketAddr, more: &str) -> String {
        let ca = self.path("ca.pem");
        format!("[acme]\ndirectory = \"https://{address}/dir\"\nca = \"{}\"\n{more}\n", ca.display())
    }

    pub fn address(&self) -> SocketAddr {
        self.listens
    }

    /// How often it was asked for this, as its log says.
    pub fn asked(&self, what: &str) -> usize {
        self.log().lines().filter(|line| line.contains(what)).count()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command for records in the DNS, which notes in `hook.log` how it is called.
    pub fn hook(&self) -> PathBuf {
        self.hook_that("")
    }

    /// The same; it does this first, when it is to make one.
    pub fn hook_that(&self, first: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let (path, port) = (self.path("hook"), self.names_managed.port());
        let script = format!(
            "#!/bin/bash\nset -e\necho \"$1 $2\" >> \"$0.log\"\n\
             if [ \"$1\" = present ]; then {first} what=set-txt; else what=clear-txt; fi\n\
             body=\"{{\\\"host\\\":\\\"$2\\\",\\\"value\\\":\\\"$3\\\"}}\"\n\
             exec 3<>/dev/tcp/{}/{port}\n\
             printf 'POST /%s HTTP/1.0\\r\\nContent-Length: %s\\r\\n\\r\\n%s' $what ${{#body}} \"$body\" >&3\n\
             grep -q '200 OK' <&3\n",
            self.names_managed.ip()
        );
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
        path
    }

    fn config(&self) -> Value {
        let (http, tls) = self.looks_at;
        let external: serde_json::Map<_, _> =
            self.options.external.iter().map(|(kid, key)| (kid.clone(), json!(key))).collect();
        let mut config = json!({
            "listenAddress": self.listens.to_string(),
            "managementListenAddress": self.manages.to_string(),
            "certificate": self.path("ca.pem"),
            "privateKey": self.path("ca.key"),
            "httpPort": http,
            "tlsPort": tls,
            "externalAccountBindingRequired": !external.is_empty(),
            "externalAccountMACKeys": external,
        });
        if let Some(lasts) = self.options.lasts {
            config["certificateValidityPeriod"] = json!(lasts);
        }
        json!({ "pebble": config })
    }

    /// For its own address; it is its own root.
    fn write_certificate(&self) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([self.listens.ip().to_string(), self.front.ip().to_string()]);
        let params = params.expect("addresses");
        let certificate = params.self_signed(&key).expect("a certificate");
        for (name, text) in [("ca.pem", certificate.pem()), ("ca.key", key.serialize_pem())] {
            std::fs::write(self.path(name), text).expect("written");
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
        // it may have ended by itself
        let _ = self.name_server.kill();
        let _ = self.name_server.wait();
    }
}

/// The name of the file of a host in the state directory.
pub fn certificate_file(state: &Path, host: &str) -> PathBuf {
    state.join("acme/certificates").join(format!("{}.pem", host.replace('*', "_")))
}
