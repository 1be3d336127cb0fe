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
