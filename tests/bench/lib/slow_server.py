"""The server behind the proxies while they reload: slow answers, WebSockets, TCP sessions.

usage: slow_server.py HTTP_PORT TCP_PORT

GET /slow trickles its body over two seconds, GET /events sends an event every 100 ms for as long as it is read, GET /page
is a page that opens an event stream and a WebSocket and asks for things; other requests are answered at once when their body has come; an Upgrade
is accepted and then echoed, as is every byte of a TCP session; one to /messages is echoed message by message.
"""

import asyncio
import base64
import hashlib
import os
import sys

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "foreign", "page.html"), "rb") as page:
    PAGE = page.read()
PIECE = b"x" * 4096
PIECES = 20
PAUSE = 0.1


async def exchange(reader, writer):
    """Serves one upstream connection until it closes."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line]
            fields = {name.lower(): value for name, value in lines}
            if b"upgrade" in fields:
                writer.write(accept_websocket(fields[b"sec-websocket-key"].strip()))
                await (echo_messages if head.startswith(b"GET /messages") else echo)(reader, writer)
                return
            await throw_away_body(reader, fields)
            if head.startswith(b"GET /slow"):
                await trickle(writer)
            elif head.startswith(b"GET /events"):
                await events(writer)
            elif head.startswith(b"GET /page"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024)
            await writer.drain()
            if fields.get(b"connection", b"").strip().lower() == b"close":
                return
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


def accept_websocket(key):
    """The answer that RFC 6455 section 4.2.2 wants; proxies check it."""
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n")


async def throw_away_body(reader, fields):
    if fields.get(b"transfer-encoding", b"").strip().lower() == b"chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
        return
    left = int(fields.get(b"content-length", 0))
    while left:
        got = await reader.read(min(left, 65536))
        if not got:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(got)


async def trickle(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(PIECE) * PIECES))
    for _ in range(PIECES):
        writer.write(PIECE)
        await writer.drain()
        await asyncio.sleep(PAUSE)


async def events(writer):
    """Numbered, so that one that is missing is noticed; the end is the reader's to make."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    number = 0
    while True:
        event = b"data: %d\n\n" % number
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(PAUSE)
        number += 1


async def echo(reader, writer):
    try:
        while got := await reader.read(65536):
            writer.write(got)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def echo_messages(reader, writer):
    """As browsers want it (RFC 6455 section 5.1): what comes is masked, and what goes is not."""
    while True:
        first, length = await reader.readexactly(2)
        length &= 0x7F
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2), "big")
        mask = await reader.readexactly(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(length)))
        size = bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
        writer.write(bytes([first]) + size + payload)
        await writer.drain()
        if first & 0x0F == 8:
            return


async def main(http_port, tcp_port):
    await asyncio.start_server(exchange, "127.0.0.1", http_port, backlog=1024)
    await asyncio.start_server(echo, "127.0.0.1", tcp_port, backlog=1024)
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
