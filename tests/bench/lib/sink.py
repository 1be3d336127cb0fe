"""Takes access records in and counts them: a syslog socket, and a journal socket that only one process sees.

As a program (`sink.py COUNTS SOCKET…`) it is the child that reads them; the counts stand in a shared file.
"""

import mmap
import os
import select
import socket
import struct
import subprocess
import sys

from machine import Missing, tool, wait_until

KINDS = ("journal", "syslog")
# How far the reader may be behind; the kernel also limits the number of datagrams in a queue.
RECEIVE_BUFFER = 8 << 20


class Sink:
    """The two sockets and the child that reads them on the load's CPU; the child belongs to `machine`."""

    def __init__(self, machine):
        self.run = machine.path("sink", "")
        self.syslog = machine.path("sink", "syslog", "socket")
        journal = machine.path("sink", "systemd", "journal", "socket")
        path = machine.write("\0" * 8 * len(KINDS), "counts")
        with open(path, "r+b") as counts:
            self.counts = mmap.mmap(counts.fileno(), 0)
        log = machine.path("sink.log")
        machine.start([sys.executable, __file__, path, journal, self.syslog], {machine.load_cpu}, log)
        if not wait_until(lambda: os.path.exists(self.syslog), 10):
            raise Missing(f"the receiver of access records did not start, see {log}")

    def count(self, kind):
        """Records that came in so far."""
        return struct.unpack_from("Q", self.counts, 8 * KINDS.index(kind))[0]

    def as_journal(self):
        """Words in front of a command that let it, and nobody else, find our socket where journald's would be."""
        unshare = [tool("unshare"), "--mount", "--propagation", "private"]
        if os.geteuid() != 0:
            unshare.append("--map-root-user")
        if subprocess.run([*unshare, "true"], capture_output=True, timeout=10, check=False).returncode != 0:
            raise Missing("no mount namespace for a journal socket of our own (needs root or user namespaces)")
        return [*unshare, sys.executable, "-c", UNDER_JOURNAL, self.run]


# All of /run is covered, so that it works with and without a systemd there. A program whose standard error is the
# stream that $JOURNAL_STREAM names, as systemd makes it, speaks to the journal by itself.
UNDER_JOURNAL = """
import os, socket, subprocess, sys
subprocess.run(["mount", "--bind", sys.argv[1], "/run"], check=True)
ours, stream = socket.socketpair()
os.dup2(stream.fileno(), 2)
os.set_inheritable(ours.fileno(), True)
of_stream = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{of_stream.st_dev}:{of_stream.st_ino}"
os.execvp(sys.argv[2], sys.argv[2:])
"""


def main(counts, paths):
    with open(counts, "r+b") as file:
        counts = mmap.mmap(file.fileno(), 0)
    receivers = [_listen(path) for path in paths]
    buffer, parent = bytearray(1 << 18), os.getppid()
    while os.getppid() == parent:
        for receiver in select.select(receivers, [], [], 1.0)[0]:
            taken = 0
            try:
                while receiver.recv_into(buffer, 0, socket.MSG_DONTWAIT) >= 0:
                    taken += 1
            except BlockingIOError:
                pass
            at = 8 * receivers.index(receiver)
            struct.pack_into("Q", counts, at, struct.unpack_from("Q", counts, at)[0] + taken)


def _listen(path):
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    receiver.bind(path)
    os.chmod(path, 0o666)
    return receiver


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
