"""Numbered datagrams between a host and its guest. Standard library alone: a guest runs it with whatever Python it has.

numbered.py echo PORT...                 on CPU 0, 1, ...: one process a port sends back what comes
numbered.py send ADDRESS COUNT PORT...   sends COUNT numbers to each port and prints what came back, as JSON
numbered.py queues ADDRESS PORT          prints what `ethtool -S eth0` says there
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time

WINDOW = 8
"""Datagrams of a flow on their way: far fewer than a virtqueue holds, so that none is lost for want of room."""
QUIET_S = 20.0
"""After so long without an answer the rest is given up."""
QUEUES = b"queues"


def echo(port: int, cpu: int) -> None:
    # A process that moved between CPUs would send by one queue and then by another, and so reorder its own flow.
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as served:
        served.bind(("", port))
        while True:
            text, sender = served.recvfrom(2048)
            if text == QUEUES:
                text = subprocess.run(["ethtool", "-S", "eth0"], capture_output=True, check=False).stdout
            served.sendto(text, sender)


def send(address: str, count: int, ports: list[int]) -> dict[int, list[int]]:
    """What came back of each flow, in its order."""
    seen: dict[int, list[int]] = {port: [] for port in ports}
    flows = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in ports}
    for port, flow in flows.items():
        flow.connect((address, port))
    sent = dict.fromkeys(ports, 0)
    last = time.monotonic()
    while any(len(numbers) < count for numbers in seen.values()) and time.monotonic() - last < QUIET_S:
        for port, flow in flows.items():
            while sent[port] < count and sent[port] - len(seen[port]) < WINDOW:
                flow.send(b"%d" % sent[port])
                sent[port] += 1
        for ready in select.select(list(flows.values()), [], [], 1.0)[0]:
            seen[ready.getpeername()[1]].append(int(ready.recv(2048)))
            last = time.monotonic()
    return seen


def queues(address: str, port: int) -> str:
    """Empty when nobody answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.sendto(QUEUES, (address, port))
        ready, _, _ = select.select([asked], [], [], 2.0)
        return asked.recv(65536).decode().strip() if ready else ""


def main(mode: str, *arguments: str) -> None:
    if mode == "echo":
        for cpu, port in enumerate(map(int, arguments)):
            if os.fork() == 0:
                echo(port, cpu)
    elif mode == "send":
        address, count, *ports = arguments
        print(json.dumps(send(address, int(count), list(map(int, ports)))))
    else:
        print(queues(arguments[0], int(arguments[1])))


if __name__ == "__main__":
    main(*sys.argv[1:])
