//! Every table and every key of the configuration, with its default and its documentation.
//!
//! To add a key is to write it here: the check, `segue diff`, `segue config --effective` and segue.toml(5), of which the
//! doc-comments are the text, follow from it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::acme::{AcmeChallenge, HttpsUrl, MailAddress};
use super::address::{Address, HostPattern};
use super::dashboard::{PageAccess, PageUser, SitePath};
use super::networks::TrustedProxy;
use super::schema::{Key, Keys as _, Schema, table};
use super::servers::{CheckKind, Destination, ServerSettings};
use super::sni::SniRoutes;
use super::tls::{CertificateInFiles, ClientVerify, Hsts, SecretFile, SiteCertificate};
use super::values::{Access, Balance, MemoryLimit, OrOff, ProxyVersion, Size, Whole, Word};

table! {
    /// A listener: a named socket that speaks HTTP, and its settings. When systemd passes a socket whose
    /// `FileDescriptorName=` is NAME, that one is used, and `address` is not bound.
    ///
    /// The listener `http`, for the socket of `proxy-http.socket`, is there without being written. Where that unit is
    /// masked (`systemctl mask --now proxy-http.socket`, and a restart of the service), it is left out as long as there is
    /// another listener.
    ListenerSettings "[listen.NAME]" (
        /// NAME.
        name: String,
    ) {
        /// Where to listen when systemd passes no socket of this name; the listener `https` has `":443"` by itself. `":8080"` for every address of the machine,
        /// `"127.0.0.1:8080"`, `"[::1]:8080"`, or `"unix:/run/segue/NAME.sock"`,
        /// to which only root and the user of the service can connect (for others: a socket unit with `SocketMode=`).
        address: Option<Address> = unset("the socket that systemd passes"),
        /// Client connections open at once. For one more the connection is closed that has been idle longest; while none
        /// is idle, it waits in the backlog of the kernel.
        max_connections: Whole<u32, 1, 10_000_000> = 65536,
        /// Whether clients speak TLS here, 1.2 or 1.3. As soon as a site has a certificate, and no other listener has
        /// `tls`, it is `true` for the listener `https`. The certificate is that of the site that the client names (SNI):
        /// `tls` of `[site."HOST"]`.
        tls: bool = false,
        /// How long the TLS handshake of a client may take.
        handshake_timeout: Duration = "10s",
        /// From the first byte of a request head to its last. After it: 408.
        header_timeout: Duration = "10s",
        /// How long a client connection may stay open without a request.
        idle_timeout: Duration = "60s",
        /// The longest silence inside a request body. After it: 408.
        body_timeout: Duration = "30s",
        /// How long a response may wait for a client that does not read it.
        write_timeout: Duration = "60s",
        /// How long a client that has closed its sending side is waited for without progress, as long as its answer is
        /// outstanding. Such a client waits for the answer, as `nc -N` does, or it has left. While no response has come
        /// the two are told apart: single bytes of the response's first line go to the client ahead of the others, and
        /// one that has left answers with a reset, which ends the exchange. With a second or less nothing is sent ahead,
        /// and with `"1ms"` every such client has left.
        half_close_timeout: Duration = "5m",
        /// The largest request head. Above it: 431.
        max_head: Size<usize, 1024, 1_048_576> = "32KiB",
        /// The longest request target (path and query). Above it: 414. A target goes to the server byte for byte. Every
        /// visible character of ASCII but `#` may stand in it, also those that RFC 3986 has percent-encoded, as `"`, `<`,
        /// `>`, `{`, `|` and `}`, because browsers and curl send them. With a blank, a control character or any other
        /// byte it is a 400.
        max_target: Size<usize, 64, 1_048_576> = "8KiB",
        /// The most header fields in one request. Above it: 431.
        max_fields: Whole<usize, 1, 1000> = 100,
        /// Speaks HTTP/2 too, without TLS, with clients that begin with it (prior knowledge, RFC 9113 §3.3), as
        /// `curl --http2-prior-knowledge` and gRPC clients do. All others get HTTP/1. A WebSocket on a stream
        /// (extended CONNECT, RFC 8441) goes to servers as the upgrade that HTTP/1.1 has for it.
        h2c: bool = false,
        /// Offers HTTP/2 where `tls` is spoken (ALPN `h2`, before `http/1.1`). With `false` every client gets HTTP/1.
        h2: bool = true,
        /// Requests of one HTTP/2 connection that may be open at once (SETTINGS_MAX_CONCURRENT_STREAMS). One more is refused,
        /// and its client may try it again.
        max_streams: Whole<u32, 1, 1000> = 128,
        /// Networks of proxies in front of this one whose `X-Forwarded-For`, `-Proto` and `-Host` are believed, as in
        /// `["10.0.0.0/8"]`. `"unix"` is whatever connects to the unix socket of this listener, such as a TLS terminator on
        /// this machine. Where they name no client, `Forwarded` and `X-Real-IP` do. From all other peers these fields are
        /// replaced.
        trusted_proxies: Vec<TrustedProxy> = [],
        /// Whether connections of `trusted_proxies` begin with a header of the PROXY protocol, version 1 or 2, as
        /// `send-proxy` of HAProxy, `proxy_protocol` of nginx and the balancers of clouds write it. The address in it is that
        /// of the client, and a version 2 header that tells of TLS is believed too. It has to come within `header_timeout`; a
        /// connection of theirs that begins otherwise is closed. From all other peers no such header is taken.
        accept_proxy: bool = false,
    }
}

