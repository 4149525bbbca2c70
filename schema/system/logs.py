"""The log: its levels, what is kept out of it, what is said in it only when it changes.

Messages are written by a thread of their own: whoever reads them may stop to, and nobody who steers waits for that.
What does not fit the queue meanwhile is dropped and counted, which is said as soon as somebody reads again.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import select
import signal
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType, TracebackType

KEY = "vfio_vf_token"
SECRET = "(secret)"
"""What stands in its place."""
_IN_URL = re.compile(r"(?<=http://)[^\s/'\"]+(?=@)|(?<=https://)[^\s/'\"]+(?=@)", re.IGNORECASE)
_VALUE = re.compile(r"(vfio[_-]vf[_-]token\W{1,6})[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""By syslog's numbers, 0 to 7."""
STDERR = 2
FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"
THRESHOLDS: Mapping[str, int] = MappingProxyType(
    {
        "emergency": logging.CRITICAL + 20,
        "alert": logging.CRITICAL + 10,
        "critical": logging.CRITICAL,
        "error": logging.ERROR,
        "warning": logging.WARNING,
        "notice": logging.WARNING - 5,
        "info": logging.INFO,
        "debug": logging.DEBUG,
    }
)
"""As Python numbers them; it knows five of them."""
LOG = logging.getLogger("vio4wd")

KEPT_LINES = 2000
MAX_LINE_BYTES = 16 * 1024
FLUSH_WITHIN_S = 2.0
"""At the end of the process; what nobody has read by then is lost."""


class LogWriter(logging.Handler):
    """Writes to a descriptor. Raises nothing: a log that can't be written stops nothing."""

    def __init__(self, descriptor: int, kept_lines: int = KEPT_LINES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._kept_lines = kept_lines
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        """Simple: a signal's function may log while the same thread is logging."""
        self.dropped = 0
        """Messages that nobody will see, since it was last said."""
        self._counting = threading.RLock()
        self._thread = threading.Thread(target=self._write_on, name="vio4wd-log", daemon=True)
        start_without_signals(self._thread)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = without_token(self.format(record))
        except Exception as error:
            text = f"{record.name} {record.levelname} {record.msg!r} can't be put into words: {error!r}"
        self.put(text.encode("utf-8", "backslashreplace"))

    def put(self, line: bytes) -> None:
        """One message, without the line's end; from any thread."""
        if self._lines.qsize() < self._kept_lines:
            self._lines.put(line[:MAX_LINE_BYTES] + b"\n")
        else:
            self._count_dropped()

    def _count_dropped(self) -> None:
        with self._counting:
            self.dropped += 1

    def _write_on(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
            elif not self._written(line):
                self._count_dropped()
            elif self.dropped and self._lines.empty():
                self._say_dropped()

    def _say_dropped(self) -> None:
        dropped = self.dropped
        words = f"vio4wd.log WARNING {dropped} messages were dropped here, since nobody read them or they had no room\n"
        if self._written(words.encode()):
            with self._counting:
                self.dropped -= dropped

    def _written(self, line: bytes) -> bool:
        """Waits as long as it takes; False when it can't be."""
        left = memoryview(line)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another program has set this for all that share the descriptor
                self._wait_for_room()
            except OSError:
                return False
        return True

    def _wait_for_room(self) -> None:
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLOUT)
        waiting.poll(1000)

    def flush(self) -> None:
        """Waits until all that was said is written, not longer than FLUSH_WITHIN_S."""
        done = threading.Event()
        self._lines.put(done)
        done.wait(FLUSH_WITHIN_S)


def start_without_signals(thread: threading.Thread) -> None:
    """Who waits for signals, or has handlers for them, is the main thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def log_to_stderr() -> LogWriter:
    """For commands that stay. Until somebody knows better, from info on. What would else end in a traceback on
    standard error, which may have to wait for a reader, is logged as well."""
    writer = LogWriter(STDERR)
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[writer], format=FORMAT)
    log_from("info")
    sys.excepthook = _log_fault
    threading.excepthook = _log_thread_fault
    sys.unraisablehook = _log_unraisable
    return writer


def _log_fault(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    LOG.critical("ended by a fault of its own", exc_info=(kind, fault, trace))


def _log_thread_fault(hook: threading.ExceptHookArgs) -> None:
    if hook.exc_value is not None:
        LOG.critical("a thread has ended by a fault", exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))


def _log_unraisable(hook: sys.UnraisableHookArgs) -> None:
    if hook.exc_value is not None:
        LOG.error("a fault went by: %r", hook.object, exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))


def log_from(level: str) -> None:
    """Whatever is less severe than this one of LEVELS is not logged from now on."""
    logging.getLogger("vio4wd").setLevel(THRESHOLDS[level])


def holds_token(text: str) -> bool:
    """Whether a spec, a plan or other text has a VF token in it."""
    return _VALUE.search(text) is not None


def without_token(text: str) -> str:
    """The text with SECRET in place of each VF token, and of who is named in a URL, with his password."""
    return _IN_URL.sub(SECRET, _VALUE.sub(rf"\1{SECRET}", text))


def lacks_token(text: str) -> bool:
    """Whether a plan has SECRET where it once had a VF token."""
    return re.search(rf'"{KEY}"\s*:\s*"{re.escape(SECRET)}"', text) is not None


class ChangeLog:
    """By what it is about."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, str] = {}

    def tell(self, about: str, fault: str, words: str, healed: str) -> None:
        """`words` has a place for the fault; nothing is said of its end where `healed` is empty."""
        before, self._last[about] = self._last.get(about, ""), fault
        if fault == before:
            return
        if fault:
            self._log.warning(words, fault)
        elif healed:
            self._log.info(healed)
