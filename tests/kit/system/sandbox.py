"""A host inside of this one: mount, network and PID namespaces of its own over an overlay of the whole file system, so
that everything that root does to files in there is seen in one directory, and nothing of it stays."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit import cleanup
from tests.kit.waiting import wait_for

SETUP = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$OVER/upper,workdir=$OVER/work" "$OVER/merged"
cd "$OVER/merged"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
for each in dev run tmp; do mount -t tmpfs tmpfs "$each"; done
chmod 1777 tmp
mkdir -p dev/shm dev/net dev/hugepages
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/net/tun c 10 200
ip link set lo up
for each in $BINDS; do mkdir -p ".$each"; mount --bind "$each" ".$each"; done
exec chroot . /bin/sh -c 'cd /; touch /run/made; "$@" & wait' sh "$@"
"""
"""The kernel's own settings are read-only in there: they are those of this host."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that is not as it was."""

    path: str
    kind: str
    """`removed`, `file`, `directory`, `socket` or `other`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


class Sandbox:
    """One program in a host of its own, as its root. `binds`: directories of this host that it has too."""

    def __init__(self, line: Sequence[str], environment: dict[str, str], binds: Sequence[Path]) -> None:
        self.directory = cleanup.short_directory("/var/tmp")
        self.log_file = self.directory / "log"
        self._line = line
        self._environment = {**environment, "BINDS": " ".join(map(str, binds)), "OVER": str(self.directory / "over")}
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0
        """The process that is number 1 in there."""

    def __enter__(self) -> Self:
        cleanup.register(self, self.end)
        over = self.directory / "over"
        over.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", over], check=True)
        for name in ("upper", "work", "merged"):
            (over / name).mkdir()
        line = ["unshare", "-m", "-n", "-p", "--fork", "--kill-child", "sh", "-c", SETUP, "sh", *self._line]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                line, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_for("the cell", lambda: (self.root / "run/made").exists(), 60.0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()
        cleanup.release(self)

    def end(self) -> None:
        """With everything in it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            wait_for("the cell's end", lambda: not Path(f"/proc/{self._first}").exists(), 60.0)
            subprocess.run(["umount", "-l", self.directory / "over"], check=True)
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def root(self) -> Path:
        """Its file system, as this host reaches it."""
        if not self._first:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            outer = self._process.pid
            children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
            if not children:
                return Path("/nonexistent")
            if os.readlink(f"/proc/{children[0]}/root") == "/":
                return Path("/nonexistent")  # not yet in there
            self._first = int(children[0])
        return Path(f"/proc/{self._first}/root")

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def programs(self) -> dict[int, str]:
        """What runs in there, by its number there: its command line."""
        found = {}
        for each in (self.root / "proc").iterdir():
            if each.name.isdigit():
                try:
                    found[int(each.name)] = (
                        (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
                except OSError:
                    continue  # it ended meanwhile
        return found

    def changes(self) -> Iterator[Change]:
        """What was made, removed or changed, but for what lies on file systems of its own: /run, /tmp, /dev and the
        `binds`. A directory in which only something else changed is none."""
        upper = self.directory / "over/upper"
        for folder, directories, files in os.walk(upper):
            for name in (*directories, *files):
                path = Path(folder, name)
                there = f"/{path.relative_to(upper)}"
                kind = _kind(path)
                if kind and (kind != "directory" or _differs(path, Path(there))):
                    yield Change(there, kind)


def _kind(path: Path) -> str:
    """Empty: it went while it was looked for."""
    try:
        about = os.lstat(path)
    except OSError:
        return ""
    if stat.S_ISCHR(about.st_mode) and about.st_rdev == 0:
        return "removed"  # overlayfs's whiteout
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(about.st_mode), "other")


def _differs(now: Path, before: Path) -> bool:
    try:
        was, new = os.lstat(before), os.lstat(now)
    except OSError:
        return True
    return (new.st_mode, new.st_uid, new.st_gid) != (was.st_mode, was.st_uid, was.st_gid)
