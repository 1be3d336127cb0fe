"""TLS connections one after the other, each with the ticket of the one before: resume.py HOST PORT PATH SECONDS.

Prints how many requests there were, how many connections were resumed, and how long they took in µs.
"""

import socket
import ssl
import sys
import time


def main():
    host, port, path, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    session, resumed, times = None, 0, []
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            with context.wrap_socket(plain, server_hostname=host, session=session) as client:
                client.sendall(request)
                answer = b"".join(iter(lambda: read(client), b""))
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"unexpected answer {answer[:60]!r}")
                resumed += client.session_reused
                session = client.session  # a ticket of TLS 1.3 comes after the handshake
        times.append(time.monotonic() - began)
    took = time.monotonic() - started
    times.sort()
    p50, p99 = (int(times[len(times) * part // 100] * 1e6) for part in (50, 99))
    print(f"{len(times)} requests, {resumed} resumed, p50 {p50}, p99 {p99}, in {took:.3f} s")


def read(client):
    try:
        return client.recv(65536)
    except ssl.SSLEOFError:
        return b""


main()
