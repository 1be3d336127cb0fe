"""The scenarios under load: what wrk or h2load asks for, and what they say came of it."""

import os
import re
import sys
from dataclasses import dataclass

from machine import Missing, tool

# The host in certificates and URLs; an address would be no name that TLS tells (SNI).
HOST = "localhost"


@dataclass(frozen=True)
class Scenario:
    """One kind of load; `size` is the length of the body that matters, in bytes, for figures per GiB."""

    name: str
    title: str
    path: str
    connections: int
    size: int = 0
    headers: tuple = ()
    upload: int = 0
    logged: bool = False
    tls: bool = False
    resumed: bool = False
    streams: int = 0
    """HTTP/2, with so many requests open on each connection."""
    half: bool = False
    """At half the rate that the slowest proxy of the run manages, the same for all."""
    rate: float = 0
    """Requests a second, when they do not come as fast as they are answered."""
    threads: bool = False
    """Segue alone, with one thread and with two, on all CPUs."""


SCENARIOS = [
    Scenario("small", "1 KiB GET, keep-alive", "/1k", 64),
    Scenario("half", "1 KiB GET, keep-alive, at half load", "/1k", 32, half=True),
    Scenario("threads", "1 KiB GET, keep-alive, at half load, with one thread and with two", "/1k", 32, half=True, threads=True),
    Scenario("close", "1 KiB GET, a connection for each request", "/1k", 32, headers=("Connection: close",)),
    Scenario("64k", "64 KiB GET, keep-alive", "/64k", 16, size=64 << 10),
    Scenario("10m", "10 MiB GET, keep-alive", "/10m", 4, size=10 << 20),
    Scenario("upload", "1 MiB POST, keep-alive", "/upload", 8, size=1 << 20, upload=1 << 20),
    Scenario("logged", "1 KiB GET, keep-alive, an access record for each", "/1k", 64, logged=True),
    Scenario("tls", "1 KiB GET over TLS 1.3, keep-alive", "/1k", 64, tls=True),
    Scenario("tls-close", "1 KiB GET, a TLS connection for each request", "/1k", 32, headers=("Connection: close",), tls=True),
    Scenario("tls-resumed", "1 KiB GET, a resumed TLS connection for each request", "/1k", 1, tls=True, resumed=True),
    Scenario("tls-10m", "10 MiB GET over TLS 1.3, keep-alive", "/10m", 4, size=10 << 20, tls=True),
    Scenario("h2", "1 KiB GET over HTTP/2 and TLS, 32 streams each", "/1k", 10, tls=True, streams=32),
    Scenario("h2-64k", "64 KiB GET over HTTP/2 and TLS, 8 streams each", "/64k", 4, size=64 << 10, tls=True, streams=8),
]


def offer(machine, proxy, scenario, seconds):
    """Puts a proxy under load and returns figures: requests, per_second, p50 and p99 in µs, errors."""
    if scenario.resumed:
        return _resume(machine, proxy.tls_port, scenario, seconds)
    if scenario.streams:
        return _h2load(machine, f"https://{HOST}:{proxy.tls_port}", scenario, seconds, [f"-m{scenario.streams}"])
    if scenario.rate:
        pace = f"--rps={scenario.rate / scenario.connections:.1f}"
        return _h2load(machine, f"http://127.0.0.1:{proxy.port}", scenario, seconds, ["--h1", pace])
    url = f"https://{HOST}:{proxy.tls_port}" if scenario.tls else f"http://127.0.0.1:{proxy.port}"
    return _wrk(machine, url, scenario, seconds)


def _wrk(machine, url, scenario, seconds):
    argv = [tool("wrk"), "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for header in scenario.headers:
        argv += ["-H", header]
    if scenario.upload:
        argv += ["-s", machine.write('wrk.method = "POST"\n'
                                     f'wrk.body = string.rep("x", {scenario.upload})\n', "upload.lua")]
    said = machine.run([*argv, url + scenario.path], {machine.load_cpu}, seconds + 30,
                       machine.path("wrk.log"))
    return _read(said)


def _read(said):
    requests = re.search(r"(\d+) requests in", said)
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if not requests or not per_second or int(requests[1]) == 0:
        raise Missing(f"wrk made no request: {said.strip()[-500:]}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return {
        "requests": int(requests[1]),
        "per_second": float(per_second[1]),
        "p50_us": _percentile(said, 50),
        "p99_us": _percentile(said, 99),
        "errors": sum(map(int, errors.groups())) if errors else 0,
        "refused": int(refused[1]) if refused else 0,
    }


def _h2load(machine, url, scenario, seconds, options):
    log = machine.path("h2load.times")
    if os.path.exists(log):
        os.unlink(log)
    argv = [tool("h2load"), "-t1", f"-c{scenario.connections}", *options, f"-D{seconds}", f"--log-file={log}",
            url + scenario.path]
    said = machine.run(argv, {machine.load_cpu}, seconds + 30, machine.path("h2load.log"))
    protocol = re.search(r"Application protocol: (\S+)", said)
    requests = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    per_second = re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", said)
    if scenario.streams and (not protocol or protocol[1] != "h2"):
        raise Missing(f"no HTTP/2 by ALPN: {protocol[1] if protocol else said.strip()[-300:]}")
    if not requests or not per_second or int(requests[1]) == 0:
        raise Missing(f"h2load made no request: {said.strip()[-500:]}")
    # start in µs, status, duration in µs
    with open(log, encoding="ascii") as lines:
        times = sorted(int(line.split("\t")[2]) for line in lines)
    return {
        "requests": int(requests[1]),
        "per_second": float(per_second[1]),
        "p50_us": times[len(times) // 2],
        "p99_us": times[len(times) * 99 // 100],
        "errors": sum(int(requests[place]) for place in (2, 3, 4)),
        "refused": 0,
    }


def _resume(machine, port, scenario, seconds):
    """One connection after the other, each with the ticket of the one before; no generator that is packaged does it."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "resume.py")
    said = machine.run([sys.executable, "-B", script, HOST, str(port), scenario.path, str(seconds)], {machine.load_cpu},
                       seconds + 30, machine.path("resume.log"))
    told = re.search(r"(\d+) requests, (\d+) resumed, p50 (\d+), p99 (\d+), in ([\d.]+) s", said)
    if not told or int(told[1]) == 0:
        raise Missing(f"no connection was made: {said.strip()[-500:]}")
    requests = int(told[1])
    return {
        "requests": requests,
        "per_second": requests / float(told[5]),
        "p50_us": int(told[3]),
        "p99_us": int(told[4]),
        "errors": requests - int(told[2]) - 1,  # the first has no ticket
        "refused": 0,
    }


def _percentile(said, percent):
    value, unit = re.search(rf"(?m)^\s+{percent}%\s+([\d.]+)(us|ms|s|m)", said).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]
