"""User-space instructions for one request, by callgrind: the same number whatever else the machine does."""

import os
import re

from client import ask_exactly
from machine import Missing, tool

FEW, MANY = 2_000, 8_000


def measure_instructions(make_proxy):
    """The difference of two runs with `MANY` and `FEW` requests, divided by the requests between them."""
    few, many = _run(make_proxy, FEW), _run(make_proxy, MANY)
    return {"instructions": (many - few) / (MANY - FEW)}


def _run(make_proxy, requests):
    proxy = make_proxy()
    outputs = os.path.join(proxy.home, "callgrind.")
    # Threads take turns under valgrind: a fair lock keeps one that spins from starving the one that serves.
    proxy.trace([tool("valgrind"), "--tool=callgrind", "--fair-sched=try", f"--callgrind-out-file={outputs}%p"])
    proxy.start(seconds=90)
    try:
        workers = proxy.workers()
        ask_exactly(proxy.port, requests)
    finally:
        # The counts are written at the end of a process, so it must be let go, not killed.
        proxy.machine.terminate(proxy.process, 60)
    # One process serves; a supervisor may have had another one for a moment, such as segue's to try a new program.
    counted = max((_instructions(f"{outputs}{pid}") for pid in workers), default=0)
    if not counted:
        raise Missing(f"callgrind wrote nothing for {proxy.name}'s worker: {proxy.last_words()}")
    return counted


def _instructions(path):
    if not os.path.exists(path):
        return 0
    with open(path, encoding="utf-8", errors="replace") as profile:
        totals = re.findall(r"(?m)^(?:summary|totals): (\d+)", profile.read())
    return max(map(int, totals), default=0)
