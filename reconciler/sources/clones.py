"""Where repositories are kept under the state directory, and which of them are no longer needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from reconciler.sources.credentials import remote_of
from schema.spec import GitSpec
from schema.system.locks import Locked, locked

FOLDER = "sources"
UNUSED_S = 86400.0
"""One that nobody names any more is kept so long: plans of other files are made here, too."""


def clone_of(spec: GitSpec, state_dir: Path) -> Path:
    """Of a password that stands in the URL nothing is to be found out from its name."""
    return state_dir / FOLDER / f"{digest(remote_of(spec.url).url)}.git"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def forget_clones(state_dir: Path, wanted: Iterable[GitSpec]) -> None:
    """Removes what no source has used for a day, and none of these names."""
    needed = {clone_of(spec, state_dir) for spec in wanted}
    with contextlib.suppress(OSError):
        for lock in (state_dir / FOLDER).glob("*.lock"):
            clone = lock.with_suffix(".git")
            if clone not in needed and time.time() - os.stat(lock).st_mtime > UNUSED_S:
                with contextlib.suppress(Locked, OSError), locked(lock):
                    shutil.rmtree(clone, ignore_errors=True)
                    lock.unlink()
