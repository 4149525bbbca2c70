"""A directory of files on this host, beside the file that names it."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.sources.reader import unpacked
from reconciler.sources.source import Reading, SourceError
from schema.nodes import shown
from schema.spec import DirectorySpec

INTERVAL_S = 5.0
"""How often it is read though nothing tells of a change: a network file system tells of none that others make."""
ANSWER_S = 10.0
"""A file system that has not answered by then hangs."""
READER = (sys.executable, "-P", "-m", "reconciler.sources.reader")


@dataclass(slots=True)
class DirectorySource:
    """Read by a process of its own, which may hang in a file system without end."""

    spec: DirectorySpec
    hosts: Callable[[], Sequence[str]]
    """The names of this host, asked at each reading."""
    _changed: Callable[[], None] | None = None
    _reader: _Reader | None = None
    _hanging: _Reader | None = None
    """One that did not answer, and may be there still."""
    _latest: Reading | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def interval_s(self) -> float:
        return INTERVAL_S

    def follow(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def read(self, in_force: str) -> Reading:  # noqa: ARG002 - it has no revisions
        answer = self._asked()
        if "tree" in answer:
            self._latest = Reading(unpacked(answer["tree"]))
        elif "problem" in answer:
            self._latest = None
            raise SourceError(answer["problem"])
        if self._latest is None:
            raise SourceError(f"{shown(self.spec.path)} is being written")
        return self._latest

    def _asked(self) -> dict[str, Any]:
        """Raises SourceError."""
        if self._hanging is not None:
            if self._hanging.is_alive():
                raise self._silent()
            self._hanging = None
        if self._reader is None or not self._reader.is_alive():
            self._reader = _Reader(self.spec.path, self._changed)
        if self._stopped.is_set():  # `stop` may have looked before there was this one
            self._reader.kill()
        try:
            return self._reader.ask(list(self.hosts()))
        except queue.Empty:
            self._reader.kill()
            self._reader, self._hanging = None, self._reader
            raise self._silent() from None
        except OSError as error:
            self._reader.kill()
            self._reader = None
            raise SourceError(f"{shown(self.spec.path)} can't be read: {error}") from None

    def _silent(self) -> SourceError:
        return SourceError(
            f"{shown(self.spec.path)} does not answer: its file system hangs, as one does whose server has gone; "
            "it is read again when that answers"
        )

    def stop(self) -> None:
        self._stopped.set()
        for reader in (self._reader, self._hanging):
            if reader is not None:
                reader.kill()


class _Reader:
    """The process. Raises OSError where none can be started."""

    def __init__(self, path: str, changed: Callable[[], None] | None) -> None:
        self._changed = changed
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [*READER, path, *(["--watch"] if changed is not None else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        threading.Thread(target=self._listen, name=f"what is read of {path}", daemon=True).start()

    def ask(self, hosts: Sequence[str]) -> dict[str, Any]:
        """Raises queue.Empty when it says nothing in time, OSError when it has ended."""
        assert self._process.stdin is not None, "it was asked for"
        self._process.stdin.write(f"{json.dumps(hosts)}\n".encode())
        self._process.stdin.flush()
        answer = self._answers.get(timeout=ANSWER_S)
        if not answer:
            raise BrokenPipeError("the process that reads it has ended")
        return answer

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Without waiting: it may hang where no signal reaches it, and ends then when the file system answers."""
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGKILL)

    def _listen(self) -> None:
        """Until it has ended, on a thread of its own; then the answer that is waited for is an empty one."""
        assert self._process.stdout is not None, "it was asked for"
        with self._process.stdout as output:
            for line in output:
                value = json.loads(line)
                if "touched" not in value:
                    self._answers.put(value)
                elif self._changed is not None:
                    self._changed()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._answers.put({})
