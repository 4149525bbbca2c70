"""Where DPDK's own messages go: to the writer of ours. By itself it writes to standard error and to syslog, from
whichever thread has something to say, and waits there for whoever should read it."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import threading
from collections.abc import Callable

from engine.dpdk.library import Dpdk, DpdkError, check, function
from schema.system.logs import MAX_LINE_BYTES, start_without_signals

UNBUFFERED = 2
"""_IONBF of stdio.h: one write(2) a message, and nothing is kept of one that finds no room."""


END = b"\0"
"""A line that tells our own thread that nothing follows."""
LAST_WORDS_S = 1.0


class LogStream:
    """Has `put` called with each line, on a thread of its own."""

    def __init__(self, dpdk: Dpdk, put: Callable[[bytes], None]) -> None:
        """Raises DpdkError, OSError."""
        self._put = put
        self._reads, self._writes = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self._writes, fcntl.F_SETFL, os.O_NONBLOCK)  # a message for which there is no room is dropped
        open_stream = function(dpdk.eal, "rte_openlog_stream", ctypes.c_int, ctypes.c_void_p)
        check("rte_openlog_stream", open_stream(_stream(self._writes)))
        self._thread = threading.Thread(target=self._pass_on, name="vio4wd-dpdk-log", daemon=True)
        start_without_signals(self._thread)

    def end(self) -> None:
        """Waits until what DPDK has said so far is passed on."""
        room = select.poll()
        room.register(self._writes, select.POLLOUT)
        room.poll(LAST_WORDS_S * 1000)
        with contextlib.suppress(OSError):
            os.write(self._writes, b"\n" + END + b"\n")
            self._thread.join(LAST_WORDS_S)

    def _pass_on(self) -> None:
        rest = b""
        while True:
            *lines, rest = (rest + os.read(self._reads, MAX_LINE_BYTES)).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                if line == END:
                    return
                if line:
                    self._put(line)


def _stream(descriptor: int) -> int:
    """A FILE * that writes there."""
    libc = ctypes.CDLL(None, use_errno=True)
    stream = function(libc, "fdopen", ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(descriptor, b"w")
    if not isinstance(stream, int):
        raise DpdkError("fdopen", ctypes.get_errno())
    function(libc, "setvbuf", ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)(
        stream, None, UNBUFFERED, 0
    )
    return stream