table! {
    /// A site: the host that clients ask for, and where its requests go. HOST is a host name, `*.example.com` for
    /// every name below it, or `*` for everything that no other site answers. It stands in quotes.
    ///
    /// When `to` is a list of servers, the keys of `[pool.NAME]` other than `servers` can stand here too.
    SiteSettings "[site.\"HOST\"]" (
        /// HOST.
        host: HostPattern,
        /// The pool of `to`: an index into [`Config::pools`].
        pool: usize,
    ) {
        /// The name of a `[pool.NAME]`, or a list of servers as in `servers` of a pool.
        to: Destination = required(["10.0.0.11:80"]),
        /// The certificate for clients that speak TLS: a directory with `fullchain.pem` and `privkey.pem`, as certbot makes
        /// it; a file with certificate and key; `{ certificate = "/etc/ssl/app.pem", key = "/etc/ssl/app.key" }`; a directory
        /// with many certificates; `"auto"`, which has one issued and renewed (see `[acme]`); `"credential:NAME"` for `LoadCredential=NAME:PATH` of the unit; or a list of these, such
        /// as one for ECDSA and one for RSA. The certificate is followed by those that lead to a root.
        ///
        /// With it the site is on port 443 too: the first `tls` brings the listener `https`, unless another listener has
        /// `tls = true`. Clients that speak TLS get the certificate of the host that they ask for (SNI): one that names it as
        /// it is before one with a wildcard, that of its site first, ECDSA before RSA where the client knows it. A host
        /// for which there is none is refused in the handshake, and a client that names no host gets the certificate of the
        /// site `*`, or the only one that there is. Requests for a host that the certificate is not for get 421.
        ///
        /// An answer of OCSP that stands beside the certificate, as `fullchain.pem.ocsp`, is shown to clients (stapling) until
        /// it is too old. A certificate may demand one (must-staple): `segue check` says where it is missing.
        ///
        /// The files are looked at every few seconds: what is new is served without a reload, once key and certificate
        /// match. Until then, and over reloads, the certificate that was read before is served.
        tls: Option<SiteCertificate> = unset("no certificate"),
        /// The certificates of the authorities whose clients alone are let in, as PEM (mutual TLS). A client is asked for a
        /// certificate in its handshake, and it counts for this site alone: a request for another one on the same connection
        /// gets 421, and one without TLS 403 where that is no redirect. Servers are told of it by `Client-Cert` (RFC 9440),
        /// `X-SSL-Client-Verify` (`SUCCESS`, or `NONE`), `X-SSL-Client-DN`, `-CN` and `-Serial`; clients cannot write these
        /// fields. The file is looked at as that of `tls` is. While there is none that can be used, the site has no clients.
        /// Certificates of version 1, as `openssl x509 -req` makes them without `-extfile`, are refused.
        client_ca: Option<PathBuf> = unset("clients are asked for no certificate"),
        /// Which of these certificates are revoked: the lists of their authorities, as PEM, or one as DER. With it there has
        /// to be a list that holds now of each authority below the roots. Looked at as `client_ca` is: a client whose
        /// certificate is revoked is refused with its next request.
        client_crl: Option<PathBuf> = unset("no certificate is revoked"),
        /// Whether a client has to show a certificate: `"required"`, or `"optional"`. One that is wrong is refused in any
        /// case.
        client_verify: Word<ClientVerify> = "required",
        /// Whether clients that come without TLS are sent to port 443 (308) where the site has a certificate. Not so what
        /// certificate authorities ask for (`/.well-known/acme-challenge/`), and what a trusted proxy does not say to have
        /// come without TLS.
        https_redirect: bool = true,
        /// How long browsers are to come over TLS only, even when a link or a person says otherwise (HSTS, RFC 6797):
        /// `"1y"`, or `{ max_age = "1y", include_subdomains = true, preload = true }`. It cannot be taken back before that
        /// time is over. It goes out over TLS as `Strict-Transport-Security`, unless the server sends one.
        hsts: Option<Hsts> = unset("browsers are told nothing"),
        /// The largest request body. Above it: 413.
        max_body: Size<u64, 0, 1_125_899_906_842_624> = "10GiB",
    }
}

