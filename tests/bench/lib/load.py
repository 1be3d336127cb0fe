"""The scenarios under load: what wrk asks for, and what it says came of it."""

import re
from dataclasses import dataclass

from machine import Missing, tool


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


SCENARIOS = [
    Scenario("small", "1 KiB GET, keep-alive", "/1k", 64),
    Scenario("close", "1 KiB GET, a connection for each request", "/1k", 32, headers=("Connection: close",)),
    Scenario("64k", "64 KiB GET, keep-alive", "/64k", 16, size=64 << 10),
    Scenario("10m", "10 MiB GET, keep-alive", "/10m", 4, size=10 << 20),
    Scenario("upload", "1 MiB POST, keep-alive", "/upload", 8, size=1 << 20, upload=1 << 20),
    Scenario("logged", "1 KiB GET, keep-alive, an access record for each", "/1k", 64, logged=True),
]


def offer(machine, port, scenario, seconds):
    """Runs wrk and returns its figures: requests, per_second, p50 and p99 in µs, errors."""
    argv = [tool("wrk"), "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for header in scenario.headers:
        argv += ["-H", header]
    if scenario.upload:
        argv += ["-s", machine.write('wrk.method = "POST"\n'
                                     f'wrk.body = string.rep("x", {scenario.upload})\n', "upload.lua")]
    said = machine.run([*argv, f"http://127.0.0.1:{port}{scenario.path}"], {machine.load_cpu}, seconds + 30,
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


def _percentile(said, percent):
    value, unit = re.search(rf"(?m)^\s+{percent}%\s+([\d.]+)(us|ms|s|m)", said).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]
