"""Real guests: a Debian kernel in QEMU, in software emulation, with its virtio NIC on a vhost-user socket.

`tests/lab/guest-vm` boots them; see there for what a guest is made of.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kit import cleanup
from tests.kit.network.netns import Tap
from tests.kit.paths import ROOT
from tests.kit.waiting import wait_for

SCRIPT = ROOT / "tests" / "lab" / "guest-vm"
MAC = "52:54:00:00:77:01"
"""One for all, so that a guest that boots again is found without asking by ARP."""
BOOT_S = 120.0
"""About 6 s where nothing else runs."""
LIMIT_S = 1200
"""Ends a QEMU that nobody ended."""


class QemuGuest:
    """One guest, booting from when it is entered; `wait_up` waits until its NIC has its address.

    With `serves`, QEMU makes the socket and waits for vio4wd, else it connects, again and again. With `command` its
    root is this host's file system, and it runs that; such a guest can't be migrated. `incoming` is a URI on which it
    waits to be migrated to. On a `Tap` it is a guest of a host without vio4wd, within the tap's namespace. What it says
    is in `console`.
    """

    def __init__(
        self,
        nic: Path | Tap,
        address: str,
        serves: bool = False,
        command: str = "",
        queues: int = 1,
        incoming: str = "",
        features: Sequence[str] = (),
    ) -> None:
        self._nic = nic
        self._address = address
        self._serves = serves
        self._command = command
        self._queues = queues
        self._incoming = incoming
        self._features = features
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = cleanup.short_directory()
        self.qmp_path = self.directory / "qmp"

    def command_line(self) -> list[str]:
        line = [str(SCRIPT), "-a", self._address, "-t", str(LIMIT_S), "-Q", str(self.qmp_path)]
        line += ["-T", self._nic.name] if isinstance(self._nic, Tap) else ["-s", str(self._nic)]
        line += ["-q", str(self._queues), "-f", ",".join([f"mac={MAC}", *self._features])]
        line += ["-c"] if self._serves else []
        line += ["-i", self._incoming] if self._incoming else []
        line += ["-r", "--", self._command] if self._command else []
        return self._nic.namespace.command(line) if isinstance(self._nic, Tap) else line

    def __enter__(self) -> Self:
        cleanup.register(self, self.end)
        with (self.directory / "console").open("wb") as console:
            self._process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    @property
    def console(self) -> str:
        return (self.directory / "console").read_text(errors="replace")

    @property
    def boots(self) -> int:
        """How often its console said that it was up; more than 1 would be a crash."""
        return self.console.count("GUEST UP")

    def wait_up(self) -> None:
        """Raises AssertionError with the console's last lines."""
        try:
            wait_for("the guest to be up", self._is_up, BOOT_S, 0.1)
        except AssertionError as error:
            raise type(error)(f"{error}; its console ends so:\n{self.console[-2000:]}") from error

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the guest has ended with {self._process.returncode}"
        return self.boots > 0

    @property
    def pid(self) -> int:
        """QEMU's own process. Raises AssertionError when there is none."""
        found = [pid for pid in self._session() if _name(pid).startswith("qemu-system")]
        assert found, f"QEMU has ended\n{self.console[-2000:] if self.directory.exists() else ''}"
        return found[0]

    def _session(self) -> list[int]:
        """Every process that the script started and that still lives."""
        leader = self._process.pid if self._process is not None else 0
        return [pid for pid in map(int, (p.name for p in Path("/proc").glob("[0-9]*"))) if _session_of(pid) == leader]

    def qmp(self) -> Qmp:
        """QEMU's monitor."""
        wait_for("QEMU's monitor", self.qmp_path.is_socket, 30.0)
        return Qmp(self.qmp_path)

    def kill(self) -> None:
        """SIGKILL to QEMU, as a crash does it: a socket that it made stays."""
        os.kill(self.pid, signal.SIGKILL)
        self._stop()

    def end(self) -> None:
        """End QEMU and remove what it left."""
        self._stop()
        if self._serves and isinstance(self._nic, Path):
            self._nic.unlink(missing_ok=True)

    def _stop(self) -> None:
        cleanup.release(self)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._session():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if self._ended():
                break
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ended(self) -> bool:
        with contextlib.suppress(AssertionError):
            wait_for("the guest to end", self._is_over, 10.0)
            return True
        return False

    def _is_over(self) -> bool:
        return (self._process is None or self._process.poll() is not None) and not self._session()


class Qmp:
    """QEMU's monitor protocol: one command, one answer; events in between are passed over."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60.0)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r")
        self._lines.readline()
        self.execute("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lines.close()
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """What QEMU returns. Raises AssertionError with its words when it refuses."""
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            line = self._lines.readline()
            assert line, f"QEMU has closed its monitor before it answered {command}"
            answer = json.loads(line)
            assert "error" not in answer, f"{command}: {answer['error'].get('desc')}"
            if "return" in answer:
                return answer["return"]


def _session_of(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[3])
    return -1


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "comm").read_text().strip()
    return ""