table! {
    /// A pool: a named set of equal servers with one way to share the requests among them.
    PoolServers "[pool.NAME]" {
        /// The servers. Each is an address with a port (`"10.0.0.11:80"`, `"[2001:db8::11]:80"`,
        /// `"app.internal:80"`, `"unix:/run/app.sock"`), or a table
        /// `{ address = "10.0.0.11:80", weight = 2 }`.
        ///
        /// With `https://` before it, as in `"https://app.internal:8443"`, TLS 1.2 or 1.3 is spoken with the server; without a
        /// port it is 443. Its certificate has to be for this host name or IP address, and lead to an authority that the
        /// system trusts: see `tls_ca`, `tls_server_name`, `tls_certificate` and `tls_verify`.
        ///
        /// With `h2://` before it, as in `"h2://app.internal:50051"`, HTTP/2 is spoken with the server, without TLS and
        /// without a question whether it knows that (RFC 9113 §3.3): that is what gRPC servers want. `h2s://` is the same over
        /// TLS, with the port 443 and the keys of `https://`; the server has to agree to it (ALPN). Requests of any clients
        /// share its connections, as many at once as the server says that it takes.
        ///
        /// A name that has several addresses is one server: connections go to the address that answered last, and to the
        /// others when that one does not, within `connect_timeout`.
        servers: Vec<ServerSettings> = required(["10.0.0.11:80", "10.0.0.12:80"]),
    }
}

