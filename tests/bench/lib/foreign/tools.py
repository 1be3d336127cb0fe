"""Commands as clients: tools.py URL CA SECONDS curl-h1|curl-h2|h2load|s_client."""

import json
import re
import subprocess
import sys
import threading
import time


def curl(url, ca, seconds, version):
    """URLs one after the other on one connection; it says of each how many connections it opened."""
    count = int(seconds * 20)
    words = ["curl", "-sS", "--cacert", ca, version, "--rate", "20/s", "--max-time", "60", "-o", "/dev/null",
             "-w", "%{http_code} %{num_connects} %{size_download}\\n", f"{url}/1k?[1-{count}]"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds * 3 + 60, check=False)
    lines = [line.split() for line in done.stdout.splitlines()]
    errors = [f"answer {' '.join(line)}" for number, line in enumerate(lines)
              if line != ["200", "0" if number else "1", "1024"]]
    return {"requests": len(lines), "errors": errors + done.stderr.splitlines()}


def h2load(url, _ca, seconds):
    words = ["h2load", "-t1", "-c4", "-m8", f"-D{seconds:.0f}", f"{url}/1k"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 60, check=False).stdout
    found = re.search(r"(\d+) total, .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    if not found:
        return {"requests": 0, "errors": [said[-300:]]}
    total, succeeded, *bad = map(int, found.groups())
    return {"requests": succeeded, "errors": [f"{sum(bad)} failed"] if sum(bad) else []}


def s_client(url, ca, seconds):
    """TLS 1.3 of OpenSSL with a KeyUpdate of both sides before every other request."""
    host, port = url.removeprefix("https://").split(":")
    words = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", host, "-CAfile", ca, "-tls1_3",
             "-verify_return_error", "-alpn", "http/1.1"]
    client = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, requests, until = Said(client.stdout), 0, time.monotonic() + seconds
    try:
        said.wait("Verify return code", 1)
        while time.monotonic() < until:
            if requests % 2:
                # a command is what one read of its input begins with, so it must be alone in it
                write(client, b"K\n")
                said.wait("KEYUPDATE", requests // 2 + 1)
            write(client, f"GET /1k?{requests} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            requests += 1
            said.wait("HTTP/1.1 200 OK", requests)
            time.sleep(0.1)
        return {"requests": requests, "errors": []}
    except (OSError, Unsaid) as error:
        return {"requests": requests, "errors": [f"request {requests}: {error}"]}
    finally:
        client.kill()
        client.wait()


def write(client, text):
    client.stdin.write(text)
    client.stdin.flush()


class Unsaid(Exception):
    pass


class Said:
    """What a program said so far, read on a thread."""

    def __init__(self, output):
        self.text, self.more, self.output = "", threading.Condition(), output
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while data := self.output.read1(65536):
            with self.more:
                self.text += data.decode(errors="replace")
                self.more.notify()

    def wait(self, words, times):
        with self.more:
            if not self.more.wait_for(lambda: self.text.count(words) >= times, 15):
                raise Unsaid(f"no {words} within 15 s: {self.text[-200:]!r}")


def main():
    url, ca, seconds, which = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
    run = {"curl-h1": lambda *way: curl(*way, "--http1.1"), "curl-h2": lambda *way: curl(*way, "--http2"),
           "h2load": h2load, "s_client": s_client}[which]
    print(json.dumps(run(url, ca, seconds)))


main()
