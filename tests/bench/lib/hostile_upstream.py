"""A server for tests/bench/hostile: answers, pours, swallows, or does not read, by path.

GET /1k       1 KiB.
GET /pour     64 MiB.
POST /sink    reads the body to its end, then 204.
POST /deaf    reads the head and nothing more.
GET /deaf     how many of those connections are open.
"""

import asyncio
import sys
from socket import SO_SNDBUF, SOL_SOCKET

POURED = 64 << 20
BLOCK = bytes(64 << 10)


class Deaf:
    open = 0


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if not await answer(head, reader, writer):
                return
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def answer(head, reader, writer):
    method, path, _ = head.split(b" ", 2)
    if (method, path) == (b"POST", b"/deaf"):
        await be_deaf(writer)
        return False
    if path == b"/pour":
        # else a thousand of these fill what the kernel allows all of TCP (tcp_mem), which delays every connection
        writer.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_SNDBUF, 128 << 10)
    if path == b"/sink":
        await swallow(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    elif path == b"/pour":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % POURED)
        for _ in range(POURED // len(BLOCK)):
            writer.write(BLOCK)
            await writer.drain()
    else:
        body = b"%d" % Deaf.open if path == b"/deaf" else bytes(1024)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()
    return True


async def be_deaf(writer):
    """Until the proxy closes: that shows as an error, or as an end that no read asks for."""
    Deaf.open += 1
    transport = writer.transport
    transport.pause_reading()
    socket = transport.get_extra_info("socket")
    try:
        while True:
            await asyncio.sleep(0.1)
            state = socket.getsockopt(6, 11, 1)[0]  # TCP_INFO: 1 is ESTABLISHED
            if state != 1:
                return
    finally:
        Deaf.open -= 1


async def swallow(reader):
    end = b""
    while not end.endswith(b"0\r\n\r\n"):
        more = await reader.read(65536)
        if not more:
            return
        end = (end + more)[-5:]


async def main(port):
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
