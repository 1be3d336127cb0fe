"""The proxies side by side: how each is configured, started and reloaded, as like the others as it allows.

All: keep-alive on both sides, the client's address in X-Forwarded-For, bodies streamed, timeouts longer than any
scenario, limits above its connections. What else is set is each one's own best for this work, never to its harm.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
from datetime import datetime

from load import HOST
from machine import Missing, tool, tree, wait_until

FOREVER = 1_000_000_000
OTHER_SITE = "other.test"


class Proxy:
    """One proxy process with its configuration; the subclasses know the words of each."""

    name = ""

    def __init__(self, machine, upstream, *, threads=1, logs=None, tcp_upstream=None, other_upstream=None,
                 tls=False):
        """`logs` is a `sink.Sink` when accesses are written, none when they are not; `tcp_upstream` is a port, and so is
        `other_upstream`, which the site `OTHER_SITE` goes to."""
        self.machine, self.upstream, self.threads = machine, upstream, threads
        self.logs, self.tcp_upstream, self.other_upstream = logs, tcp_upstream, other_upstream
        self.port = machine.port()
        self.tls_port = machine.port() if tls else None
        self.certificate = certificate(machine) if tls else None
        self.tcp_port = machine.port() if tcp_upstream else None
        self.home = machine.path(f"{self.name}-{self.port}", "")
        self.log = os.path.join(self.home, "log")
        self.config = os.path.join(self.home, self.config_name)
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(self.configuration())
        self.process, self.tracer = None, []

    def trace(self, tracer):
        """Has `start` run what serves under the words of `tracer`, a valgrind."""
        self.tracer = [*tracer, "--trace-children=yes"]

    def start(self, cpus=None, seconds=20.0):
        """Starts it and waits for its first answer."""
        argv = [*self.tracer, *self.command()]
        self.process = self.machine.start(argv, cpus or {self.machine.proxy_cpu}, self.log, self.environment())
        if not wait_until(lambda: answers(self.port) or self.process.poll() is not None, seconds, 0.05):
            raise Missing(f"{self.name} did not answer within {seconds:g} s: {self.last_words()}")
        if self.process.poll() is not None:
            raise Missing(f"{self.name} ended at its start ({shlex.join(argv)}): {self.last_words()}")
        return self

    def stop(self):
        if self.process:
            self.machine.kill(self.process)
            self.process = None

    def pids(self):
        return tree(self.process.pid)

    def workers(self):
        """The processes that serve: those that have nobody below them."""
        pids = self.pids()
        return pids if len(pids) == 1 else [pid for pid in pids if pid != self.process.pid]

    def last_words(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-1500:].strip() or "it said nothing"

    def environment(self):
        return {}

    def reload(self):
        """Asks for a reload of the unchanged configuration; `Missing` when it is refused by a proxy that says so."""
        self.process.send_signal(self.reload_signal)

    def last_move(self):
        """Seconds from the moment that the last generation began to leave until it was gone, where the proxy says so."""
        return None

    def records(self):
        """Access records written so far; none where this proxy's are not counted."""
        return None


class Haproxy(Proxy):
    name = "haproxy"
    config_name = "haproxy.cfg"
    reload_signal = signal.SIGUSR2
    master = False
    options = ""

    def configuration(self):
        other = f"""
backend other
    http-reuse always
    server s1 127.0.0.1:{self.other_upstream} pool-max-conn -1
""" if self.other_upstream else ""
        chosen = f"use_backend other if {{ hdr(host) {OTHER_SITE} }}" if other else ""
        log = f"log {self.logs.syslog} local0 info" if self.logs else ""
        http_log = "log global\n    option httplog" if self.logs else ""
        tls = (f"bind 127.0.0.1:{self.tls_port} backlog 4096 ssl crt {self.certificate}/haproxy.pem alpn h2,http/1.1"
               if self.tls_port else "")
        tcp = f"""
listen tcp
    mode tcp
    bind 127.0.0.1:{self.tcp_port} backlog 4096
    server s1 127.0.0.1:{self.tcp_upstream}
""" if self.tcp_upstream else ""
        return f"""global
    nbthread {self.threads}
    maxconn {connection_limit(self.machine)}
    no strict-limits
    {log}
defaults
    mode http
    {http_log}
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 600s
    timeout tunnel 600s
frontend http
    bind 127.0.0.1:{self.port} backlog 4096
    {tls}
    option forwardfor
    {self.options}
    {chosen}
    default_backend servers
backend servers
    http-reuse always
    server s1 127.0.0.1:{self.upstream} pool-max-conn -1
{other}{tcp}"""

    def command(self):
        return [tool("haproxy"), "-W" if self.master else "-db", "-f", self.config]

    def version(self):
        return first_line([tool("haproxy"), "-v"])

    def records(self):
        return self.logs.count("syslog") if self.logs else None


