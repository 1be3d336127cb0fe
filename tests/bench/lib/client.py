"""A plain blocking client: exact numbers of requests, and connections that stay open."""

import socket
import ssl

REQUEST = b"GET /1k HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n"


# The certificates are of our own making.
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


class Connection:
    """One keep-alive connection to a proxy; every wait ends after 30 s with `OSError`."""

    def __init__(self, port, tls=False):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = CONTEXT.wrap_socket(self.socket, server_hostname="localhost")

    def send(self):
        self.socket.sendall(REQUEST)

    def receive(self):
        """Reads one whole answer; `OSError` when it is not a 200 with a Content-Length, or ends early."""
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        fields = head.lower().split(b"\r\n")[1:]
        lengths = [line.split(b":")[1] for line in fields if line.startswith(b"content-length:")]
        if not head.startswith(b"HTTP/1.1 200") or not lengths:
            raise OSError(f"unexpected answer {head[:60]!r}")
        left = int(lengths[0]) - len(body)
        while left > 0:
            left -= len(self._more())

    def ask(self):
        self.send()
        self.receive()

    def close(self):
        self.socket.close()

    def _more(self):
        got = self.socket.recv(65536)
        if not got:
            raise OSError("closed by the proxy")
        return got


CONTEXT_H2 = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT_H2.check_hostname, CONTEXT_H2.verify_mode = False, ssl.CERT_NONE
CONTEXT_H2.set_alpn_protocols(["h2"])


class Http2Connection(Connection):
    """The same over HTTP/2 and TLS, one request at a time. Its fields are such as a client has in every request, and get a
    place in the table of the other end."""

    FIELDS = [(b"user-agent", b"bench/1.0"), (b"accept", b"*/*"), (b"accept-language", b"en-GB,en;q=0.5")]

    def __init__(self, port, tls=True):
        super().__init__(port)
        self.socket = CONTEXT_H2.wrap_socket(self.socket, server_hostname="localhost")
        if self.socket.selected_alpn_protocol() != "h2":
            raise OSError("no HTTP/2")
        self.stream, self.read = 1, b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))

    def send(self):
        # RFC 7541: GET and https by index, the path as a literal that stays out of the table, the rest as ones that go into it
        if self.stream == 1:
            fields = b"\x41\x09localhost" + b"".join(b"\x40" + _literal(name) + _literal(value) for name, value in self.FIELDS)
        else:
            fields = bytes(0x80 | 62 + place for place in range(len(self.FIELDS), -1, -1))  # the last one has place 62
        self.socket.sendall(_frame(1, 5, self.stream, b"\x82\x87\x04\x03/1k" + fields))

    def receive(self):
        body = 0
        while True:
            kind, flags, stream, payload = self._frame()
            if kind in (3, 7):
                raise OSError("the stream or the connection was ended")
            if kind == 4 and not flags & 1:
                self.socket.sendall(_frame(4, 1, 0, b""))
            if stream == self.stream:
                body += len(payload) if kind == 0 else 0
                if flags & 1:
                    break
        if not body:
            raise OSError("an answer without a body")
        self.stream += 2

    def _frame(self):
        while len(self.read) < 9 or len(self.read) < 9 + int.from_bytes(self.read[:3], "big"):
            self.read += self._more()
        length = 9 + int.from_bytes(self.read[:3], "big")
        frame, self.read = self.read[:length], self.read[length:]
        return frame[3], frame[4], int.from_bytes(frame[5:9], "big"), frame[9:]


def _frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _literal(octets):
    return bytes([len(octets)]) + octets


def ask_exactly(port, requests, connections=16):
    """So many requests over so many connections, all of them busy at once."""
    clients = [Connection(port) for _ in range(connections)]
    try:
        for first in range(0, requests, connections):
            busy = clients[:requests - first]
            for client in busy:
                client.send()
            for client in busy:
                client.receive()
    finally:
        for client in clients:
            client.close()
