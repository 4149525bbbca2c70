"""Where Numba keeps machine code between starts.

Numba's own key is the file of the outermost function: a changed helper or offset in another file would go on serving
stale code. So the directory is named by a hash of everything that the code is made from.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from engine.burst import chosen

_ENGINE = Path(__file__).parent.parent
_SOURCES = ("burst/*.py", "dpdk/layout.py", "dpdk/installed.py")


def fingerprint(dpdk_version: str) -> str:
    """16 hex digits that change when a burst source, what was chosen for it, a layout, Numba or DPDK does."""
    made_by = f"{version('numba')} {version('llvmlite')} {dpdk_version} {chosen.burst}\n"
    digest = hashlib.sha256(made_by.encode())
    for pattern in _SOURCES:
        for path in sorted(_ENGINE.glob(pattern)):
            digest.update(f"{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def numba_cache(base: Path, dpdk_version: str) -> Iterator[Path]:
    """Points Numba, which must not be imported yet, at its directory; held so that only one process compiles.

    Where the directory cannot be made, Numba compiles into memory at each start.
    """
    directory = base / fingerprint(dpdk_version)
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(directory)
    # LLVM would sum packet lengths by gathers, several times slower than loads of words just written to the L1 cache.
    os.environ["NUMBA_LOOP_VECTORIZE"] = "0"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory
