"""Open vSwitch's database: a real ovsdb-server and the real ovs-vsctl, without a switch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kit import cleanup
from tests.kit.paths import ROOT
from tests.kit.waiting import wait_for

UNPACKED = ROOT / ".cache/ovs"
"""Where scripts/bootstrap unpacks what it does not install."""
BRIDGE = "br-virtio"


def _found(name: str) -> Path | None:
    here = (shutil.which(name), UNPACKED / "usr/bin" / name, UNPACKED / "usr/share/openvswitch" / name)
    installed = Path("/usr/share/openvswitch", name)
    return next((Path(path) for path in (*here, installed) if path is not None and Path(path).exists()), None)


def missing() -> str | None:
    """What of it is not here, in words."""
    names = ("ovsdb-server", "ovsdb-tool", "ovs-vsctl", "vswitch.ovsschema")
    return next((f"{name} of Open vSwitch" for name in names if _found(name) is None), None)


class OvsdbServer:
    """A database in a directory, with a server that may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "db.sock"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        cleanup.register(self, self.kill)
        self.create()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()
        cleanup.release(self)

    def create(self, name: str = "conf.db") -> None:
        """A new empty database file."""
        path = self._directory / name
        path.unlink(missing_ok=True)
        self._call("ovsdb-tool", "create", str(path), str(_found("vswitch.ovsschema")))

    def start(self, name: str = "conf.db") -> None:
        line = [
            str(_found("ovsdb-server")),
            str(self._directory / name),
            f"--remote=punix:{self.socket}",
            f"--unixctl={self._directory}/ovsdb.ctl",
            "--no-chdir",
            "-vconsole:off",
            "-vsyslog:off",
        ]
        self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL)
        wait_for("ovsdb-server", self._answers, 60.0)
        self.vsctl("init")

    def _answers(self) -> bool:
        return self.socket.exists() and self.vsctl("show", check=False) is not None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """As kill -9 does; a second call does nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def vsctl(self, *arguments: str, check: bool = True) -> str | None:
        """`ovs-vsctl`, which has no switch to wait for here. None where it failed and `check` is not asked for."""
        return self._call("ovs-vsctl", f"--db=unix:{self.socket}", "--no-wait", "--timeout=60", *arguments, check=check)

    def unload(self) -> None:
        """The server goes on without the database."""
        self._control("ovsdb-server/remove-db", "Open_vSwitch")

    def load(self, name: str = "conf.db") -> None:
        self._control("ovsdb-server/add-db", str(self._directory / name))

    def _control(self, *command: str) -> None:
        self._call("ovs-appctl", "-t", str(self._directory / "ovsdb.ctl"), *command)

    def fill(self, interfaces: int, mark_every: int) -> None:
        """Adds many interfaces named far0, far1 ... on a bridge of their own, some of them marked."""
        rows = []
        for number in range(interfaces):
            mark = ["map", [["virtio_forwarder", "1"]] if number % mark_every == 0 else []]
            row = {"name": f"far{number}", "external_ids": mark}
            port = {"name": f"far{number}", "interfaces": ["named-uuid", f"i{number}"]}
            rows.append({"op": "insert", "table": "Interface", "row": row, "uuid-name": f"i{number}"})
            rows.append({"op": "insert", "table": "Port", "row": port, "uuid-name": f"p{number}"})
        ports = ["set", [["named-uuid", f"p{number}"] for number in range(interfaces)]]
        bridge = {"op": "insert", "table": "Bridge", "row": {"name": "far", "ports": ports}, "uuid-name": "b"}
        added = [["bridges", "insert", ["named-uuid", "b"]]]
        root = {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": added}
        self.transact(["Open_vSwitch", *rows, bridge, root])

    def transact(self, transaction: list[Any]) -> None:
        """As `ovsdb-client transact` does; that takes the transaction by its command line only, which is too short."""
        with socket.socket(socket.AF_UNIX) as server:
            server.settimeout(60.0)
            server.connect(str(self.socket))
            server.sendall(json.dumps({"id": 1, "method": "transact", "params": transaction}).encode())
            answer = b""
            while not (answer.endswith(b"}") and _is_json(answer)):
                answer += server.recv(1 << 20)
        assert not any("error" in (each or {}) for each in json.loads(answer)["result"]), answer[-500:]

    def bridge(self) -> None:
        self.vsctl("--may-exist", "add-br", BRIDGE)

    @staticmethod
    def _call(program: str, *arguments: str, check: bool = True) -> str | None:
        line = [str(_found(program)), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0 and check:
            raise AssertionError(f"{' '.join(line)} ended with {done.returncode}: {done.stderr}")
        return done.stdout if done.returncode == 0 else None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
