"""What a command was told to read on this host: a spec, or virtio-forwarder's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reconciler.desired import SpecUnfit
from reconciler.host import Host
from reconciler.sources.files import read_path
from reconciler.wanted import Beside, Wanted, wanted
from schema import Spec, Text, Tree
from schema.spec import FILE, STATIC


@dataclass(frozen=True, slots=True)
class Local:
    """Where it is, and how it is read."""

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

    def judge(self, spec: Spec, known: Beside, host: Host) -> Wanted:
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
