//! Schemes that authenticate a connection instead of each request (NTLM, Negotiate; RFC 4559 §6): the connection to the
//! server belongs to one client connection, from the first word of such a scheme on.

use std::net::SocketAddr;

use crate::support::{Proxy, Run, Server, Site, Wire, free_address, is_alive};

const GET: &str = "GET / HTTP/1.1\r\nHost: $host\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BEGIN: &str = "GET / HTTP/1.1\r\nHost: $host\r\nAuthorization: NTLM TlRMTVNTUAABAAAA\r\n\r\n";
const CHALLENGE: &str =
    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\nContent-Length: 2\r\n\r\nno";
const ANSWER: &str = "GET / HTTP/1.1\r\nHost: $host\r\nAuthorization: NTLM TlRMTVNTUAADAAAA\r\n\r\n";

/// One request over a connection to a server that there is already.
fn pass(client: &mut Wire, server: &mut Wire, request: &str, response: &str) {
    client.send(request);
    server.head();
    server.send(response);
    client.answer();
}

/// A client that is logged in, and its connection to the server.
fn log_in(client: &mut Wire, server: &Server) -> Wire {
    client.send(BEGIN);
    let mut connection = server.accept();
    connection.head();
    connection.send(CHALLENGE);
    assert_eq!(client.answer().status(), 401);
    pass(client, &mut connection, ANSWER, OK);
    connection
}

#[test]
fn a_connection_that_a_scheme_authenticates_serves_one_client_alone() {
    for (request, response) in [
        ("", "WWW-Authenticate: NTLM"),
        ("", "WWW-Authenticate: Negotiate"),
        ("", "www-authenticate: nTlM TlRMTVNTUAACAAAA"),
        ("", "WWW-Authenticate: Basic realm=\"a, b\", Negotiate oYG2"),
        ("", "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Bearer\r\nWWW-Authenticate: NTLM"),
        ("", "Proxy-Authenticate: NTLM"),
        ("Authorization: NTLM TlRMTVNTUAABAAAA", "X-A: b"),
        ("authorization: NEGOTIATE YIIFswYGKwYBBQUC", "X-A: b"),
        ("Proxy-Authorization: Negotiate YIIF", "X-A: b"),
    ] {
        let site = Site::new();
        let (mut one, mut other) = (site.client(), site.client());
        let request = if request.is_empty() {
            GET.to_owned()
        } else {
            GET.replace("\r\n\r\n", &format!("\r\n{request}\r\n\r\n"))
        };
        one.send(request);
        let mut first = site.server.accept();
        first.head();
        first.send(format!("HTTP/1.1 401 Unauthorized\r\n{response}\r\nContent-Length: 0\r\n\r\n"));
        one.answer();
        other.send(GET);
        let mut second = site.server.accept();
        second.head();
        second.send(OK);
        other.answer();
        pass(&mut one, &mut first, GET, OK);
        pass(&mut other, &mut second, GET, OK);
        first.assert_silent();
    }
}

#[test]
fn other_schemes_leave_the_connection_to_everyone() {
    for (request, response) in [
        ("Authorization: Basic TlRMTVNTUAABAAAA", "WWW-Authenticate: Basic realm=\"NTLM\""),
        ("Authorization: Digest realm=NTLM, ntlm=1", "WWW-Authenticate: Digest realm=\"x, Negotiate, y\", nonce=\"a\""),
        ("Authorization: Bearer NTLM", "WWW-Authenticate: Bearer\r\nX-A: NTLM"),
    ] {
        let site = Site::new();
        let (mut one, mut other) = (site.client(), site.client());
        one.send(GET.replace("\r\n\r\n", &format!("\r\n{request}\r\n\r\n")));
        let mut server = site.server.accept();
        server.head();
        server.send(format!("HTTP/1.1 401 Unauthorized\r\n{response}\r\nContent-Length: 0\r\n\r\n"));
        one.answer();
        pass(&mut other, &mut server, GET, OK);
    }
}

#[test]
fn a_client_logs_in_where_no_idle_connection_is_kept() {
    let server = Server::new();
    let pool = "keep_alive_connections = 0\nretries = 0";
    let proxy = Proxy::start(&format!("[site.\"*\"]\nto = [\"{}\"]\n{pool}\n", server.address));
    let mut client = proxy.client().of_host("a");
    let mut connection = log_in(&mut client, &server);
    pass(&mut client, &mut connection, GET, OK);
    server.assert_untouched();
}

