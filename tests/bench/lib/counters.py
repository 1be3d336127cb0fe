"""What the kernel counts for a set of processes: CPU time and memory."""

import os
import time


class CpuMeter:
    """CPU time of some processes, all threads, plus that of their CPU's ksoftirqd, from `start` to `stop`.

    schedstat counts in nanoseconds. Without IRQ_TIME_ACCOUNTING it holds the softirq work of loopback sends too;
    what the kernel put off to ksoftirqd belongs to the same packets, so it is added.
    """

    def __init__(self, pids, cpu):
        self.pids = pids
        self.cpu = cpu
        self.softirq = [pid for pid in _pids() if _comm(pid) == f"ksoftirqd/{cpu}"]

    def start(self):
        self.began = time.monotonic()
        self.own, self.deferred, self.busy = _cpu_ns(self.pids), _cpu_ns(self.softirq), _cpu_busy(self.cpu)

    def stop(self):
        """Seconds of wall and CPU time since `start`; `other` is what anything else took of that CPU, in parts of 1."""
        wall = time.monotonic() - self.began
        deferred = _cpu_ns(self.softirq) - self.deferred
        cpu = (_cpu_ns(self.pids) - self.own + deferred) / 1e9
        other = max(0.0, (_cpu_busy(self.cpu) - self.busy - cpu) / wall)
        return {"wall": wall, "cpu": cpu, "busy": cpu / wall, "other": other}


def pss_bytes(pids):
    """User memory, shared pages counted in proportion."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
                total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        except OSError:
            pass
    return total * 1024


def settled_pss_bytes(pids, seconds=20.0):
    """The memory once it stopped moving: two seconds without a change above one part in 200, or after `seconds`.

    Allocators give pages back a while after they are free; the figure wanted is the one that stays.
    """
    deadline = time.monotonic() + seconds
    readings = [pss_bytes(pids)]
    while time.monotonic() < deadline:
        time.sleep(0.25)
        readings = (readings + [pss_bytes(pids)])[-9:]
        if len(readings) == 9 and max(readings) - min(readings) <= max(readings) / 200:
            break
    return readings[-1]


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError:
        return ""


def _cpu_ns(pids):
    total = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as stat:
                    total += int(stat.read().split()[0])
        except OSError:
            pass
    return total


def _cpu_busy(cpu):
    """Seconds in which the CPU did anything, in clock ticks."""
    with open("/proc/stat", encoding="ascii") as stat:
        for line in stat:
            name, *ticks = line.split()
            if name == f"cpu{cpu}":
                user, nice, system, _idle, _iowait, irq, softirq = map(int, ticks[:7])
                return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return 0.0
