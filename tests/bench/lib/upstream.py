"""Starts the server behind the proxies: our own when there is a C compiler, else nginx."""

import os
import shutil
import subprocess

from machine import Missing, tool, wait_until
from proxies import FOREVER, answers

SIZES = {"64k": 64 << 10, "10m": 10 << 20}


def start_upstream(machine):
    """Returns its port and what it is."""
    port = machine.port()
    compiler = shutil.which("cc") or shutil.which("gcc")
    argv, kind = (_own(machine, compiler, port), "own C server") if compiler else (_nginx(machine, port), "nginx")
    log = machine.path("upstream.log")
    machine.start(argv, {machine.load_cpu}, log)
    if not wait_until(lambda: answers(port), 10):
        with open(log, encoding="utf-8", errors="replace") as said:
            raise Missing(f"the upstream ({kind}) did not start: {said.read()[-1000:]}")
    return port, kind


def _own(machine, compiler, port):
    source, binary = os.path.join(os.path.dirname(__file__), "upstream.c"), machine.path("upstream")
    subprocess.run([compiler, "-O2", "-o", binary, source], check=True, timeout=60)
    return [binary, str(port)]


def _nginx(machine, port):
    files = machine.path("www", "")
    for name, size in SIZES.items():
        with open(files + name, "wb") as out:
            out.write(b"x" * size)
    user = "user root;" if os.geteuid() == 0 else ""
    scratch = "".join(f"{kind}_temp_path {files}.{kind};"
                      for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config = machine.write(f"""daemon off; master_process off; {user} pid {files}.pid; error_log {files}.error;
events {{ worker_connections {machine.files - 200}; }}
http {{
    access_log off; keepalive_requests {FOREVER}; keepalive_timeout 3600s; sendfile on; client_max_body_size 1g;
    {scratch}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {files};
        location / {{ return 200 "{"x" * 1024}"; }}
        location /64k {{ }}
        location /10m {{ }}
        location /upload {{ return 200 "ok"; }}
    }}
}}
""", "upstream.conf")
    return [tool("nginx"), "-p", files, "-c", config]