table! {
    /// How a pool treats its servers.
    PoolSettings "[pool.NAME]" (
        /// NAME; for servers written in a site or a TCP listener, the name of that.
        name: String,
        /// The table in which it is written, as a path in TOML's notation.
        path: String,
        /// The servers, those with `backup` last.
        servers: Vec<ServerSettings>,
    ) {
        /// Servers, written like `servers`, that are used only when no other server is up.
        backup: Vec<ServerSettings> = [],
        /// How the next server is picked: in turn by weight, or the one with the fewest open requests for its weight.
        balance: Word<Balance> = "round-robin",
        /// The active health request, sent to every server: `"HEAD /index.php"` (healthy is an answer of 2xx or
        /// 3xx), `"connect"` (healthy is an accepted connection), or `"grpc"`, with the name of a service behind it or
        /// without (healthy is the answer SERVING of grpc.health.v1.Health). Servers of `h2://` are asked over HTTP/2.
        check: Option<CheckKind> = unset("none is sent, and real traffic alone shows that a server is down: see max_fails"),
        /// The `Host` field of the check.
        check_host: Option<String> = unset("the address of the server, without what stands before `://`"),
        /// From the start of one check to the start of the next.
        check_interval: Duration = "2s",
        /// For connecting and for the whole answer to a check.
        check_timeout: Duration = "2s",
        /// Good checks in a row that make a server up.
        rise: Whole<u32, 1, 1000> = 2,
        /// Bad checks in a row that make a server down.
        fall: Whole<u32, 1, 1000> = 3,
        /// Connections in a row that fail (refused, not opened in time, closed before an answer) until the server is
        /// ejected, with a check or without: it takes no requests, as long as another server of the pool can. After a second
        /// a connection to it is tried; each one that fails doubles the time to the next. 0: no server is ever ejected.
        max_fails: Whole<u32, 0, 1000> = 3,
        /// The longest time from one trial of an ejected server to the next.
        max_ejection: Duration = "60s",
        /// How often a request is tried again after a failed attempt, when that is safe: nothing of it was sent, or its
        /// method is idempotent and its body can be sent again.
        retries: Whole<u32, 0, 100> = 3,
        /// Whether a retry goes to another server where there is one.
        redispatch: bool = true,
        /// Whether heads of responses are taken that break two rules of HTTP as old servers do: lines that end in LF alone,
        /// and white space between the name of a field and its colon. Clients get such a head in the right form. Without
        /// it the answer is 502. Chunks and trailers, and all that clients send, are read strictly even so.
        lenient: bool = false,
        /// Whether connections to the servers begin with a header of the PROXY protocol, which tells the client's address:
        /// `"v1"` for a line of text, `"v2"` for the binary form, which tells of TLS too. The servers have to expect it, on
        /// every connection; those of checks tell none. A connection that tells of one client serves no other one: idle
        /// connections are kept for their client connection alone.
        send_proxy: Option<Word<ProxyVersion>> = unset("no header"),
        /// The certificate authorities that certificates of servers with TLS have to lead to, as a file with PEM; no
        /// others are trusted then. A certificate of a server that stands in it itself is trusted too. It is read at the start
        /// and at each reload.
        tls_ca: Option<PathBuf> = unset("those that the system trusts (/etc/ssl/certs)"),
        /// The host name or IP address that certificates of servers with TLS have to be for, and that they are asked for
        /// (SNI).
        tls_server_name: Option<String> = unset("the host of each server"),
        /// The certificate that servers with TLS get that ask for one: a file with certificate and key, a directory with
        /// `fullchain.pem` and `privkey.pem`, `{ certificate = "/etc/ssl/proxy.pem", key = "/etc/ssl/proxy.key" }`, or
        /// `"credential:NAME"`. It is read at the start and at each reload.
        tls_certificate: Option<CertificateInFiles> = unset("none"),
        /// Whether certificates of servers with TLS are looked at. With `false` whatever answers at the address is taken
        /// for the server, and can read and change everything.
        tls_verify: bool = true,
        /// The time to open a connection to one of the addresses of a server, including the wait for a place in the queue
        /// of a unix socket, and the TLS handshake with it.
        connect_timeout: Duration = "5s",
        /// From the end of the request, or its last progress, to the head of the response, and the longest silence
        /// inside the response body. Before the head: 504.
        response_timeout: Duration = "50s",
        /// The longest silence inside a tunnel (WebSocket and other upgrades, TCP), both directions together. Once one
        /// side has closed its sending side it is no more than 60 seconds.
        tunnel_timeout: Duration = "1h",
        /// How long an idle connection to a server is kept for the next request. Less than the server keeps it.
        keep_alive: Duration = "4s",
        /// Idle connections kept for each server, by each thread. 0 keeps none. Those that were in use in the last second
        /// are kept beyond that. A connection on which a server authenticates its client (NTLM, Negotiate) does not
        /// count: it is kept for this client connection alone.
        keep_alive_connections: Whole<usize, 0, 100_000> = 128,
    }
}

