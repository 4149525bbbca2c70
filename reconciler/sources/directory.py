"""A directory of files on this host, beside the file that names it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from reconciler.sources.files import read_path
from reconciler.sources.shape import Reading, SourceError
from schema.spec import DirectorySpec


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """Read whenever the file is: it takes no time."""

    spec: DirectorySpec
    hostname: str

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def interval_s(self) -> None:
        return None

    def watched(self) -> tuple[Path, ...]:
        return (Path(self.spec.path),)

    def read(self, in_force: str) -> Reading:  # noqa: ARG002 - it has no revisions
        path = Path(self.spec.path)
        if not os.path.isdir(path):
            raise SourceError(f"{path} is no directory; make it, or take it out of sources")
        return Reading(read_path(path, self.hostname))

    def stop(self) -> None:
        """It never waits."""
