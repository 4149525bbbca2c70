"""Who keeps a mount busy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def users_of(path: str) -> list[str]:
    """The processes that have something of this mount open or mapped: `qemu-system-x86 (pid 4711)`, by pid. As far as
    we may look."""
    device = Path(path).stat().st_dev
    pids = sorted(int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    return [f"{_name(pid)} (pid {pid})" for pid in pids if _uses(pid, device)]


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "a process that has ended since"


def _uses(pid: int, device: int) -> bool:
    with contextlib.suppress(OSError):
        return device in _mapped(pid) or any(_device(link) == device for link in _links(pid))
    return False


def _mapped(pid: int) -> Iterator[int]:
    """proc(5): address perms offset dev inode pathname."""
    with Path(f"/proc/{pid}/maps").open(errors="replace") as maps:
        for line in maps:
            major, _, minor = line.split(" ", 4)[3].partition(":")
            yield os.makedev(int(major, 16), int(minor, 16))


def _links(pid: int) -> Iterable[Path]:
    own = Path(f"/proc/{pid}")
    return [own / "cwd", own / "root", *(own / "fd").iterdir()]


def _device(link: Path) -> int | None:
    with contextlib.suppress(OSError):
        return link.stat().st_dev
    return None