table! {
    /// A TCP listener: relays bytes between clients and a pool, without looking at them. NAME is the
    /// `FileDescriptorName=` of its socket unit, if it has one.
    ///
    /// When `to` is a list of servers, the keys of `[pool.NAME]` other than `servers` can stand here too.
    TcpSettings "[tcp.NAME]" (
        /// NAME.
        name: String,
        /// The pool of `to`: an index into [`Config::pools`].
        pool: usize,
        /// `sni` with the index of each pool.
        routes: Vec<(HostPattern, usize)>,
    ) {
        /// Where to listen when systemd passes no socket of this name, written like `address` of `[listen.NAME]`.
        listen: Option<Address> = unset("the socket that systemd passes"),
        /// The name of a `[pool.NAME]`, or a list of servers as in `servers` of a pool.
        to: Destination = required(["10.0.0.31:5432"]),
        /// Where connections go instead whose client asks for one of these hosts in its TLS handshake (SNI), which goes on to the
        /// server as it is: a table with the name of a `[pool.NAME]` for each host name, or `*.example.com` for all below it, as
        /// in `sni = { "app.example.com" = "app", "*.example.com" = "web" }`. A host name goes before a `*.`, and a longer one
        /// of these before a shorter one. To `to` go clients that ask for another host or for none, and what is no TLS.
        ///
        /// A client has to send its ClientHello within `handshake_timeout` and 32 KiB, in however many parts; one that does not is
        /// closed and recorded. A client that waits for its server to begin never gets there with this key. Of a client
        /// that encrypts its ClientHello (ECH) the name is that of the one around it. With `tls` the host chooses the pool in
        /// the same way, after the handshake.
        sni: Option<SniRoutes> = unset("every connection goes to `to`"),
        /// The certificate for clients, written like `tls` of a site, but for `"auto"`: clients speak TLS here, 1.2 or 1.3,
        /// and what is in it goes to the servers as plain bytes, or over TLS of its own to a server that is written with
        /// `https://`. No protocol is chosen (ALPN). Of several certificates a client gets the one for the host that it asks for
        /// (SNI). A client that asks for another host or for none gets the only certificate that there is, or one of several
        /// for the same names; else it is refused. The files are looked at as those of a site are.
        ///
        /// Each side is told of the end of the other one: close_notify for the end of a client, and the other way round.
        tls: Option<CertificateInFiles> = unset("bytes are relayed as they come"),
        /// As `client_ca` of a site: the authorities whose clients alone are let in. Servers are told of a client by
        /// `send_proxy = "v2"` of the pool.
        client_ca: Option<PathBuf> = unset("clients are asked for no certificate"),
        /// As `client_crl` of a site. A connection that is open when its certificate is revoked goes on.
        client_crl: Option<PathBuf> = unset("no certificate is revoked"),
        /// As `client_verify` of a site.
        client_verify: Word<ClientVerify> = "required",
        /// How long the TLS handshake of a client may take where there is `tls`; with `sni` alone, its ClientHello.
        handshake_timeout: Duration = "10s",
        /// Client connections open at once. For one more the connection is closed that has been idle longest; while none
        /// is idle, it waits in the backlog of the kernel.
        max_connections: Whole<u32, 1, 10_000_000> = 65536,
        /// As `trusted_proxies` of `[listen.NAME]`, for `accept_proxy`.
        trusted_proxies: Vec<TrustedProxy> = [],
        /// As `accept_proxy` of `[listen.NAME]`. The header has to come within 10 seconds.
        accept_proxy: bool = false,
    }
}

table! {
    /// Automatic certificates: how sites with `tls = "auto"` get theirs, by ACME (RFC 8555). Nothing is asked for, and no
    /// account is made, as long as no site has it; a site that has it agrees to the terms of service of the certificate
    /// authority.
    ///
    /// Account, keys and certificates are in `/var/lib/segue` (`StateDirectory=` of the unit), readable by the service
    /// alone. A certificate is renewed when its authority says so (ARI, RFC 9773), else when a third of its time is left; of
    /// one for less than ten days, half. An order that fails is tried again later, and when the authority allows it
    /// (`Retry-After`); the certificate that there is goes on being served. `segue certs` shows the state of each.
    AcmeSettings "[acme]" {
        /// The address of the directory of the certificate authority. `https://acme-staging-v02.api.letsencrypt.org/directory`
        /// is for tests.
        directory: HttpsUrl = "https://acme-v02.api.letsencrypt.org/directory",
        /// An e-mail address for the account, which some authorities demand.
        contact: Option<MailAddress> = unset("the account has no contact"),
        /// How the authority sees that a host is this machine: `"http-01"`, a request for
        /// `/.well-known/acme-challenge/…` to port 80, which is answered before any redirect; `"tls-alpn-01"`, a handshake on
        /// port 443; or `"dns-01"`, a record in the DNS, which `dns_hook` makes, and which alone is for wildcards.
        challenge: Word<AcmeChallenge> = "http-01",
        /// The command that makes and removes records for `dns-01`. It is called as `exec` of lego calls it:
        /// `dns_hook present _acme-challenge.app.example.com. VALUE`, to return 0 once the name servers of the zone
        /// answer with a TXT record VALUE, within five minutes; then with `cleanup` for `present`. It runs as the user and in the
        /// sandbox of the service.
        dns_hook: Option<PathBuf> = unset("no command"),
        /// A file with the root certificates, as PEM, by which the authority itself is known: for one of your own.
        ca: Option<PathBuf> = unset("the roots of the system"),
        /// The key identifier of an external account (EAB, RFC 8555 §7.3.4), where the authority demands one.
        eab_kid: Option<String> = unset("no external account"),
        /// The file with the key of the external account, in base64url as the authority gives it; `"credential:NAME"` for
        /// `LoadCredential=NAME:PATH` of the unit.
        eab_key: Option<SecretFile> = unset("no external account"),
        /// The profile of the certificates, for an authority that has several, such as `"shortlived"`.
        profile: Option<String> = unset("that of the authority"),
    }
}

