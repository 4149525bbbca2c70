"""An interactive program on a pseudo-terminal: commands in, what it says out."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import threading
import time
import tty
from collections.abc import Mapping, Sequence
from pathlib import Path


class TerminalError(AssertionError):
    """The program ended or did not answer; the message has its last words."""


class Terminal:
    """A child process on a pty of its own. Everything that it says is read at once, so that it never blocks."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        master, slave = pty.openpty()
        tty.setraw(slave)
        self._master = master
        self._heard = bytearray()
        self._news = threading.Condition()
        self._closed = False
        try:
            self.process = subprocess.Popen(
                command, stdin=slave, stdout=slave, stderr=slave, env=dict(environment), cwd=directory
            )
        except OSError:
            os.close(master)
            raise
        finally:
            os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """Everything said so far."""
        with self._news:
            return self._heard.decode(errors="replace")

    def tell(self, line: str) -> int:
        """Type a line. Gives the position from which an answer is to be looked for."""
        return self.press(f"{line}\n")

    def press(self, keys: str) -> int:
        """As `tell`, without the end of the line."""
        with self._news:
            position = len(self._heard)
        try:
            os.write(self._master, keys.encode())
        except OSError as error:
            raise self._gone() from error
        return position

    def expect(self, words: str, position: int = 0, timeout_s: float = 20.0) -> str:
        """What was said from `position` up to and with `words`. Raises `TerminalError`."""
        wanted = words.encode()
        deadline = time.monotonic() + timeout_s
        with self._news:
            while True:
                found = self._heard.find(wanted, position)
                if found >= 0:
                    return self._heard[position : found + len(wanted)].decode(errors="replace")
                if self._closed:
                    raise self._gone()
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TerminalError(f"{words!r} did not come within {timeout_s:g} s; {self._last_words()}")
                self._news.wait(left_s)

    def end(self, timeout_s: float = 10.0, first: signal.Signals | None = signal.SIGTERM) -> int:
        """Wait for the end (after the signal `first`, if any), by force when `timeout_s` is over. Gives the status."""
        if first is not None and self.process.poll() is None:
            self.process.send_signal(first)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join(2.0)
        with contextlib.suppress(OSError):
            os.close(self._master)
        return status

    def _read(self) -> None:
        while True:
            try:
                heard = os.read(self._master, 65_536)
            except OSError:  # EIO: the last holder of the other end has gone
                heard = b""
            with self._news:
                self._heard += heard
                self._closed = not heard
                self._news.notify_all()
            if not heard:
                return

    def _gone(self) -> TerminalError:
        return TerminalError(f"{self.process.args!r} has ended (status {self.process.poll()}); {self._last_words()}")

    def _last_words(self) -> str:
        return f"its threads are {self._threads()}; it last said:\n{self._heard[-1500:].decode(errors='replace')}"

    def _threads(self) -> str:
        """Each thread's name and state letter, as proc(5) has them."""
        stats = (path / "stat" for path in Path("/proc", str(self.process.pid), "task").glob("*"))
        with contextlib.suppress(OSError):
            return ", ".join(" ".join(stat.read_text().split()[1:3]) for stat in stats) or "gone"
        return "gone"
