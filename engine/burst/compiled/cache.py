"""Where Numba keeps machine code between starts.

Numba's own key is the file of the outermost function: a changed helper or offset in another file would go on serving
stale code. So the directory is named by a hash of everything that the code is made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from engine.burst.compiled import burst_size
from schema.system import locks
from schema.system.files import PRIVATE_DIRECTORY, make_directory

log = logging.getLogger("vio4wd.engine")

_ENGINE = Path(__file__).parents[2]
LOCK = "lock"
LOCKED_AT_MOST_S = 300.0
"""Whoever compiles for longer hangs."""
KEPT = 8
"""Directories of other releases, and of other sources of this one."""
UNUSED_S = 7 * 86400.0
"""More than that many are removed when nobody has used them for so long."""
DIGITS = 16
_SOURCES = ("burst/**/*.py", "dpdk/layout.py", "dpdk/installed.py")


def fingerprint(dpdk_version: str) -> str:
    """16 hex digits that change when a burst source, what was chosen for it, a layout, Numba or DPDK does."""
    made_by = f"{version('numba')} {version('llvmlite')} {dpdk_version} {burst_size.burst}\n"
    digest = hashlib.sha256(made_by.encode())
    for path in sources():
        digest.update(f"{path.relative_to(_ENGINE)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:DIGITS]


def sources() -> list[Path]:
    """The files that the code is made from, in the order in which they are hashed."""
    return [path for pattern in _SOURCES for path in sorted(_ENGINE.glob(pattern))]


@contextlib.contextmanager
def numba_cache(base: Path, dpdk_version: str) -> Iterator[Path]:
    """Points Numba, which must not be imported yet, at its directory; held so that only one process compiles.

    What is damaged there is compiled anew. Where nothing can be kept, or others could change it, Numba compiles into
    memory at each start. Either is said once.
    """
    directory = base / fingerprint(dpdk_version)
    os.environ["NUMBA_CACHE_DIR"] = str(directory)
    # LLVM would sum packet lengths by gathers, several times slower than loads of words just written to the L1 cache.
    os.environ["NUMBA_LOOP_VECTORIZE"] = "0"
    from engine.burst.compiled.checked import checked

    against = _against(directory)
    with contextlib.ExitStack() as held, checked(on=not against) as troubles:
        if not against:
            held.enter_context(_locked(directory / LOCK))
            _forget_old(base, directory)
        yield directory
    if against or "kept" in troubles:
        log.warning("compiled loops can't be kept (%s): they are compiled at each start", against or troubles["kept"])
    if "damaged" in troubles:
        log.warning("compiled loops were damaged (%s) and have been compiled anew", troubles["damaged"])


def _against(directory: Path) -> str:
    """Why nothing in it can be used; empty when it can."""
    from engine.burst.compiled.checked import is_safe

    try:
        make_directory(directory, mode=PRIVATE_DIRECTORY)
        safe = is_safe(directory)
    except OSError as error:
        return f"{directory}: {error.strerror}"
    return "" if safe else f"others could change what is in {directory}; take away their right to write there and above"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by nobody else, if that succeeds in time; the time of its file is that of the latest use."""
    descriptor = None
    with contextlib.suppress(OSError):  # a disk that is full or read-only: compiling twice does no harm
        descriptor = locks.take_within(path, LOCKED_AT_MOST_S)
        os.utime(path, follow_symlinks=False)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _forget_old(base: Path, current: Path) -> None:
    """Directories of other releases, the longest unused first; those that are in use are never old."""
    used: list[tuple[float, Path]] = []
    for directory in base.glob("[0-9a-f]" * DIGITS):
        with contextlib.suppress(OSError):
            used.append(((directory / LOCK).stat().st_mtime, directory))
    for at, directory in sorted(used, reverse=True)[KEPT:]:
        if directory != current and time.time() - at > UNUSED_S:
            shutil.rmtree(directory, ignore_errors=True)
