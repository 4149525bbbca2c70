"""Reads a directory in a process of its own: where its file system hangs, only that process hangs with it, and cannot
even be killed.

It is told on standard input, a line each: `["node1.example.com", "node1"]` reads the directory for a host of these
names, and is answered by a line with what it says, what is wrong, or `{"half": true}` while somebody is writing there.
`{"touched": true}` comes unasked. It ends with its input.
"""

from __future__ import annotations

import base64
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

from reconciler.sources.file_watch import FileWatch
from reconciler.sources.files import read_path
from schema import SpecError, Text, Tree
from schema.nodes import shown

DEBOUNCE_S = 0.05
"""As the watch's own, see reconciler.watch.schedule.Timing."""
WRITING_S = 1.0
PATIENCE_S = 5.0


class Calm:
    """When files that somebody is writing may be read. Told of touches; `now` is in seconds of any steady clock."""

    def __init__(self) -> None:
        self.due: float | None = None
        """When what was touched may be read; None: nothing was."""
        self._first = 0.0
        self._writing = False

    def touched(self, now: float, writing: bool) -> None:
        """Something happened; `writing`: and is not at its end."""
        if self.due is None:
            self._first = now
        self._writing = writing
        self.due = min(now + (WRITING_S if writing else DEBOUNCE_S), self._first + PATIENCE_S)

    def is_half(self, now: float) -> bool:
        """Whether what stands there now may be half of what is meant."""
        return self._writing and self.due is not None and now < self.due

    def is_due(self, now: float) -> bool:
        """Whether it is to be read now, which is then forgotten."""
        if self.due is None or now < self.due:
            return False
        self.due, self._writing = None, False
        return True


class Reader:
    """`run` until the input ends."""

    def __init__(self, path: Path, watch: FileWatch | None) -> None:
        self._path = path
        self._watch = watch
        self._calm = Calm()

    def run(self) -> None:
        inputs: list[Any] = [sys.stdin, *([self._watch] if self._watch is not None else [])]
        while True:
            wait_s = None if self._calm.due is None else max(0.0, self._calm.due - time.monotonic())
            ready, _, _ = select.select(inputs, [], [], wait_s)
            self._hear()
            if sys.stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                _say(self._read(json.loads(line)))
            if self._calm.is_due(time.monotonic()):
                _say({"touched": True})

    def _hear(self) -> bool:
        touch = self._watch.touched() if self._watch is not None else None
        if touch is not None:
            self._calm.touched(time.monotonic(), touch.writing)
        return touch is not None

    def _read(self, hosts: list[str]) -> dict[str, Any]:
        if self._watch is not None:
            self._watch.arm(self._path)
        if self._calm.is_half(time.monotonic()):
            return {"half": True}
        if not os.path.isdir(self._path):
            name = shown(str(self._path))
            return {"problem": f"{name} is no directory; make it, or take it out of sources"}
        try:
            tree = read_path(self._path, hosts)
        except SpecError as error:
            return {"half": True} if self._hear() else {"problem": str(error)}
        return {"half": True} if self._hear() else {"tree": packed(tree)}


def packed(tree: Tree) -> dict[str, Any]:
    """As JSON can carry it."""
    over = _packed(tree.over) if tree.over is not None else None
    return {"base": [_packed(text) for text in tree.base], "over": over, "host": tree.host}


def unpacked(value: dict[str, Any]) -> Tree:
    over = _unpacked(value["over"]) if value["over"] is not None else None
    return Tree(tuple(_unpacked(text) for text in value["base"]), over, host=value["host"])


def _packed(text: Text) -> list[str]:
    return [text.name, base64.b64encode(text.content).decode("ascii")]


def _unpacked(value: list[str]) -> Text:
    return Text(value[0], base64.b64decode(value[1]))


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Reader(Path(sys.argv[1]), FileWatch() if "--watch" in sys.argv[2:] else None).run()