#[test]
fn the_connection_is_closed_when_its_client_leaves() {
    let site = Site::new();
    let mut client = site.client();
    let mut connection = log_in(&mut client, &site.server);
    drop(client);
    connection.assert_closed();
}

#[test]
fn the_answer_to_a_challenge_goes_to_no_other_connection() {
    for closes in ["before the answer", "at the answer"] {
        let site = Site::new();
        let mut client = site.client();
        client.send(BEGIN);
        let mut connection = site.server.accept();
        connection.head();
        connection.send(CHALLENGE);
        client.answer();
        if closes == "before the answer" {
            drop(connection);
            client.send(ANSWER);
        } else {
            client.send(ANSWER);
            connection.head();
            drop(connection);
        }
        let answer = client.answer();
        assert_eq!((answer.status(), answer.says_close()), (502, true), "{closes}");
        client.assert_closed();
        site.server.assert_untouched();
    }
}

#[test]
fn the_first_word_of_a_handshake_goes_to_a_new_connection_when_the_old_one_is_gone() {
    let site = Site::new();
    let mut client = site.client();
    drop(log_in(&mut client, &site.server));
    for request in [BEGIN, GET] {
        client.send(request);
        let mut connection = site.server.accept();
        connection.head();
        connection.send(CHALLENGE);
        assert_eq!(client.answer().status(), 401);
    }
}

#[test]
fn a_client_hears_that_its_authenticated_connection_is_closed() {
    let site = Site::new();
    let mut client = site.client();
    let mut connection = log_in(&mut client, &site.server);
    client.send(GET);
    connection.head();
    connection.send(OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    assert!(client.answer().says_close());
    client.assert_closed();
}

#[test]
fn a_client_of_two_pools_has_a_connection_to_each() {
    let (intranet, mail) = (Server::new(), Server::new());
    let site = |host: &str, server: &Server| format!("[site.\"{host}\"]\nto = [\"{}\"]\n", server.address);
    let proxy = Proxy::start(&(site("intranet", &intranet) + &site("mail", &mail)));
    let mut client = proxy.client().of_host("intranet");
    let mut connections = Vec::new();
    for (host, server) in [("intranet", &intranet), ("mail", &mail)] {
        client = client.of_host(host);
        connections.push(log_in(&mut client, server));
    }
    for (host, connection) in ["intranet", "mail"].iter().zip(&mut connections) {
        client = client.of_host(host);
        pass(&mut client, connection, GET, OK);
    }
}

fn config(address: SocketAddr, server: SocketAddr) -> String {
    format!("[worker]\nthreads = 2\n[listen.http]\naddress = \"{address}\"\n[site.\"*\"]\nto = [\"{server}\"]\n")
}

#[test]
fn the_connection_moves_with_its_client_over_reloads() {
    let (address, server) = (free_address(), Server::new());
    let run = Run::new(&config(address, server.address));
    let service = run.start();
    let mut client = Wire::connect(address).of_host("a");
    let mut connection = log_in(&mut client, &server);
    for _ in 0..3 {
        let (_, worker) = service.serving();
        service.reload_anyway();
        service.settled();
        assert!(!is_alive(worker));
        pass(&mut client, &mut connection, GET, OK);
    }
    let mut other = Wire::connect(address).of_host("a");
    other.send(GET);
    server.accept().head();
    drop(client);
    connection.assert_closed();
}

#[test]
fn a_client_stays_whose_server_a_reload_takes_away() {
    let (address, server, other) = (free_address(), Server::new(), Server::new());
    let run = Run::new(&config(address, server.address));
    let service = run.start();
    let mut client = Wire::connect(address).of_host("a");
    client.send(BEGIN);
    let mut connection = server.accept();
    connection.head();
    connection.send(CHALLENGE);
    client.answer();
    run.configure(&config(address, other.address));
    service.reload_well();
    run.wait_log("Generation 1 drains");
    pass(&mut client, &mut connection, ANSWER, OK);
    other.assert_untouched();
}
