"""Memory that one idle client connection costs a proxy, and CPU that all of them cost it each second."""

import time

from client import Connection, Http2Connection
from counters import CpuMeter, pss_bytes, settled_pss_bytes

WARM_UP = 50
ASKED_AGAIN = 200
QUIET_SECONDS = 20


def measure_idle(proxy, connections, cpu, tls=False, http2=False):
    """Growth of user memory over `connections` that each made one request and then stay open, per connection.

    Pools and arenas that the first requests make are there before (`WARM_UP`); socket memory of the kernel is the
    same for all proxies and not in it. At the end some of the connections ask again: a proxy that saved memory by
    closing them shows fewer `alive`. `cpu_ms` is the CPU time of each second in which nothing happens, on `cpu`.
    """
    port = proxy.tls_port if tls else proxy.port
    kind = Http2Connection if http2 else Connection
    warm = [_asked(kind, port, tls) for _ in range(WARM_UP)]
    for client in warm:
        client.close()
    before = settled_pss_bytes(proxy.pids(), 5)
    held, failed = [], 0
    try:
        for _ in range(connections):
            try:
                held.append(_asked(kind, port, tls))
            except OSError:
                failed += 1
                if failed > 20:
                    break
        peak = pss_bytes(proxy.pids())
        after = settled_pss_bytes(proxy.pids())
        meter = CpuMeter(proxy.pids(), cpu)
        meter.start()
        time.sleep(QUIET_SECONDS)
        quiet = meter.stop()
        alive = sum(_still_answers(client) for client in held[-ASKED_AGAIN:])
    finally:
        for client in held:
            client.close()
    return {"cpu_ms": quiet["cpu"] / quiet["wall"] * 1000, "bytes": (after - before) / max(1, len(held)), "base": before, "full": after, "peak": peak,
            "connections": len(held), "errors": failed, "alive": alive, "asked_again": len(held[-ASKED_AGAIN:])}


def _asked(kind, port, tls):
    client = kind(port, tls)
    try:
        client.ask()
    except OSError:
        client.close()
        raise
    return client


def _still_answers(client):
    try:
        client.ask()
        return True
    except OSError:
        return False