table! {
    /// What is written to the journal.
    LogSettings "[log]" {
        /// Which exchanges: `"all"`; `"errors+slow"` for those that failed or were slow; `"sample:1%"` for these and a
        /// share of the rest; `"off"` for none.
        access: Access = "all" from SEGUE_LOG_ACCESS,
        /// From this duration on an exchange counts as slow.
        slow: Duration = "1s" from SEGUE_LOG_SLOW,
        /// Whether connections that end without a request are written too. They are counted in any case.
        empty_connections: bool = false,
        /// Records a second, at most, of requests that were refused or answered without any server: a client makes as
        /// many of them as it likes. The others are counted by the reason, and the journal says how many there were.
        refused_rate: Whole<u32, 1, 1_000_000> = 100,
        /// Records of refused requests that may come at once.
        refused_burst: Whole<u32, 1, 1_000_000> = 1000,
        /// Records a second, at most, of all other exchanges. Those of successes make way first. The others are counted
        /// too.
        rate: Option<Whole<u32, 1, 1_000_000>> = unset("no bound"),
        /// Records of other exchanges that may come at once.
        burst: Whole<u32, 1, 1_000_000> = 1000,
        /// Whether records have the `User-Agent` of the request.
        user_agent: bool = false,
        /// Whether records have the `Referer` of the request, without the values of its query.
        referer: bool = false,
        /// Whether the client gets the request id too, in the field `X-Request-Id` of each response. One that the server
        /// gave stays.
        request_id_in_response: bool = false,
    }
}

table! {
    /// How a generation ends.
    DrainSettings "[drain]" {
        /// After a reload: how long the old generation may take for connections that cannot move to the new one: those whose
        /// listener or site is gone from the configuration, tunnels of HTTP/1 and TCP to a server that is, and connections
        /// with a request that is open at a server of `h2://` or `h2s://`, until it ends. What is open then is cut. Everything else moves at once, whatever is under way
        /// on it.
        timeout: Duration = "10m" from SEGUE_DRAIN_TIMEOUT,
        /// At stop and restart: the same, shorter, because no generation accepts meanwhile.
        stop_timeout: Duration = "5s" from SEGUE_DRAIN_STOP_TIMEOUT,
        /// Generations that live at once, at most: one serves, one is kept for a roll-back, one is being started, the
        /// others finish. A reload that would be one too many has the oldest finish first, and waits for it.
        generations: Whole<usize, 3, 16> = 4,
        /// The memory that all generations but the serving one may use together: a share of what the service may use,
        /// or a size. Above it the oldest that finishes has to make room.
        memory: MemoryLimit = "50%",
        /// How long a generation may take that has to make room. What is open then is cut.
        hurry_timeout: Duration = "30s",
    }
}

table! {
    /// What one worker may use.
    WorkerSettings "[worker]" {
        /// Threads that serve.
        threads: Option<Whole<usize, 1, 1024>> = unset("one for each CPU that the unit may use") from SEGUE_WORKER_THREADS,
        /// TCP keep-alive, on connections to clients and to servers: after this time without a byte the kernel probes the
        /// other end, four times within the same time again. Without an answer the connection is closed, so a connection
        /// whose other end disappeared ends after twice this time, tunnels too. Bytes that were sent and not acknowledged
        /// have a time of their own: `net.ipv4.tcp_retries2`. `"off"`: never.
        tcp_keep_alive: OrOff<Duration> = "60s",
        /// Client connections open at once, all listeners together; never more than two thirds of the limit of open
        /// files, so that there is room for connections to servers.
        max_connections: Option<Whole<u32, 1, 10_000_000>> = unset("as many as the limit of open files allows") from SEGUE_WORKER_MAX_CONNECTIONS,
    }
}

