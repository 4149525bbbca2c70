"""What a command was told to read on this host: a spec, or virtio-forwarder's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.sources.files import read_path
from schema import Text, Tree
from schema.spec import FILE, STATIC


@dataclass(frozen=True, slots=True)
class Local:
    path: Path
    """A spec's is a file, or a directory of files."""
    defaults: bool = False
    """Whether it is virtio-forwarder's."""

    def read(self, hostname: str) -> Tree:
        """Raises SpecError."""
        if not self.defaults:
            return read_path(self.path, hostname)
        from reconciler.legacy.defaults import read_defaults

        return read_defaults(self.path)

    def once(self, text: str) -> Tree:
        """What it said when it was read as this text."""
        return Tree((Text(str(self.path), text.encode()),), owner=STATIC if self.defaults else FILE)