class HaproxyMaster(Haproxy):
    """As Debian runs it: a master that reloads on a signal."""

    master = True


class HaproxyMasterPatient(HaproxyMaster):
    """With the option that keeps idle connections until their next answer."""

    name = "haproxy+iccor"
    options = "option idle-close-on-response"


class Nginx(Proxy):
    name = "nginx"
    config_name = "nginx.conf"
    reload_signal = signal.SIGHUP
    stream_module = "/usr/lib/nginx/modules/ngx_stream_module.so"

    def configuration(self):
        access = f"{self.home}access.log combined" if self.logs else "off"
        tls = f"""
        listen 127.0.0.1:{self.tls_port} ssl http2 backlog=4096;
        ssl_certificate {self.certificate}/fullchain.pem;
        ssl_certificate_key {self.certificate}/privkey.pem;
        ssl_protocols TLSv1.2 TLSv1.3;""" if self.tls_port else ""
        user = "user root;" if os.geteuid() == 0 else ""
        has_stream = self.tcp_upstream and os.path.exists(self.stream_module)
        if not has_stream:
            self.tcp_port = None
        load = f"load_module {self.stream_module};" if has_stream else ""
        stream = f"""stream {{
    server {{ listen 127.0.0.1:{self.tcp_port} backlog=4096; proxy_pass 127.0.0.1:{self.tcp_upstream}; }}
}}""" if has_stream else ""
        scratch = "".join(f"    {kind}_temp_path {self.home}{kind};\n"
                          for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        proxied = """
            proxy_http_version 1.1;
            proxy_read_timeout 600s;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $hop;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_buffer_size 16k;
            proxy_buffers 16 32k;
            proxy_busy_buffers_size 64k;"""
        other = f"""
    upstream other {{ server 127.0.0.1:{self.other_upstream}; keepalive 512; keepalive_requests {FOREVER}; }}
    server {{
        listen 127.0.0.1:{self.port};
        server_name {OTHER_SITE};
        location / {{
            proxy_pass http://other;{proxied}
        }}
    }}""" if self.other_upstream else ""
        return f"""daemon off;
{user}
worker_processes {self.threads};
pid {self.home}pid;
error_log {self.home}error.log;
{load}
events {{ worker_connections {connection_limit(self.machine)}; multi_accept on; }}
http {{
    access_log {access};
    keepalive_requests {FOREVER};
    keepalive_timeout 600s;
    client_max_body_size 1g;
{scratch}
    map $http_upgrade $hop {{ default ""; websocket upgrade; }}
    upstream servers {{ server 127.0.0.1:{self.upstream}; keepalive 512; keepalive_requests {FOREVER}; }}
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;{tls}
        location / {{
            proxy_pass http://servers;{proxied}
        }}
    }}{other}
}}
{stream}
"""

    def command(self):
        return [tool("nginx"), "-p", self.home, "-c", self.config]

    def version(self):
        return first_line([tool("nginx"), "-v"])

    def records(self):
        if not self.logs:
            return None
        with open(f"{self.home}access.log", "rb") as log:
            return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))


