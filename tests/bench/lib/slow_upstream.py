"""Starts the server behind the proxies while they reload (`slow_server.py`)."""

import os
import sys

from machine import Missing, wait_until
from proxies import answers

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "slow_server.py")


def start_slow_upstream(machine):
    """Its process, and the ports that it speaks HTTP and plain bytes on."""
    http_port, tcp_port = machine.port(), machine.port()
    process = machine.start([sys.executable, SERVER, str(http_port), str(tcp_port)], machine.all_cpus,
                            machine.path("slow-server.log"))
    if not wait_until(lambda: answers(http_port), 10):
        raise Missing("the server behind the proxies did not start")
    return process, http_port, tcp_port