table! {
    /// TLS of all sites together.
    TlsSettings "[tls]" {
        /// The keys of session tickets, in a file that several machines share, so that each resumes the sessions of the
        /// others: a path, or `"credential:NAME"` for `LoadCredential=NAME:PATH` of the unit. One key a line, as
        /// `openssl rand -base64 48` writes it, oldest first; the last but one seals, so that each machine
        /// has a key before any of them uses it: to change keys, add one at the end and drop the first. These are the
        /// files of HAProxy's `tls-ticket-keys`, with keys of 48 or 80 bytes; one of nginx's `ssl_session_ticket_key`, with 80 or 48 bytes, is one key.
        /// What has a key can read what was said over TLS 1.2 connections that were resumed with it. The file is looked at
        /// every few seconds.
        ticket_keys: Option<SecretFile> = unset("keys that no other machine has, and that change every 12 hours"),
    }
}

table! {
    /// Metrics for Prometheus: the counters and states of `segue status`, of all generations together, in its text
    /// format or, for clients that ask for it, in that of OpenMetrics.
    /// Alert rules for them are in `/usr/share/segue/prometheus/segue.rules.yml`, a dashboard for Grafana in
    /// `/usr/share/segue/grafana/segue.json`, and a list of all in `/usr/share/doc/segue/docs/metrics.md`.
    MetricsSettings "[metrics]" {
        /// Where `GET /metrics` is answered: an address as in `[listen.NAME]`, of no listener. A client that
        /// reaches it can read the names and numbers of everything that is configured, and change nothing: `"127.0.0.1:9101"`, or an address
        /// of the network of the monitoring.
        on: Option<Address> = unset("nowhere"),
    }
}

table! {
    /// The status page on a path of a site; for the users of this machine it is at `/run/segue/admin.sock` in any case.
    DashboardSettings "[dashboard]" {
        /// The site and the path of it: `"*/lb"` is `/lb/` of the site `*`. Requests for this path go to the page and to no server.
        on: Option<SitePath> = unset("nowhere"),
        /// The users that may open it, each with the hash of its password: `segue password NAME` makes one. They log in by HTTP
        /// Basic, so the site should have `tls`.
        users: Vec<PageUser> = [],
        /// A file with more of them, one a line: a path, or `"credential:NAME"` for `LoadCredential=NAME:PATH` of the unit.
        users_file: Option<SecretFile> = unset("none"),
        /// Whether they only see everything, or also set something for servers, as `segue drain` does.
        allow: Word<PageAccess> = "look",
    }
}

/// The name of the pool behind the page, which leads to the process itself.
pub const DASHBOARD: &str = "[dashboard]";

/// The name of the socket of `[metrics]`; no listener may have it.
pub const METRICS: &str = "[metrics]";

/// Everything that one generation is made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Listeners that speak HTTP, in the order of their names.
    pub listeners: Vec<ListenerSettings>,
    /// Sites, in the order of their host patterns.
    pub sites: Vec<SiteSettings>,
    /// Pools, in the order of their names; sites and TCP listeners refer to them by index.
    pub pools: Vec<PoolSettings>,
    /// Listeners that relay bytes, in the order of their names.
    pub tcp: Vec<TcpSettings>,
    /// TLS of all sites together.
    pub tls: TlsSettings,
    /// How certificates are had automatically.
    pub acme: AcmeSettings,
    /// What goes to the journal.
    pub log: LogSettings,
    /// Where metrics are.
    pub metrics: MetricsSettings,
    /// Where the status page is.
    pub dashboard: DashboardSettings,
    /// How a generation ends.
    pub drain: DrainSettings,
    /// What one worker may use.
    pub worker: WorkerSettings,
}

