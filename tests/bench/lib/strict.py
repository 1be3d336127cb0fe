"""Clients that never retry: whatever a proxy does to a connection is counted, not repaired."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from slow_server import PAUSE, PIECE, PIECES

GET = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (len(PIECE) * PIECES)
WEBSOCKET = (b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2VndWUtYmVuY2gtY2xuMQ==\r\n\r\n")
# Longest wait for anything: far above what a reload takes, so what runs into it is lost.
PATIENCE = 15.0
# A proxy that refuses everything must not turn the clients into a busy loop.
AFTER_FAILURE = 0.05


@dataclass
class Tally:
    """What the clients saw."""

    requests: int = 0
    lost: int = 0
    """Requests without a whole 200: refused, reset, cut short, an error status, or no answer in time."""
    closed: int = 0
    """Keep-alive connections that the proxy closed without having said so, while no request was out."""
    told: int = 0
    """Answers with `Connection: close` to a client that wanted to stay."""
    tunnels: int = 0
    tunnels_closed: int = 0
    why: Counter = field(default_factory=Counter)

    def lose(self, kind, reason):
        self.lost += 1
        self.why[f"{kind}: {reason}"] += 1


class Lost(Exception):
    """The request got no whole 200; the text says what came instead."""


@dataclass(frozen=True)
class Crowd:
    """How many clients of each kind."""

    fresh: int = 4
    busy: int = 20
    idle: int = 100
    downloads: int = 5
    uploads: int = 5
    websockets: int = 20
    sessions: int = 20


async def crowd_around(port, tcp_port, crowd, story):
    """Runs all clients while `story()` runs, lets them finish what is out, and returns their tally."""
    tally, over = Tally(), asyncio.Event()
    clients = [asyncio.create_task(client) for client in [
        *(fresh(port, tally, over) for _ in range(crowd.fresh)),
        *(stay(port, tally, over, "busy", 0.02) for _ in range(crowd.busy)),
        *(stay(port, tally, over, "idle", 3.0) for _ in range(crowd.idle)),
        *(one_each(port, tally, over, "download", download) for _ in range(crowd.downloads)),
        *(one_each(port, tally, over, "upload", upload) for _ in range(crowd.uploads)),
        *(tunnel(port, tally, over, WEBSOCKET) for _ in range(crowd.websockets)),
        *(tunnel(tcp_port, tally, over, b"") for _ in range(crowd.sessions if tcp_port else 0)),
    ]]
    try:
        await story()
    finally:
        over.set()
        # The longest that a client does is one slow exchange; then each looks at `over`.
        await asyncio.wait(clients, timeout=PATIENCE + 5)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    for client in clients:
        if not client.cancelled() and client.exception():
            raise client.exception()
    return tally


async def fresh(port, tally, over):
    """A new connection for each request."""
    while not over.is_set():
        await counted(tally, "fresh", on_new_connection(port, get))
        await pause(over, 0.01)


async def one_each(port, tally, over, kind, exchange):
    """One slow exchange after the other, each on a new connection."""
    while not over.is_set():
        await counted(tally, kind, on_new_connection(port, exchange))


async def stay(port, tally, over, kind, between):
    """One connection for as long as the proxy lets it live, a request now and then."""
    connection = None
    try:
        while not over.is_set():
            if not connection:
                connection = await connect_or_lose(port, tally, kind)
                if not connection:
                    continue
            told = await counted(tally, kind, get(*connection))
            if told is None or told:
                tally.told += bool(told)
                connection = leave(connection)
                continue
            if await closes_within(connection[0], over, between * random.uniform(0.5, 1.0)):
                tally.closed += 1
                tally.why[f"{kind}: closed while idle"] += 1
                connection = leave(connection)
    finally:
        leave(connection)


async def tunnel(port, tally, over, opening):
    """Bytes there and back four times a second; opens the next tunnel when one is closed."""
    kind = "websocket" if opening else "session"
    while not over.is_set():
        connection = await connect_or_lose(port, tally, kind)
        if not connection:
            continue
        reader, writer = connection
        try:
            if opening:
                tally.requests += 1
                writer.write(opening)
                head = await in_time(reader.readuntil(b"\r\n\r\n"))
                if not head.startswith(b"HTTP/1.1 101"):
                    raise Lost(head.split(b"\r\n")[0].decode(errors="replace"))
        except (Lost, OSError, asyncio.IncompleteReadError) as reason:
            tally.lose(kind, describe(reason))
            leave(connection)
            await asyncio.sleep(AFTER_FAILURE)
            continue
        tally.tunnels += 1
        try:
            while not over.is_set():
                writer.write(b"ping")
                await in_time(reader.readexactly(4))
                await pause(over, 0.25)
        except (Lost, OSError, asyncio.IncompleteReadError) as reason:
            tally.tunnels_closed += 1
            tally.why[f"{kind}: {describe(reason)}"] += 1
        leave(connection)


async def get(reader, writer):
    """One request on an open connection; returns whether the answer says that it will be closed."""
    writer.write(GET)
    return await answer(reader)


async def download(reader, writer):
    writer.write(SLOW)
    return await answer(reader)


async def upload(reader, writer):
    writer.write(UPLOAD)
    for _ in range(PIECES):
        writer.write(PIECE)
        await writer.drain()
        await asyncio.sleep(PAUSE)
    return await answer(reader)


async def answer(reader):
    head = await in_time(reader.readuntil(b"\r\n\r\n"))
    lines = head.lower().split(b"\r\n")
    if not lines[0].startswith(b"http/1.1 200"):
        raise Lost(lines[0].decode(errors="replace"))
    fields = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
    await in_time(reader.readexactly(int(fields[b"content-length"])))
    return fields.get(b"connection", b"").strip() == b"close"


async def on_new_connection(port, exchange):
    reader, writer = await in_time(asyncio.open_connection("127.0.0.1", port))
    try:
        return await exchange(reader, writer)
    finally:
        writer.close()


async def counted(tally, kind, exchange):
    """Counts one request; returns what it returns, or None when it was lost."""
    tally.requests += 1
    try:
        return await exchange
    except (Lost, OSError, asyncio.IncompleteReadError) as reason:
        tally.lose(kind, describe(reason))
        await asyncio.sleep(AFTER_FAILURE)
        return None


async def connect_or_lose(port, tally, kind):
    try:
        return await in_time(asyncio.open_connection("127.0.0.1", port))
    except (Lost, OSError) as reason:
        tally.requests += 1
        tally.lose(kind, f"connect: {describe(reason)}")
        await asyncio.sleep(AFTER_FAILURE)
        return None


async def in_time(wait):
    try:
        return await asyncio.wait_for(wait, PATIENCE)
    except asyncio.TimeoutError:
        raise Lost("no answer in time") from None


async def closes_within(reader, over, seconds):
    """Whether the proxy closes (or speaks out of turn) before the client's next request."""
    ended = asyncio.create_task(over.wait())
    byte = asyncio.create_task(reader.read(1))
    await asyncio.wait({ended, byte}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    came = byte.done()
    for task in (ended, byte):
        task.cancel()
    await asyncio.gather(ended, byte, return_exceptions=True)
    return came


async def pause(over, seconds):
    try:
        await asyncio.wait_for(over.wait(), seconds)
    except asyncio.TimeoutError:
        pass


def leave(connection):
    if connection:
        connection[1].close()
    return None


def describe(reason):
    if isinstance(reason, asyncio.IncompleteReadError):
        return "closed in the middle of the answer" if reason.partial else "closed without an answer"
    return str(reason) if isinstance(reason, Lost) else type(reason).__name__
