"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from schema.model import MAX_RELAYS
from schema.paths import DEFAULT_FILE, DEFAULTS_FILE

if TYPE_CHECKING:
    from reconciler.desired.local import Local

UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def file_argument(parser: argparse.ArgumentParser, what: str = "the spec") -> None:
    """For `local`."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", default=DEFAULT_FILE, help=f"{what} (default: {DEFAULT_FILE})"
    )
    instead = f"virtio-forwarder's configuration file in place of a spec (default: {DEFAULTS_FILE})"
    either.add_argument("--defaults", metavar="FILE", type=Path, nargs="?", const=DEFAULTS_FILE, help=instead)


def local(asked: argparse.Namespace) -> Local:
    """What the command is to read again and again, if it likes. Raises SpecError."""
    from reconciler.desired.local import Local

    _require_utf_8(asked.file if asked.defaults is None else asked.defaults)
    return Local(asked.file) if asked.defaults is None else Local(asked.defaults, defaults=True)


def once(asked: argparse.Namespace) -> Local:
    """What the command is to read now: also standard input (`-`), or a pipe. Raises SpecError."""
    return local(asked) if asked.defaults is not None else at_once(asked.file)


@functools.cache
def at_once(path: Path) -> Local:
    """What stands at a path that a command was given; of a pipe, what comes through it, which is read only once."""
    from reconciler.desired.local import DASH, Local
    from schema.loading.loader import read_stream

    _require_utf_8(path)
    stream = read_stream(0 if path == DASH else path) if path == DASH or _is_stream(path) else None
    return Local(path, stream=stream)


def _require_utf_8(path: Path) -> None:
    """By its path a file's last good spec is kept, in a database whose texts are UTF-8. Raises SpecError."""
    from schema.loading.loader import refused
    from schema.nodes import shown

    whole = os.path.abspath(path)
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise refused(shown(whole), "this path is not UTF-8; rename the file or its directory") from None


def _is_stream(path: Path) -> bool:
    import stat

    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False  # who reads it has the words
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON on standard output")


def allow_destroy_argument(parser: argparse.ArgumentParser) -> None:
    what = "let this relay be removed whatever guards it (again for each)"
    parser.add_argument("--allow-destroy", metavar="relay:ID", type=relay_name, action="append", default=[], help=what)


def relay_name(text: str) -> str:
    """A relay as plans name it: `relay:3`."""
    kind, _, number = text.partition(":")
    if kind != "relay" or not number.isdecimal() or str(int(number)) != number or int(number) >= MAX_RELAYS:
        raise argparse.ArgumentTypeError(f"'{text}' is no relay; name it as plans do, such as relay:3")
    return text


def duration(text: str) -> float:
    """A time above zero, in seconds: `90`, `90s`, `5m`, `24h`, `7d`."""
    number, factor = (text[:-1], UNITS_S[text[-1]]) if text[-1:] in UNITS_S else (text, 1.0)
    try:
        value = float(number) * factor
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is no time; write it as 60s, 5m, 24h or 7d")
    return value


def target_argument(parser: argparse.ArgumentParser) -> None:
    what = "only this relay and what it needs (again for each)"
    parser.add_argument("--target", metavar="relay:ID", type=relay_name, action="append", default=[], help=what)


def positive(text: str) -> float:
    """A number of seconds above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds above 0")
    return value


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number of 0 or more")
    return int(text)


def asking() -> str:
    """The user who runs this command, by name where there is one; behind sudo too."""
    import getpass

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
