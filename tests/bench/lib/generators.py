"""Load generators as people have them, and what they say of a proxy that reloads meanwhile.

Most of them open a new connection without a word when theirs is closed, so each runs with a counter of the connections
that it opens (`connects.c`): more than it was told to use is a reload that showed.
"""

import json
import os
import re
import subprocess
import time

from machine import Missing, tool

CONNECTIONS = 50
SECONDS = 10


class Generator:
    """One program; the subclasses know its words."""

    name = ""
    opens = CONNECTIONS
    """Connections that it opens when none is closed."""

    def __init__(self, tls=False):
        self.tls = tls
        self.name += ", TLS" * tls

    def argv(self, url):
        raise NotImplementedError

    def read(self, said):
        """Requests and errors out of what it printed; None when it gave up."""
        raise NotImplementedError

    def run(self, machine, proxy, meanwhile):
        """Offers its load while `meanwhile()` runs: requests, errors, connections that it had to open again, last words."""
        counted, log = machine.path("connects"), machine.path(f"{self.name}.log")
        with open(counted, "wb") as out:
            out.write(bytes(8))
        open(log, "wb").close()
        port = proxy.tls_port if self.tls else proxy.port
        url = f"https://localhost:{port}/1k" if self.tls else f"http://127.0.0.1:{port}/1k"
        counting = {"LD_PRELOAD": _counter(machine), "CONNECTS_PORT": str(port), "CONNECTS_FILE": counted}
        process = machine.start(self.argv(url), machine.all_cpus, log, counting)
        try:
            meanwhile()
            # A margin over its own time: ab looks at the clock between requests only.
            process.wait(SECONDS + 30)
        except subprocess.TimeoutExpired:
            raise Missing(f"{self.name} did not end by itself") from None
        finally:
            machine.kill(process)
        with open(log, encoding="utf-8", errors="replace") as out:
            said = out.read()
        with open(counted, "rb") as count:
            opened = int.from_bytes(count.read(8), "little") - self.opens
        figures = self.read(said) if process.returncode == 0 else None
        if figures is None:
            return {"requests": 0, "errors": 0, "gave_up": 1, "again": opened, "said": said.strip()[-300:]}
        return {**figures, "gave_up": 0, "again": opened, "said": ""}


class Ab(Generator):
    """Gives up at the first reset."""

    name = "ab -k"

    def argv(self, url):
        # ab keeps a record of each request that -n allows, so -n is what it could do in that time and no more.
        return [tool("ab"), "-k", "-q", "-c", str(CONNECTIONS), "-t", str(SECONDS), "-n", str(SECONDS * 100_000), url]

    def read(self, said):
        complete, failed = (re.search(rf"{word} requests:\s+(\d+)", said) for word in ("Complete", "Failed"))
        other = re.search(r"Non-2xx responses:\s+(\d+)", said)
        if not complete or not failed:
            return None
        return {"requests": int(complete[1]), "errors": int(failed[1]) + (int(other[1]) if other else 0)}


class Wrk(Generator):
    name = "wrk"
    # it tries the address first
    opens = CONNECTIONS + 1

    def argv(self, url):
        return [tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout", "10s", url]

    def read(self, said):
        requests = re.search(r"(\d+) requests in", said)
        if not requests:
            return None
        sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
        other = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        errors = sum(map(int, sockets.groups())) if sockets else 0
        return {"requests": int(requests[1]), "errors": errors + (int(other[1]) if other else 0)}


class H2load(Generator):
    name = "h2load --h1"

    def argv(self, url):
        return [tool("h2load"), "--h1", "-t1", f"-c{CONNECTIONS}", "-m1", "-D", str(SECONDS), url]

    def read(self, said):
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        if not counts or not codes:
            return None
        wrong = sum(map(int, codes.groups()[1:]))
        return {"requests": int(counts[1]), "errors": sum(map(int, counts.groups()[1:])) + wrong}


class H2loadStreams(H2load):
    """HTTP/2. Requests that a GOAWAY leaves unanswered are errors; one that is told to go on elsewhere does so."""

    name = "h2load, 10 streams"

    def argv(self, url):
        return [tool("h2load"), "-t1", f"-c{CONNECTIONS}", "-m10", "-D", str(SECONDS), url]


class Oha(Generator):
    name = "oha"

    def argv(self, url):
        return [tool("oha"), "--no-tui", "--output-format", "json", "-c", str(CONNECTIONS), "-z", f"{SECONDS}s", url]

    def read(self, said):
        try:
            figures = json.loads(said[said.index("{"):])
            codes, errors = figures["statusCodeDistribution"], figures["errorDistribution"]
        except (ValueError, KeyError):
            return None
        # What is out when the time is over is no error.
        failed = sum(count for error, count in errors.items() if "deadline" not in error)
        good = codes.get("200", 0)
        return {"requests": good, "errors": failed + sum(codes.values()) - good}


GENERATORS = (Ab(), Wrk(), H2load(), Oha(), Ab(tls=True), Wrk(tls=True), H2loadStreams(tls=True))


def through_generators(machine, proxy, reloads, in_step):
    """Each generator in turn, with the reloads in the middle of its time; those that are not installed say so."""
    results = {}
    for generator in GENERATORS:
        def meanwhile():
            time.sleep((SECONDS - reloads) / 2)
            for _ in range(reloads):
                in_step(proxy.reload)

        try:
            results[generator.name] = generator.run(machine, proxy, meanwhile)
        except Missing as missing:
            results[generator.name] = {"missing": str(missing)}
    return results


def _counter(machine):
    library = machine.path("connects.so")
    if not os.path.exists(library):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "connects.c")
        subprocess.run([tool("cc"), "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    return library
