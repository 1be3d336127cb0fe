//! OpenSSL on both sides: `openssl s_client` and `openssl s_server`, of the machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A process of OpenSSL, which ends with this.
struct OpenSsl {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl OpenSsl {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a process");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Self { child, input, output: BufReader::new(output) }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn clients_and_servers_of_openssl_agree_with_each_other_whatever_their_version() {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        return; // no OpenSSL here
    }
    let files = tempfile::tempdir().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["app.example.com".to_owned()]).expect("a name");
    let [pem, key_file] = ["server.pem", "server.key"].map(|name| files.path().join(name).display().to_string());
    std::fs::write(&pem, params.self_signed(&key).expect("a certificate").pem()).expect("written");
    std::fs::write(&key_file, key.serialize_pem()).expect("written");
    // versions of old have no signature_algorithms in their ClientHello, and need a lower level of security
    let old = &["-cipher", "DEFAULT@SECLEVEL=0"][..];
    for (version, more) in [("-tls1_3", &[][..]), ("-tls1_2", &[]), ("-tls1_1", old), ("-tls1", old)] {
        let scene = Scene::new("", "");
        let of_version = [&[version], more].concat();
        let address = crate::support::free_address();
        let accept = address.to_string();
        let server = ["s_server", "-accept", &accept, "-cert", &pem, "-key", &key_file, "-rev"];
        let _server = OpenSsl::start(&[&server[..], &of_version].concat());
        wait_for("a server of OpenSSL", || std::net::TcpStream::connect(address).ok().map(drop));
        scene.run.configure(&format!(
            "[listen.http]\n[pool.app]\nservers = ['{address}']\n[tcp.front]\nto = ['{}']\nsni = {{ 'app.example.com' = 'app' }}\n",
            scene.rest.address
        ));
        let service = scene.run.start();
        let connect = scene.address.to_string();
        let client = ["s_client", "-connect", &connect, "-servername", "app.example.com", "-CAfile", &pem, "-quiet"];
        let client = [&client[..], &["-verify_return_error"], &of_version].concat();
        let mut client = OpenSsl::start(&client);
        for word in ["one", "two", "three"] {
            writeln!(client.input, "{word}").expect("written");
            assert_eq!(client.line().trim_end().chars().rev().collect::<String>(), word, "{version}");
            service.reload_anyway();
            service.settled();
        }
        scene.assert_untouched();
    }
}
