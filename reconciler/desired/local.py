"""What a command was told to read on this host: a spec, or virtio-forwarder's configuration file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.host.refusal import SpecUnfit
from reconciler.sources.files import read_path
from schema import Text, Tree
from schema.spec import FILE, STATIC

DASH = Path("-")
STDIN = "<stdin>"


@dataclass(frozen=True, slots=True)
class Local:
    """Where it is, and how it is read."""

    path: Path
    """A spec's is a file, or a directory of files."""
    defaults: bool = False
    """Whether it is virtio-forwarder's."""
    stream: bytes | None = None
    """What came through it, where it can be read only once: a pipe, or standard input."""

    def __str__(self) -> str:
        """As it stands in messages."""
        return STDIN if self.path == DASH else str(self.path)

    @property
    def absolute(self) -> str:
        """Where it is, whoever asks; empty for what can't be read again."""
        return os.path.abspath(self.path) if self.stream is None else ""

    def read(self, hosts: Sequence[str]) -> Tree:
        """For a host of these names. Raises SpecError."""
        if self.stream is not None and not self.defaults:
            return Tree((Text(str(self), self.stream),))
        if not self.defaults:
            return read_path(self.path, hosts)
        from reconciler.legacy.defaults import read_defaults

        return read_defaults(self.path)

    def in_its_words(self, unfit: SpecUnfit) -> SpecUnfit:
        """Why this host can't have what it says, in the words of what was read."""
        if not self.defaults:
            return unfit
        from reconciler.legacy.defaults import in_its_words

        return SpecUnfit((in_its_words(self.path, reason) for reason in unfit.reasons), unfit.codes)

    def once(self, text: str) -> Tree:
        """What it said when it was read as this text."""
        return Tree((Text(str(self.path), text.encode()),), owner=STATIC if self.defaults else FILE)
