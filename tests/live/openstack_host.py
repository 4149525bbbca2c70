"""A host as OpenStack has them: QEMU makes the sockets, all relays but one come by port control, and whoever asks for
them runs the old command lines where virtio-forwarder's packages had installed them, word for word."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit.instance import Instance
from tests.kit.paths import ROOT, SHARED_CACHE
from tests.kit.topology import Topology, topology
from tests.kit.waiting import wait_for

VF, OTHER = "0000:05:08.1", "0000:05:08.2"
"""PCI functions, as port control names VFs. This host has none: their relays wait for them."""
SERVICES = ("port_control", "stats", "config", "core_sched")
OPENSTACK = {"mode": "client", "dynamic_sockets": True}
"""For `vhost_user`."""
NEIGHBOUR = 5
"""The file's relay, over a wire."""


@dataclass(slots=True)
class OpenStackHost:
    topology: Topology
    slowest_s: float = 0.0
    """Of all calls of a client, its start included."""
    _said: list[str] = field(default_factory=list)

    @property
    def instance(self) -> Instance:
        return self.topology.instance

    @property
    def tree(self) -> Path:
        """Where the clients are installed."""
        return self.instance.directory / "tree"

    @property
    def endpoint(self) -> Path:
        return Path(self.service("port_control").removeprefix("ipc://"))

    def service(self, name: str) -> str:
        """One of virtio-forwarder's, as ZeroMQ names it."""
        return f"ipc://{self.instance.directory}/run/virtio-forwarder/{name}"

    @property
    def guest(self) -> str:
        """The socket that QEMU makes."""
        return str(self.instance.sockets / "vhu1")

    def command(self, name: str, *options: str, folder: str = "lib64") -> list[str]:
        """A client as it is installed. It looks for its service where that always was: its process alone sees the
        instance's directory there."""
        client = self.tree / "usr" / folder / "virtio-forwarder" / f"virtioforwarder_{name}.py"
        see = f'mount --bind "{self.instance.directory}/run" /run && exec "$@"'
        return ["unshare", "-m", "sh", "-c", see, "sh", str(client), *options]

    def ask(self, op: str, *options: str, folder: str = "lib64") -> subprocess.CompletedProcess[str]:
        """Port control."""
        return self.client("port_control", op, *options, folder=folder)

    def client(self, name: str, *options: str, folder: str = "lib64") -> subprocess.CompletedProcess[str]:
        """A client, which gives up after 2 s without a reply."""
        began = time.monotonic()
        done = subprocess.run(
            self.command(name, *options, folder=folder),
            env=self.instance.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        assert "no reply" not in done.stderr, f"{done.stderr}\n{self.instance.log[-3000:]}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def plug(self, vf: str = VF) -> subprocess.CompletedProcess[str]:
        return self.ask("add_sock", f"--pci-addr={vf}", f"--vhost-path={self.guest}")

    def unplug(self, vf: str = VF) -> subprocess.CompletedProcess[str]:
        return self.ask("remove_sock", f"--pci-addr={vf}", f"--vhost-path={self.guest}")

    def relays(self) -> dict[int, tuple[str, str]]:
        """VF and owner of each relay that status shows, but the neighbour."""
        shown = json.loads(self.instance.call("status", "--json").stdout)
        return {r["id"]: (r["vf"], r["owner"]) for r in shown["relays"] if r["id"] != NEIGHBOUR}

    def planned(self) -> str:
        """What `vio4wd plan` says of the file."""
        done = self.instance.call("plan", str(self.instance.file))
        return done.stdout + done.stderr

    def opened(self) -> None:
        wait_for("port control", self.endpoint.exists, 60.0)

    def greet(self) -> None:
        """Until the neighbour's guest answers."""
        self.topology.wait_ping(NEIGHBOUR)

    def reboot(self) -> None:
        """All processes gone without a word, and what is in memory with them."""
        for pid in self.instance.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.instance.terminate()
        for directory in (self.instance.run_dir, self.endpoint.parent):
            for path in sorted(directory.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()


@contextlib.contextmanager
def openstack_host(
    vhost_user: Mapping[str, Any], run: bool = True, cache: Path = SHARED_CACHE
) -> Iterator[OpenStackHost]:
    """A host whose neighbour is there, with these keys of `vhost_user`; with `run`, it is started and its port control
    answers."""
    with topology((NEIGHBOUR,), run=False, vhost_user=vhost_user) as made:
        made.instance.cache = cache
        found = OpenStackHost(made)
        services = {name: {"endpoint": found.service(name)} for name in SERVICES}
        made.keys["more"] = {"port_control": {"zmq": services.pop("port_control")}, "services": services}
        made.save()
        install = [str(ROOT / "packaging" / "install-compat"), sys.executable]
        subprocess.run(install, env={**os.environ, "DESTDIR": str(found.tree)}, check=True, timeout=60)
        if run:
            made.instance.run()
            found.opened()
        yield found
        print(f"the slowest call took {found.slowest_s:.2f} s, the client's start included")
