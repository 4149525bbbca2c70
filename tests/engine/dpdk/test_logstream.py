"""DPDK's messages go where ours go, and nobody who has something to say waits there."""

from __future__ import annotations

import subprocess
import sys

from tests.kit.paths import ROOT
from tests.kit.runner.own_process import require_dpdk

BODY = """
import ctypes, threading
from engine.dpdk.library import function, load
from engine.dpdk.logstream import LogStream

dpdk = load()
said = []
read = threading.Event()
def put(line):
    read.wait()
    said.append(line)
stream = LogStream(dpdk, put)
log = function(dpdk.eal, "rte_log", ctypes.c_int, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_char_p)
for number in range(20000):
    log(1, 0, b"message %d\\n" % number)
read.set()
log(1, 0, b"last\\n")
stream.end()
print(len(said), said[0].decode(), said.count(b"last"))
"""


def test_messages_are_passed_on_and_dropped_rather_than_waited_for() -> None:
    require_dpdk()
    line = [sys.executable, "-c", BODY]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    count, *first = done.stdout.split()
    assert first[:2] == ["message", "0"]
    assert 1 < int(count) < 20000
