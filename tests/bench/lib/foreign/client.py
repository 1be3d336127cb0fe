"""Requests with Python: client.py URL CA SECONDS h1|h2. HTTP/2 needs the package h2 of PyPI."""

import http.client
import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit

BODY = b"x" * 20000


def over_http1(url, context, until, tally):
    connection = None
    while time.monotonic() < until:
        upload = tally["requests"] % 5 == 4
        tally["requests"] += 1
        try:
            if not connection:
                connection = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=15)
            connection.request("POST" if upload else "GET", "/upload" if upload else "/1k", BODY if upload else None)
            response = connection.getresponse()
            check(tally, response.status, len(response.read()))
            if response.getheader("connection", "").lower() == "close":
                tally["errors"].append("told to close")
        except (OSError, http.client.HTTPException) as error:
            tally["errors"].append(f"{type(error).__name__}: {error}")
            connection = None
        time.sleep(0.005)


def over_http2(url, context, until, tally):
    import h2.config
    import h2.connection
    import h2.events

    context.set_alpn_protocols(["h2"])
    raw = socket.create_connection((url.hostname, url.port), 15)
    wire = context.wrap_socket(raw, server_hostname=url.hostname)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    open_streams = {}
    while time.monotonic() < until or open_streams:
        while len(open_streams) < 8 and time.monotonic() < until:
            upload = tally["requests"] % 5 == 4
            tally["requests"] += 1
            stream = connection.get_next_available_stream_id()
            fields = [(":method", "POST" if upload else "GET"), (":scheme", "https"), (":authority", url.netloc),
                      (":path", "/upload" if upload else "/1k")]
            connection.send_headers(stream, fields, end_stream=not upload)
            open_streams[stream] = [0, 0, len(BODY) if upload else 0]
        for stream, state in open_streams.items():
            while state[2] > 0:
                room = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size, state[2])
                if room <= 0:
                    break
                state[2] -= room
                connection.send_data(stream, b"x" * room, end_stream=state[2] == 0)
        wire.sendall(connection.data_to_send())
        data = wire.recv(65536)
        if not data:
            tally["errors"].append("closed")
            return
        for event in connection.receive_data(data):
            stream = getattr(event, "stream_id", None)
            if isinstance(event, h2.events.ResponseReceived):
                open_streams[stream][0] = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                open_streams[stream][1] += len(event.data)
                connection.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamEnded):
                check(tally, *open_streams.pop(stream)[:2])
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                tally["errors"].append(repr(event))
                open_streams.pop(stream, None)


def check(tally, status, length):
    if (status, length) != (200, 1024):
        tally["errors"].append(f"status {status}, {length} bytes")


def main():
    url, ca, seconds, protocol = urlsplit(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
    tally = {"requests": 0, "errors": []}
    context = ssl.create_default_context(cafile=ca)
    try:
        (over_http2 if protocol == "h2" else over_http1)(url, context, time.monotonic() + seconds, tally)
    except OSError as error:
        tally["errors"].append(f"{type(error).__name__}: {error}")
    print(json.dumps(tally))


main()
