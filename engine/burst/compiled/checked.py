"""Machine code on disk that is only used when it is what was written, by us. Numba would run whatever it finds there,
end with an error on an empty file, and not compile at all where it can't write."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import pickle
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numba.core import caching

DIGEST_BYTES = hashlib.sha256().digest_size
_Locator: Any = getattr(caching, "UserProvidedCacheLocator", None) or caching._UserProvidedCacheLocator


class Keeping:
    """Whether files are to be used at all, and what was wrong with them."""

    on = True
    troubles: dict[str, str]
    """Each kind of trouble once, with an example."""


Keeping.troubles = {}


class Locator(_Locator):  # type: ignore[misc]
    """The directory that Numba was told, whether it can be written or not: nothing is kept anywhere else."""

    def ensure_cache_path(self) -> None:
        with contextlib.suppress(OSError):
            os.makedirs(self.get_cache_path(), 0o700, exist_ok=True)


class CheckedFile(caching.IndexDataCacheFile):  # type: ignore[misc]
    """An index and its files of code. Each begins with the digest of the rest."""

    def load(self, key: object) -> Any:
        name = self._load_index().get(key)
        content = _read(self._data_path(name)) if name is not None else None
        return pickle.loads(content) if content is not None else None

    def save(self, key: object, data: object) -> None:
        """The code first: who is killed between the two leaves a file that nothing leads to."""
        if not Keeping.on:
            return
        try:
            known = self._load_index()
            names = map(self._data_name, itertools.count(1))
            name = known.get(key) or next(each for each in names if each not in known.values())
            _write(self._data_path(name), caching.dumps(data))
            caching._cache_log("[cache] data saved to %r", self._data_path(name))
            self._save_index({**known, key: name})
        except OSError as error:
            Keeping.troubles.setdefault("kept", f"{self._cache_path}: {error.strerror}")

    def _load_index(self) -> dict[Any, str]:
        content = _read(self._index_path)
        if content is None:
            return {}
        stamp, known = pickle.loads(content)
        caching._cache_log("[cache] index loaded from %r", self._index_path)
        return known if stamp == self._source_stamp else {}

    def _save_index(self, known: dict[Any, str]) -> None:
        _write(self._index_path, caching.dumps((self._source_stamp, known)))
        caching._cache_log("[cache] index saved to %r", self._index_path)


def _read(path: str) -> bytes | None:
    """None when it is not there, or not to be used."""
    if not Keeping.on:
        return None
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            ours = is_ours(os.fstat(file.fileno()))
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        Keeping.troubles.setdefault("damaged", f"{path}: {error.strerror}")
        return None
    if not ours or hashlib.sha256(content[DIGEST_BYTES:]).digest() != content[:DIGEST_BYTES]:
        Keeping.troubles.setdefault("damaged", path)
        return None
    return content[DIGEST_BYTES:]


def _write(path: str, content: bytes) -> None:
    """Never seen half written. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".new-")
    try:
        with open(descriptor, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def is_ours(about: os.stat_result) -> bool:
    """Whether nobody but root and us may change it."""
    others = stat.S_IWOTH if about.st_gid in (0, os.getegid()) else stat.S_IWOTH | stat.S_IWGRP
    return about.st_uid in (0, os.geteuid()) and not about.st_mode & others


def is_safe(directory: Path) -> bool:
    """Whether nobody else may put files into it, or another one into its place. Raises OSError."""
    if not is_ours(os.lstat(directory)) or not stat.S_ISDIR(os.lstat(directory).st_mode):
        return False
    above = (os.stat(each) for each in directory.absolute().parents)
    return all(is_ours(each) or (each.st_mode & stat.S_ISVTX and each.st_uid == 0) for each in above)


@contextlib.contextmanager
def checked(on: bool) -> Iterator[dict[str, str]]:
    """From now on Numba keeps code in this way, or, not `on`, in memory alone. Gives what was wrong, by its kind."""
    Keeping.on, Keeping.troubles = on, {}
    caching.IndexDataCacheFile = CheckedFile
    caching.CacheImpl._locator_classes = [Locator]
    yield Keeping.troubles
