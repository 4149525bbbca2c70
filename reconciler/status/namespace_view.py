"""The host's files and network as one process sees them, who is not us: what it may write, and what lies in its way."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from schema.model import Port, Socket
from schema.vf import parse_vf

INTERFACE_ARGS = ("iface", "remote")
"""Arguments of DPDK's af_packet, af_xdp, pcap and tap devices that name an interface of the kernel's."""
ACCEPTS = 1 << 16
"""The flag of a listening socket in /proc/net/unix (__SO_ACCEPTCON)."""


class View:
    """The host as one process sees it: its mounts may be read-only where ours are not, and its network another."""

    def __init__(self, pid: int | None) -> None:
        root = Path(f"/proc/{pid}/root") if pid is not None else Path("/")
        self._root = root if os.access(root, os.X_OK) else Path("/")
        self._net = Path(f"/proc/{pid}/net") if pid is not None and self._root != Path("/") else Path("/proc/self/net")

    def socket_refused(self, socket: Socket, ours: bool) -> str:
        """Why no socket can be opened at its path; empty when it can. `ours`: one of our engines has it now."""
        path = self._root / socket.path.lstrip("/")
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return "" if socket.mode == "client" else self.unwritable(path.parent)
        except OSError as error:
            return f"{socket.path} can't be looked at: {error.strerror}"
        if not stat.S_ISSOCK(found.st_mode):
            return f"{socket.path} exists and is no socket: move it away or choose another path"
        if socket.mode == "client" or ours:
            return ""
        if self._listening(socket.path):
            return f"another process listens on {socket.path}: stop it or choose another path"
        return self.unwritable(path.parent)

    def endpoint_refused(self, path: str) -> str:
        """Why nothing can listen at this path; empty when it can, or somebody does, who is taken to be us."""
        there = self._root / path.lstrip("/")
        if not os.path.lexists(there):
            return self.unwritable(there.parent)
        if not stat.S_ISSOCK(os.lstat(there).st_mode):
            return f"{path} exists and is no socket: move it away or choose another path"
        return ""

    def unwritable(self, directory: Path) -> str:
        """Why nothing can be made in this directory, which itself may have to be made; empty when it can."""
        there = directory
        while not os.path.lexists(there) and there != there.parent:
            there = there.parent
        if not there.is_relative_to(self._root):  # the engine has ended meanwhile
            return ""
        named = self._named(there)
        if not os.path.isdir(there):
            return f"{named} is no directory: move it away or choose another path"
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            return (
                f"{named} is read-only for the engine: mount it writable, choose another directory, or, where a "
                f"systemd unit says what may be written, add to it: ReadWritePaths={self._named(directory)}"
            )
        if not os.access(there, os.W_OK | os.X_OK):
            return f"{named} can't be written to: check its owner and permissions, or choose another directory"
        return ""

    def interface_missing(self, port: Port) -> str:
        """Which interface of the kernel's the port names and this host does not have; empty when it has all."""
        parts = [parse_vf(member) for member in port.members] if port.members else [port]
        there = self._interfaces()
        for part in parts:
            args = dict(word.split("=", 1) for word in part.args.split(",") if "=" in word)
            for name in (args[key] for key in INTERFACE_ARGS if key in args):
                if there is not None and name not in there:
                    return (
                        f"this host has no network interface '{name}', which {part.name} names; check the name with "
                        "ip link, or create it: it is used as soon as it is there"
                    )
        return ""

    def _interfaces(self) -> frozenset[str] | None:
        """None: it can't be told."""
        try:
            lines = (self._net / "dev").read_text().splitlines()
        except OSError:
            return None
        return frozenset(line.partition(":")[0].strip() for line in lines if ":" in line)

    def _listening(self, path: str) -> bool:
        try:
            lines = (self._net / "unix").read_text(errors="replace").splitlines()[1:]
        except OSError:
            return False
        words = (line.split(None, 7) for line in lines)
        return any(len(w) == 8 and w[7] == path and _flags(w[3]) & ACCEPTS for w in words)

    def _named(self, path: Path) -> str:
        """As the engine calls it."""
        return str(Path("/") / path.relative_to(self._root))


def _flags(word: str) -> int:
    """Of a row of /proc/net/unix; 0 in what is none: whoever makes a socket may have line ends in its name."""
    return int(word, 16) if re.fullmatch("[0-9A-Fa-f]{8}", word) else 0
