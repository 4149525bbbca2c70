"""What a command was told to read on this host: a spec, or virtio-forwarder's configuration file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.desired.desired_state import DesiredState, Requests, wanted
from reconciler.host.host import Host
from reconciler.host.refusal import SpecUnfit
from reconciler.sources.files import read_path
from schema import Spec, Text, Tree
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

    def judge(self, spec: Spec, known: Requests, host: Host) -> DesiredState:
        """What is wanted when it says this. Raises SpecUnfit, in the words of what was read."""
        try:
            return wanted(spec, known, host)
        except SpecUnfit as unfit:
            if not self.defaults:
                raise
            from reconciler.legacy.defaults import in_its_words

            raise SpecUnfit((in_its_words(self.path, reason) for reason in unfit.reasons), unfit.codes) from None

    def once(self, text: str) -> Tree:
        """What it said when it was read as this text."""
        return Tree((Text(str(self.path), text.encode()),), owner=STATIC if self.defaults else FILE)
