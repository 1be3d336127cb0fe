"""Reloads of a proxy that holds thousands of connections and hundreds of tunnels."""

import json
import os
import signal
import sys
import time

from machine import Missing, wait_until
from slow_upstream import start_slow_upstream

HOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "holder.py")
# A generation that is not gone by then holds something that it cannot give away.
PATIENCE = 10.0


def through_thousands(machine, kind, idle, tunnels, reloads, tls):
    """Figures of each reload, and what is left after the last one; fewer idle ones where open files are limited."""
    # A proxy keeps room for the other sides of some connections.
    idle = min(idle, machine.files * 3 // 5 - 3 * tunnels)
    upstream, http_port, tcp_port = start_slow_upstream(machine)
    proxy = kind(machine, http_port, threads=len(machine.all_cpus), tcp_upstream=tcp_port, tls=tls)
    if not proxy.tcp_port:
        raise Missing(f"{kind.name} relays no TCP here")
    holder = None
    try:
        proxy.start(machine.all_cpus)
        holder = Held(machine, proxy, idle, tunnels)
        # what the machine itself does to tunnels, without any reload
        holder.ask(signal.SIGUSR1)
        time.sleep(3)
        quiet = holder.ask(signal.SIGUSR1)["longest"]
        rounds = [one_reload(proxy, holder) for _ in range(reloads)]
        last = holder.ask(signal.SIGUSR2)
    finally:
        if holder:
            holder.end()
        proxy.stop()
        machine.kill(upstream)
    return {"idle": idle, "tunnels": tunnels, "reloads": reloads, "quiet": quiet, "rounds": rounds, "last": last}


def one_reload(proxy, holder):
    """Seconds until nobody of before is left, the longest pause of a tunnel, and the size of the proxy afterwards."""
    before = set(proxy.workers())
    began = time.monotonic()
    proxy.reload()
    done = wait_until(lambda: not before & set(proxy.workers()), PATIENCE, 0.02)
    gone = time.monotonic() - began if done else None
    pids = proxy.pids()
    return {"gone": gone, "moving": proxy.last_move(), "longest": holder.ask(signal.SIGUSR1)["longest"],
            "processes": len(pids), "descriptors": sum(map(descriptors, pids)), "rss": sum(map(rss_bytes, pids))}


class Held:
    """The client in a process of its own; what it prints is read line by line."""

    def __init__(self, machine, proxy, idle, tunnels):
        self.machine, self.log, self.lines = machine, machine.path(f"holder-{proxy.port}.log"), 0
        argv = [sys.executable, HOLDER, str(proxy.port), str(proxy.tls_port or 0), str(proxy.tcp_port), str(idle), str(tunnels)]
        self.process = machine.start(argv, machine.all_cpus, self.log)
        self._next(60)

    def ask(self, number):
        self.process.send_signal(number)
        return self._next(60)

    def end(self):
        self.machine.kill(self.process)

    def _next(self, seconds):
        def said():
            with open(self.log, encoding="utf-8", errors="replace") as log:
                return log.read().splitlines()

        wait_until(lambda: len(said()) > self.lines or self.process.poll() is not None, seconds)
        lines = said()
        if len(lines) <= self.lines or not lines[self.lines].startswith("{"):
            # its last words come with its end
            wait_until(lambda: self.process.poll() is not None, 5)
            raise Missing(f"the holder of connections failed: {(said() or ['it said nothing'])[-1]}")
        self.lines += 1
        return json.loads(lines[self.lines - 1])


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def rss_bytes(pid):
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