impl Config {
    /// Whether any client may speak TLS to this service.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.listeners.iter().any(|listener| listener.tls) || self.tcp.iter().any(|tcp| tcp.tls.is_some())
    }

    /// Adds the pool that leads to the page, where there is one: `socket` is that of this process.
    pub fn add_dashboard(&mut self, socket: &Path) {
        if self.dashboard.on.is_some() {
            let servers = vec![ServerSettings::local(socket)];
            self.pools.push(PoolSettings { name: DASHBOARD.to_owned(), servers, ..PoolSettings::default() });
        }
    }

    /// Equal for equal configurations, comparable only within one version of the program.
    #[must_use]
    pub fn hash(&self) -> String {
        // `Debug` shows every field: it needs no second description of the types.
        let mut hasher = DefaultHasher::new();
        format!("{self:?}").hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// The tables that can stand at the top of the file, and the keys of each: its own first, then those of the pool that
/// can be written in it.
pub const TABLES: [(&str, &[&Schema]); 11] = [
    ("site", &[&SiteSettings::SCHEMA, &PoolSettings::SCHEMA]),
    ("pool", &[&PoolServers::SCHEMA, &PoolSettings::SCHEMA]),
    ("tcp", &[&TcpSettings::SCHEMA, &PoolSettings::SCHEMA]),
    ("listen", &[&ListenerSettings::SCHEMA]),
    ("tls", &[&TlsSettings::SCHEMA]),
    ("acme", &[&AcmeSettings::SCHEMA]),
    ("log", &[&LogSettings::SCHEMA]),
    ("metrics", &[&MetricsSettings::SCHEMA]),
    ("dashboard", &[&DashboardSettings::SCHEMA]),
    ("drain", &[&DrainSettings::SCHEMA]),
    ("worker", &[&WorkerSettings::SCHEMA]),
];

/// The names of [`TABLES`].
pub fn names() -> [&'static str; TABLES.len()] {
    TABLES.map(|(name, _)| name)
}

/// The headers of the tables that have a key of this name.
pub fn owners(key: &str) -> Vec<&'static str> {
    let schemas = TABLES.into_iter().flat_map(|(_, schemas)| schemas).filter(|schema| schema.has(key));
    let mut headers: Vec<_> = schemas.map(|schema| schema.header).collect();
    headers.dedup();
    headers
}

/// The keys of the table of this name.
pub fn schemas(name: &str) -> &'static [&'static Schema] {
    TABLES.iter().find(|(known, _)| *known == name).map_or(&[], |(_, schemas)| schemas)
}

/// Every key with its path, as `log.access`; the paths of keys in tables with a NAME leave that out.
pub fn keys() -> impl Iterator<Item = (String, &'static Key)> {
    let schemas = TABLES.into_iter().flat_map(|(name, schemas)| schemas.iter().map(move |schema| (name, schema)));
    schemas.flat_map(|(name, schema)| schema.keys.iter().map(move |key| (format!("{name}.{}", key.name), key)))
}

/// The keys that a variable of the environment sets: the name of the variable, the path, the key.
pub fn variables() -> impl Iterator<Item = (&'static str, String, &'static Key)> {
    keys().filter_map(|(path, key)| Some((key.variable?, path, key)))
}

#[cfg(test)]
mod tests {
    use super::super::load::Sources;
    use super::super::schema::Fallback;
    use super::*;

    #[test]
    fn every_key_has_a_sentence_about_it_and_a_default_that_holds_when_it_is_written() {
        for (path, key) in keys() {
            let about = key.about.concat();
            assert!(about.ends_with('.') && about.len() > 10, "{path}: {about:?}");
            let (kind, name) = path.split_once('.').expect("a table and a key");
            let Fallback::Default(value) = key.fallback else { continue };
            let (header, rest) = match kind {
                "site" | "tcp" => (format!("[{kind}.x]"), "to = ['a:1']\n"),
                "pool" => ("[pool.x]".to_owned(), "servers = ['a:1']\n"),
                "listen" => ("[listen.http]".to_owned(), ""),
                kind => (format!("[{kind}]"), ""),
            };
            let hash = |line: String| {
                let checked = Sources::from_text(&format!("{header}\n{rest}{line}")).check();
                checked.config.unwrap_or_else(|| panic!("{path}: {:?}", checked.problems)).hash()
            };
            assert_eq!(hash(String::new()), hash(format!("{name} = {value}\n")), "{path}");
        }
    }

    #[test]
    fn a_variable_is_named_after_its_key() {
        assert!(variables().count() > 0);
        for (variable, path, _) in variables() {
            assert_eq!(variable, format!("SEGUE_{}", path.replace('.', "_").to_uppercase()));
        }
    }
}
