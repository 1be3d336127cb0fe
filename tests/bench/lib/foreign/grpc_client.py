"""Calls of gRPC with Python: grpc_client.py URL CA SECONDS. It needs the package grpcio of PyPI, which Debian has as
python3-grpcio.

One call streams both ways from the beginning to the end; beside it go short ones of each of the four kinds, one after the
other in each of some threads. No call is tried again.
"""

import json
import sys
import threading
import time
from urllib.parse import urlsplit

import grpc

THREADS = 4


class Tally:
    def __init__(self):
        self.requests, self.messages, self.errors, self.lock = 0, 0, [], threading.Lock()

    def count(self, messages):
        with self.lock:
            self.requests += 1
            self.messages += messages

    def wrong(self, what):
        with self.lock:
            self.errors.append(what)


def chat(call, tally, until, pause):
    """Sends numbers and gets each back, in their order."""
    said = []

    def numbers():
        while time.monotonic() < until:
            said.append(b"%d" % len(said))
            yield said[-1]
            time.sleep(pause)

    responses = call(numbers())
    heard = list(responses)
    if heard != said or responses.code() != grpc.StatusCode.OK or ("said", "all") not in responses.trailing_metadata():
        tally.wrong(f"Chat: {len(heard)} of {len(said)} messages, {responses.code()}")
    tally.count(len(said))


def in_turn(calls, tally, until):
    while time.monotonic() < until:
        parts = [b"x" * 1000] * 20
        for name, ask, want in [
            ("Unary", lambda: calls["Unary"](b"ping"), b"ping"),
            ("Upload", lambda: calls["Upload"](iter(parts)), b",".join(parts)),
            ("Download", lambda: list(calls["Download"](b"it")), [b"it %d" % number for number in range(20)]),
        ]:
            try:
                if (got := ask()) != want:
                    tally.wrong(f"{name}: {got!r:.80}")
            except grpc.RpcError as error:
                tally.wrong(f"{name}: {error.code()} {error.details()}")
            tally.count(1)
        guarded(chat, calls["Chat"], tally, time.monotonic() + 0.3, 0.02)


def guarded(what, call, tally, *more):
    try:
        what(call, tally, *more)
    except grpc.RpcError as error:
        tally.wrong(f"Chat: {error.code()} {error.details()}")


def main():
    url, ca, seconds = urlsplit(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    with open(ca, "rb") as roots:
        credentials = grpc.ssl_channel_credentials(roots.read())
    tally, until = Tally(), time.monotonic() + seconds
    with grpc.secure_channel(url.netloc, credentials, [("grpc.enable_retries", 0)]) as channel:
        calls = {"Unary": channel.unary_unary("/bench.Echo/Unary"), "Upload": channel.stream_unary("/bench.Echo/Upload"),
                 "Download": channel.unary_stream("/bench.Echo/Download"), "Chat": channel.stream_stream("/bench.Echo/Chat")}
        threads = [threading.Thread(target=guarded, args=(chat, calls["Chat"], tally, until, 0.05))]
        threads += [threading.Thread(target=in_turn, args=(calls, tally, until)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps({"requests": tally.requests, "messages": tally.messages, "errors": tally.errors}))


main()
