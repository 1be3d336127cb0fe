//! OpenSSL as the server: `openssl s_server`, of the machine.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::*;

/// A server of OpenSSL, which ends with this.
struct OpenSsl {
    child: Child,
    input: ChildStdin,
    address: SocketAddr,
}

impl OpenSsl {
    /// None where there is no OpenSSL.
    fn start(authority: &Authority, arguments: &[&str]) -> Option<Self> {
        Command::new("openssl").arg("version").stdout(Stdio::null()).status().ok()?;
        let address = crate::support::free_address();
        let (certificate, key) = authority.issue(&[&address.ip().to_string()]);
        let path = |name: &str| authority.files.path().join(name);
        std::fs::write(path("server.pem"), certificate.pem()).expect("written");
        std::fs::write(path("server.key"), key.serialize_pem()).expect("written");
        let mut command = Command::new("openssl");
        command.arg("s_server").args(["-accept", &address.to_string()]).args(arguments);
        command.arg("-cert").arg(path("server.pem")).arg("-key").arg(path("server.key"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let input = child.stdin.take().expect("a pipe");
        let server = Self { child, input, address };
        wait_for("a server of OpenSSL", || TcpStream::connect(address).ok().map(drop));
        Some(server)
    }

    fn say(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).expect("written");
        // what comes in one piece with a command is lost
        let is_read = || (rustix::io::ioctl_fionread(&self.input).expect("a number") == 0).then_some(());
        wait_for("OpenSSL to read what it is told", is_read);
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_of_openssl_answers_and_resumes_sessions() {
    for version in ["-tls1_2", "-tls1_3"] {
        let authority = Authority::new();
        let Some(server) = OpenSsl::start(&authority, &[version, "-www"]) else { return };
        let more = "keep_alive_connections = 0\n";
        let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address), more));
        for word in ["New, ", "Reused, "] {
            let mut client = proxy.client();
            client.send(get("/"));
            let answer = client.answer();
            assert_eq!(answer.status(), 200);
            assert!(answer.text().contains(word), "{version}: no {word:?} in {}", answer.text());
        }
    }
}

#[test]
fn a_server_of_openssl_may_change_its_keys_in_the_middle_of_a_response() {
    let authority = Authority::new();
    let Some(mut server) = OpenSsl::start(&authority, &["-tls1_3", "-crlf"]) else { return };
    let proxy = Proxy::start(&config(&authority, &format!("https://{}", server.address), ""));
    let mut client = proxy.client();
    client.send(get("/"));
    server.say("HTTP/1.1 200 OK\nContent-Length: 21\n\nhello\n");
    assert_eq!(client.head().status(), 200);
    client.expect("hello\r\n");
    for (command, word) in [("k\n", "world\n"), ("K\n", "again\n")] {
        server.say(command); // a KeyUpdate, and one that asks for another
        server.say(word);
        client.expect(word.replace('\n', "\r\n"));
    }
}
