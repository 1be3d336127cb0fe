"""A client that asks for 1 KiB every few milliseconds, on two connections, until its input ends; then prints how long
answers took, in microseconds, as JSON. A process of its own: what else a bench does must not delay it."""

import json
import select
import sys
import time

from client import Connection

EVERY = 0.004


def main(port):
    clients, took, failed = [Connection(port), Connection(port)], [], 0
    while not select.select([sys.stdin], [], [], EVERY)[0]:
        client = clients[len(took) % len(clients)]
        began = time.monotonic_ns()
        try:
            client.ask()
        except OSError:
            failed += 1
            clients = [Connection(port), Connection(port)]
            continue
        took.append((time.monotonic_ns() - began) / 1000)
    took.sort()
    at = lambda part: took[int(len(took) * part)] if took else float("nan")  # noqa: E731
    print(json.dumps({"p50_us": at(0.5), "p99_us": at(0.99), "asked": len(took), "failed": failed}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
