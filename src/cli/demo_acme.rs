//! A certificate authority for the demo: pebble, of Let's Encrypt, with its name server, for which every name is this machine.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

/// The host whose certificate is shown.
pub(super) const HOST: &str = "demo.test";

/// How long the authority may take to start, and how often it is looked at.
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The authority; it ends when this is dropped.
pub(super) struct DemoAuthority {
    processes: [Child; 2],
    /// What the configuration says of it.
    pub(super) tables: String,
    /// The port for TLS.
    pub(super) port: u16,
}

/// What it leaves in the folder of the demo.
pub(super) const LEFT: [&str; 4] = ["pebble.json", "pebble.pem", "pebble.key", "pebble.log"];

impl DemoAuthority {
    /// Starts one that looks at `http` for the answers to its challenges.
    ///
    /// # Errors
    /// When pebble is not installed, or has no place.
    pub(super) fn start(folder: &Path, http: u16) -> io::Result<Self> {
        let place = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let [asked, managed, names, names_managed, tls] = [place()?, place()?, place()?, place()?, place()?];
        let [config, certificate, key, log] = LEFT.map(|name| folder.join(name));
        let own = KeyPair::generate().map_err(io::Error::other)?;
        let params = CertificateParams::new([asked.ip().to_string()]).map_err(io::Error::other)?;
        fs::write(&certificate, params.self_signed(&own).map_err(io::Error::other)?.pem())?;
        let mut file = fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&key)?;
        io::Write::write_all(&mut file, own.serialize_pem().as_bytes())?;
        let pebble = json!({ "pebble": {
            "listenAddress": asked.to_string(), "managementListenAddress": managed.to_string(),
            "certificate": certificate, "privateKey": key, "httpPort": http, "tlsPort": tls.port(),
        } });
        fs::write(&config, pebble.to_string())?;
        let log = fs::File::create(log)?;
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).env("PEBBLE_VA_NOSLEEP", "1").stdin(Stdio::null());
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            command.spawn().map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::other(format!("{program} is not installed: apt install pebble")),
                _ => error,
            })
        };
        let (server, manages) = (names.to_string(), names_managed.to_string());
        let of_names = ["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-dns01", &server];
        let name_server = run("pebble-challtestsrv", &[&of_names[..], &["-management", &manages][..]].concat())?;
        let config = config.display().to_string();
        let authority = run("pebble", &["-config", &config, "-dnsserver", &server])?;
        let tables = tables(asked, &certificate, tls);
        let mut started = Self { processes: [name_server, authority], tables, port: tls.port() };
        started.wait_until_up(asked)?;
        Ok(started)
    }

    /// Waits until it takes connections: a first order that is refused is tried again seconds later.
    fn wait_until_up(&mut self, address: SocketAddr) -> io::Result<()> {
        let until = Instant::now() + STARTS_WITHIN;
        while TcpStream::connect(address).is_err() {
            let [_, authority] = &mut self.processes;
            if authority.try_wait()?.is_some() || Instant::now() > until {
                return Err(io::Error::other(format!("pebble does not start; {} tells why", LEFT[3])));
            }
            #[expect(clippy::disallowed_methods, reason = "a look at another program, until a deadline")]
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

fn tables(asked: SocketAddr, ca: &Path, tls: SocketAddr) -> String {
    format!(
        "\n# its certificate is issued by the authority of the demo\n\
         [site.\"{HOST}\"]\nto  = \"demo\"\ntls = \"auto\"\n\n\
         [listen.https]\naddress = \"{tls}\"\n\n\
         [acme]\ndirectory = \"https://{asked}/dir\"\nca        = \"{}\"\n",
        ca.display()
    )
}

impl Drop for DemoAuthority {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Ctrl-C in a terminal has ended it already
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
