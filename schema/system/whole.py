"""All of a running process is in memory before it is ready: an upgrade beside it replaces the files that a module would
be read from, or takes them away for a moment."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

BY_OTHERS = (
    "difflib", "encodings.idna", "jsonschema", "linecache", "textwrap", "traceback", "unicodedata", "yaml"
)  # fmt: skip
"""What libraries and we import only when they need it."""


def own_version() -> str:
    """As it is installed at the moment; to be asked once, at the start."""
    try:
        return version("vio4wd")
    except PackageNotFoundError:
        return "unknown"


def import_all(packages: Iterable[str], but: Iterable[str] = ()) -> None:
    """Every module of these packages, but those below `but`. What can't be imported is left for whoever needs it."""
    left_out = tuple(but)
    for name in BY_OTHERS:
        _import(name)
    for package in packages:
        path = importlib.import_module(package).__path__
        for found in pkgutil.walk_packages(path, f"{package}.", onerror=lambda _: None):
            if not found.name.startswith(left_out):
                _import(found.name)


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        return
