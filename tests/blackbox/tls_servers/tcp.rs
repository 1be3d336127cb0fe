//! Servers of a TCP listener that speak TLS: what their clients say goes on in it, as plain bytes or out of TLS of its own.

use rustls::ClientConfig;

use super::*;

const RELOADS: usize = 3;

/// A client that speaks TLS to the listener, with the certificate of the authority.
fn tls_client(authority: &Authority, address: SocketAddr) -> StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let name = "front.test".try_into().expect("a name");
    let socket = TcpStream::connect(address).expect("connect");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    StreamOwned::new(rustls::ClientConnection::new(config.into(), name).expect("a client"), socket)
}

#[test]
fn tcp_connections_with_tls_on_either_side_or_both_go_on_over_reloads() {
    for version in VERSIONS {
        let authority = Authority::new();
        let server = authority.server(&[OWN], &[version]);
        let path = |name: &str| authority.files.path().join(name);
        let (certificate, key) = authority.issue(&["front.test"]);
        std::fs::write(path("front.pem"), certificate.pem()).expect("written");
        std::fs::write(path("front.key"), key.serialize_pem()).expect("written");
        let ((plain, plain_address), (tls, tls_address)) = (socket(), socket());
        let config = format!(
            "[log]\naccess = 'all'\n[tcp.plain]\nto = 'farm'\n[tcp.tls]\nto = 'farm'\ntls = {{ certificate = '{}', key = '{}' }}\n\
             [pool.farm]\nservers = ['https://{}']\ntls_ca = '{}'\n",
            path("front.pem").display(),
            path("front.key").display(),
            server.address(),
            authority.ca().display()
        );
        let run = Run::new(&config).socket("plain", plain).socket("tls", tls);
        let service = run.start();
        let mut of_plain = Wire::connect(plain_address);
        let mut server_of_plain = server.accept();
        of_plain.send("hello");
        assert_eq!(read_until(&mut server_of_plain, "hello"), "hello");
        assert_eq!(server_of_plain.conn.alpn_protocol(), None, "its protocol is not known");
        let mut of_tls = tls_client(&authority, tls_address);
        of_tls.write_all(b"hello").expect("written");
        let mut server_of_tls = server.accept();
        assert_eq!(read_until(&mut server_of_tls, "hello"), "hello");
        let piece: Vec<u8> = (0..200_000_usize).map(|at| (at * 7 + at / 251) as u8).collect();
        for _ in 0..RELOADS {
            for server in [&mut server_of_plain, &mut server_of_tls] {
                server.write_all(&piece[..100_000]).expect("written");
            }
            of_plain.send(&piece[..100_000]);
            of_tls.write_all(&piece[..100_000]).expect("written");
            service.reload_anyway();
            service.settled();
            for server in [&mut server_of_plain, &mut server_of_tls] {
                server.write_all(&piece[100_000..]).expect("written");
            }
            of_plain.send(&piece[100_000..]);
            of_tls.write_all(&piece[100_000..]).expect("written");
            let mut got = vec![0; piece.len()];
            of_tls.read_exact(&mut got).expect("bytes");
            assert!(got == piece && of_plain.take(piece.len()) == piece);
            for server in [&mut server_of_plain, &mut server_of_tls] {
                server.read_exact(&mut got).expect("bytes");
                assert!(got == piece);
            }
        }
        // an end is told on both sides as TLS tells it
        of_plain.finish();
        assert_eq!(server_of_plain.read(&mut [0; 1]).expect("close_notify"), 0);
        server_of_tls.conn.send_close_notify();
        server_of_tls.flush().expect("written");
        assert_eq!(of_tls.read(&mut [0; 1]).expect("close_notify"), 0);
    }
}