class Segue(Proxy):
    name = "segue"
    config_name = "segue.toml"
    binary = None
    wrapper = None
    probation = None

    def configuration(self):
        tcp = f"""
[tcp.bench]
listen = "127.0.0.1:{self.tcp_port}"
to = ["127.0.0.1:{self.tcp_upstream}"]
""" if self.tcp_upstream else ""
        other = f"""
[site."{OTHER_SITE}"]
to = ["127.0.0.1:{self.other_upstream}"]
""" if self.other_upstream else ""
        tls = f"""
[listen.https]
address = "127.0.0.1:{self.tls_port}"
idle_timeout = "600s"
tls = true

[site."{HOST}"]
to = ["127.0.0.1:{self.upstream}"]
tls = "{self.certificate}"
https_redirect = false
""" if self.tls_port else ""
        return f"""[listen.http]
address = "127.0.0.1:{self.port}"
idle_timeout = "600s"
{tls}
[site."*"]
to = ["127.0.0.1:{self.upstream}"]
{other}
[log]
access = "{"all" if self.logs else "errors+slow"}"
{tcp}"""

    def command(self):
        run = [self.binary, "run", "--config", self.config, "--run-dir", os.path.join(self.home, "run")]
        os.makedirs(run[-1], exist_ok=True)
        if self.probation:
            run += ["--probation", self.probation]
        if self.wrapper:
            run += ["--worker-binary", self.wrapper, "--start-timeout", "90s", "--hang-timeout", "90s"]
        return [*self.logs.as_journal(), *run] if self.logs else run

    def trace(self, tracer):
        """The worker alone: valgrind lacks system calls that the supervisor needs, and starts nothing by descriptor."""
        self.wrapper = compile_wrapper(self.home, [*tracer, self.binary, "worker"])

    def environment(self):
        return {"SEGUE_WORKER_THREADS": str(self.threads)}

    def version(self):
        return first_line([self.binary, "--version"])

    def reload(self):
        # of an unchanged configuration too, as the others do
        argv = [self.binary, "reload", "--force", "--run-dir", os.path.join(self.home, "run")]
        verdict = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if verdict.returncode != 0:
            raise Missing(f"segue refused to reload: {verdict.stdout}{verdict.stderr}")

    def last_move(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            said = re.findall(r"(?m)^(\S+)Z \w+ (draining|drained): Generation (\d+) ", log.read())
        left = {number: when for when, what, number in said if what == "draining"}
        gone = [(number, when) for when, what, number in said if what == "drained"]
        if not gone or gone[-1][0] not in left:
            return None
        number, when = gone[-1]
        return (datetime.fromisoformat(when) - datetime.fromisoformat(left[number])).total_seconds()

    def records(self):
        return self.logs.count("journal") if self.logs else None


def certificate(machine):
    """A directory with the certificate of `HOST` as certbot lays it out, and as haproxy wants it. The key is P-256."""
    directory = machine.path("certificate", "")
    chain, key, both = (os.path.join(directory, name) for name in ("fullchain.pem", "privkey.pem", "haproxy.pem"))
    if not os.path.exists(both):
        subprocess.run([tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", chain, "-days", "2", "-subj", f"/CN={HOST}",
                        "-addext", f"subjectAltName=DNS:{HOST}"], check=True, timeout=30, capture_output=True)
        with open(both, "wb") as out:
            for path in (chain, key):
                with open(path, "rb") as part:
                    out.write(part.read())
    return directory


def compile_wrapper(home, argv):
    """A program that becomes `argv`: a worker is started by descriptor, which no script can be."""
    source, binary = os.path.join(home, "wrapper.c"), os.path.join(home, "wrapper")
    words = ", ".join(f'"{word}"' for word in argv)
    with open(source, "w", encoding="utf-8") as out:
        out.write(f"#include <unistd.h>\nint main(void) {{ char *words[] = {{{words}, 0}}; "
                  "execv(words[0], words); return 127; }\n")
    subprocess.run([tool("cc"), "-o", binary, source], check=True, timeout=60)
    return binary


def answers(port, path="/1k"):
    """Whether a GET on this port is answered with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as client:
            client.settimeout(5)
            client.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
            return client.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def connection_limit(machine):
    """Two descriptors for each connection of a client must fit under the limit of open files."""
    return max(1000, machine.files - 200)


def first_line(argv):
    said = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return (said.stdout + said.stderr).strip().split("\n", 1)[0]
