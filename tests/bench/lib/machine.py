"""The machine under the measurement: its CPUs, its tools, and the processes that are ours and end with us."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# Above the ports of the system, below the range that clients connect from, so no client takes one of ours.
FIRST_PORT = 21000

PACKAGES = {
    "ab": "apache2-utils",
    "cargo": "cargo (or rustup)",
    "cc": "gcc",
    "h2load": "nghttp2-client",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "oha": "oha (or: cargo install oha)",
    "unshare": "util-linux",
    "valgrind": "valgrind",
    "wrk": "wrk",
}


class Missing(Exception):
    """Something cannot run on this machine; the text says what is missing and what to install."""


class Machine:
    """Owns a scratch directory and every process started through it; leaving the `with` block ends them all.

    Proxies run on one CPU, load and upstream on another, so that neither takes time from the other. `nice` below
    zero (root) keeps the rest of the machine out of the figures.
    """

    def __init__(self, proxy_cpu=None, load_cpu=None, nice=None):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise Missing("two CPUs are needed: one for the proxy, one for load and upstream")
        self.load_cpu = cpus[0] if load_cpu is None else load_cpu
        self.proxy_cpu = cpus[-1] if proxy_cpu is None else proxy_cpu
        if self.load_cpu == self.proxy_cpu or not {self.load_cpu, self.proxy_cpu} <= set(cpus):
            raise Missing(f"load and proxy need two different CPUs out of {cpus}")
        self.all_cpus = set(cpus)
        self.nice = nice if nice is not None else (-10 if os.geteuid() == 0 else 0)
        self.files = raised_file_limit()
        self.processes = []
        self.next_port = FIRST_PORT
        self.directory = None

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="segue-bench.")
        os.chmod(self.directory, 0o755)
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(SystemExit(143)))
        return self

    def __exit__(self, *_):
        for process in list(self.processes):
            self.kill(process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, *names):
        """A path in the scratch directory; the folders above it are made."""
        path = os.path.join(self.directory, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, text, *names):
        path = self.path(*names)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def port(self):
        """A port of 127.0.0.1 that nobody listens on."""
        while True:
            self.next_port += 1
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.next_port))
                except OSError:
                    continue
            return self.next_port

    def start(self, argv, cpus, log, environment=None):
        """Starts a process in a session of its own, on `cpus` from its first instruction on."""
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_", "SEGUE_"))}
        clean.update(environment or {})
        affinity, priority = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
        # CPU and priority are inherited: set here, they hold for threads too that a process starts at once.
        os.sched_setaffinity(0, cpus)
        self._prioritise(self.nice)
        try:
            with open(log, "ab") as out:
                process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                           start_new_session=True, env=clean)
        finally:
            os.sched_setaffinity(0, affinity)
            self._prioritise(priority)
        self.processes.append(process)
        self._favour_session(process.pid)
        return process

    def run(self, argv, cpus, seconds, log):
        """Runs a process to its end and returns what it printed; `Missing` when that takes more than `seconds`."""
        open(log, "wb").close()
        process = self.start(argv, cpus, log)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Missing(f"{argv[0]} did not end within {seconds:g} s") from None
        finally:
            self.kill(process)
        with open(log, encoding="utf-8", errors="replace") as out:
            return out.read()

    def kill(self, process):
        """Ends a process that `start` returned, with everything below it."""
        for pid in tree(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def terminate(self, process, seconds):
        """Asks a process to end, and ends it after `seconds`; returns whether it went by itself."""
        process.terminate()
        deadline = time.monotonic() + seconds
        below = tree(process.pid)
        while time.monotonic() < deadline:
            if process.poll() is not None and not any(os.path.exists(f"/proc/{pid}") for pid in below):
                break
            time.sleep(0.02)
        went = process.poll() is not None
        self.kill(process)
        return went

    def _prioritise(self, nice):
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except OSError:
            self.nice = os.getpriority(os.PRIO_PROCESS, 0)

    def _favour_session(self, pid):
        # With sched_autogroup a nice value counts inside a session only; this one weighs the session itself.
        try:
            with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as out:
                out.write(str(self.nice))
        except OSError:
            pass


def raised_file_limit():
    """Open files that processes may have from now on: what all connections of `idle` need twice, if root can have it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for files in (max(hard, 1 << 16), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
            return files
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def tool(name):
    """The path of a program. `Missing` names the package that holds it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not path:
        raise Missing(f"{name} is missing: apt install {PACKAGES.get(name, name)}")
    return path


def tree(root):
    """Process ids of `root` and of all that came from it: its descendants, and whoever is in its session."""
    parents, found = {}, set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] == "Z":
            continue
        parents[int(name)] = int(fields[1])
        if int(fields[3]) == root or int(name) == root:
            found.add(int(name))
    grew = True
    while grew:
        below = {pid for pid, parent in parents.items() if parent in found and pid not in found}
        found |= below
        grew = bool(below)
    return sorted(found)


def wait_until(condition, seconds, pause=0.01):
    """Polls until `condition()` holds; False when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
