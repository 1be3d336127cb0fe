"""A client that holds thousands of connections and looks what becomes of them.

usage: holder.py PORT TLS_PORT TCP_PORT IDLE TUNNELS

Opens IDLE connections, over TLS unless TLS_PORT is 0, makes one request on each and leaves it; opens TUNNELS tunnels, half of them WebSockets, and
sends a few bytes through each four times a second. On SIGUSR1 it prints one line of JSON: what was closed so
far, and the longest that bytes were on their way through a tunnel since the line before. On SIGUSR2 it asks on every idle
connection once more, then writes a line. It ends with its parent.
"""

import json
import os
import select
import signal
import socket
import ssl
import sys
import time

GET = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n"
WEBSOCKET = (b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2VndWUtYmVuY2gtY2xuMQ==\r\n\r\n")
PERIOD = 0.25
TICK = 0.005
PATIENCE = 15.0
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


class Tunnel:
    """One tunnel, and the bytes that are on their way through it."""

    def __init__(self, connection, number):
        self.socket, self.number = connection, number
        self.turn, self.sent, self.got = 0, None, b""

    def send(self, now):
        self.turn += 1
        self.sent, self.got = now, b""
        self.socket.send(self.bytes())

    def bytes(self):
        return b"%6d %6d" % (self.number, self.turn)

    def receive(self):
        """Seconds that the bytes took, when all are there; `OSError` when the tunnel is closed or they are others."""
        more = self.socket.recv(64)
        self.got += more
        if not more or self.sent is None or not self.bytes().startswith(self.got):
            raise OSError("closed, or other bytes")
        if len(self.got) < len(self.bytes()):
            return None
        took, self.sent = time.monotonic() - self.sent, None
        return took


class Holder:
    def __init__(self, port, tls_port, tcp_port, idle, tunnels):
        self.idle = {one.fileno(): one for one in (asked(port, tls_port) for _ in range(idle))}
        self.tunnels = [Tunnel(*each) for each in (
            (opened(port, WEBSOCKET) if number % 2 else opened(tcp_port, b""), number) for number in range(tunnels))]
        self.live = {tunnel.socket.fileno(): tunnel for tunnel in self.tunnels}
        self.poll = select.epoll()
        for fd in [*self.idle, *self.live]:
            self.poll.register(fd, select.EPOLLIN)
        self.closed = self.tunnels_closed = self.failed = 0
        self.longest, self.next = 0.0, 0

    def work(self, wanted):
        """Until the parent is gone; `wanted` gets signals."""
        parent, began, sent = os.getppid(), time.monotonic(), 0
        while os.getppid() == parent:
            for fd, _ in self.poll.poll(TICK):
                self.ready(fd)
            now = time.monotonic()
            # spread over the period, so that no two are for the same moment
            due = int((now - began) / PERIOD * len(self.tunnels))
            for number in range(sent, min(due, sent + len(self.tunnels))):
                self.ping(self.tunnels[number % len(self.tunnels)], now)
            sent = due
            while wanted:
                if wanted.pop(0) == signal.SIGUSR2:
                    self.ask_again()
                self.report(now)

    def ready(self, fd):
        if fd in self.idle:
            self.closed += 1
            self.drop(self.idle, fd)
            return
        tunnel = self.live[fd]
        try:
            self.longest = max(self.longest, tunnel.receive() or 0.0)
        except BlockingIOError:
            pass
        except OSError:
            self.tunnels_closed += 1
            self.drop(self.live, fd)

    def ping(self, tunnel, now):
        if tunnel.sent is not None or tunnel.socket.fileno() not in self.live:
            return
        try:
            tunnel.send(now)
        except OSError:
            self.tunnels_closed += 1
            self.drop(self.live, tunnel.socket.fileno())

    def drop(self, table, fd):
        self.poll.unregister(fd)
        gone = table.pop(fd)
        getattr(gone, "socket", gone).close()

    def ask_again(self):
        """Whether each connection that was kept also works."""
        for fd, connection in list(self.idle.items()):
            try:
                connection.settimeout(PATIENCE)
                connection.sendall(GET)
                receive_answer(connection)
            except OSError:
                self.failed += 1
                self.drop(self.idle, fd)

    def report(self, now):
        waiting = max((now - tunnel.sent for tunnel in self.live.values() if tunnel.sent is not None), default=0.0)
        line = {"idle": len(self.idle), "tunnels": len(self.live), "closed": self.closed, "failed": self.failed,
                "tunnels_closed": self.tunnels_closed, "longest": max(self.longest, waiting)}
        self.longest = 0.0
        print(json.dumps(line), flush=True)


def opened(port, opening):
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if opening:
        connection.sendall(opening)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = connection.recv(1)
            if not more:
                raise OSError("closed instead of a tunnel")
            head += more
        if not head.startswith(b"HTTP/1.1 101"):
            raise OSError(head.split(b"\r\n")[0].decode(errors="replace"))
    connection.setblocking(False)
    return connection


def asked(port, tls_port):
    connection = socket.create_connection(("127.0.0.1", tls_port or port), PATIENCE)
    if tls_port:
        connection = CONTEXT.wrap_socket(connection)
    connection.sendall(GET)
    receive_answer(connection)
    return connection


def receive_answer(connection):
    answer = b""
    while b"\r\n\r\n" not in answer or len(answer) < answer.index(b"\r\n\r\n") + 4 + 1024:
        more = connection.recv(65536)
        if not more:
            raise OSError("closed without an answer")
        answer += more
    if not answer.startswith(b"HTTP/1.1 200"):
        raise OSError("another answer")


def main(port, tls_port, tcp_port, idle, tunnels):
    wanted = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda which, _: wanted.append(which))
    holder = Holder(port, tls_port, tcp_port, idle, tunnels)
    holder.report(time.monotonic())
    holder.work(wanted)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:6]))
