"""One relay, its wire, and a real guest on it: what the tests in here start from."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.api.live import LiveSocket
from tests.kit.guests.qemu import QemuGuest
from tests.kit.instance import READY_S
from tests.kit.network.netns import PingReport, parse_ping
from tests.kit.topology import Topology, topology
from tests.kit.waiting import wait_for

RELAY = 1
IPERF_S = 2
BACK_S = 120.0
"""In which traffic must be back, on a machine that may be busy; it is printed, and not judged."""


@dataclass(slots=True)
class QemuTopology:
    """`serves`: QEMU makes the socket, and vio4wd is in client mode."""

    made: Topology
    serves: bool
    guest: QemuGuest | None = None
    talks: bool = False
    """Whether an iperf3 listens in the guest."""

    @property
    def address(self) -> str:
        return self.made.address(RELAY)

    def boot(self, talks: bool = False, queues: int = 1, first: str = "", features: Sequence[str] = ()) -> QemuGuest:
        """Boot a guest with features as QEMU offers them by default, but for `features`, and wait until it answers. One
        that `talks` has an iperf3, and takes longer; before that is started, its shell runs `first`."""
        self.end_guest()
        path, command = self.made.instance.socket(RELAY), f"{first or 'true'}; iperf3 -s" if talks else ""
        guest = QemuGuest(path, f"{self.address}/24", self.serves, command, queues, features=features)
        self.guest, self.talks = guest.__enter__(), talks
        self.guest.wait_up()
        self.wait_answer()
        return self.guest

    def end_guest(self) -> None:
        if self.guest is not None:
            self.guest.end()
            self.guest = None

    def wait_answer(self) -> None:
        wait_for("an answer of the guest", lambda: self.made.namespace.ping(self.address, 1).received, BACK_S)

    def answers(self, count: int = 20) -> PingReport:
        """Ping until so many answers have come: ping itself gives up two round trips after its last question, which
        a busy machine may take for more than one."""
        line = ["ping", "-n", "-q", "-i", "0.05", "-c", str(count), "-w", f"{BACK_S:g}", self.address]
        return parse_ping(self.made.namespace.run(line, check=False, timeout_s=2 * BACK_S).stdout)

    def tcp(self, *options: str, address: str = "") -> int:
        """A TCP stream to the guest, or from it with `-R`, for two seconds: bytes that arrived."""
        line = ["iperf3", "-c", address or self.address, "-t", str(IPERF_S), "-J", *options]
        received = wait_for("a stream that iperf3 carries to its end", lambda: self._stream(line), BACK_S, 0.5)
        print(f"TCP {' '.join(options) or 'to the guest'}: {received['bits_per_second'] / 1e6:.0f} Mbit/s")
        return int(received["bytes"])

    def _stream(self, line: Sequence[str]) -> dict[str, Any] | None:
        """None when the guest's iperf3 refuses, as it does while it clears away the stream before."""
        report = json.loads(self.made.namespace.run(line, check=False, timeout_s=120.0).stdout)
        received: dict[str, Any] | None = report["end"].get("sum_received")
        return received

    def wrong_checksums(self) -> int:
        """TCP segments that the network's end has refused for their checksum."""
        rows = self.made.namespace.run(["cat", "/proc/net/snmp"]).stdout.splitlines()
        names, values = (row.split() for row in rows if row.startswith("Tcp:"))
        return int(dict(zip(names, values, strict=True))["InCsumErrors"])

    @property
    def features(self) -> int:
        """What the guest's driver has chosen of what it was offered."""
        return int(self.live().features, 16)

    def live(self) -> LiveSocket:
        return self.made.live_socket(RELAY)

    def kill_engine(self) -> None:
        """SIGKILL to the engine; whoever supervises it starts another, and the watch rebuilds what was there."""
        boot_id = self.made.session(RELAY).boot_id
        os.kill(self.made.instance.engine_pid, signal.SIGKILL)
        self.wait_other_engine(boot_id)

    def wait_other_engine(self, boot_id: str) -> None:
        instance = self.made.instance
        wait_for("another engine", lambda: (seen := instance.observed()) and seen.boot_id != boot_id, READY_S)


@contextlib.contextmanager
def qemu_topology(serves: bool, mtu: int = 1500, packed: bool | None = None, **offers: bool) -> Iterator[QemuTopology]:
    """A running vio4wd with one relay, and no guest yet. `offers` are keys of `vhost_user`."""
    keys = {"mode": "client" if serves else "server", **offers}
    with topology((RELAY,), mtu=mtu, packed=packed, vhost_user=keys) as made:
        found = QemuTopology(made, serves)
        try:
            yield found
        finally:
            found.end_guest()


def told(what: str, since: float) -> None:
    """Prints how long something took; `since` is of `time.monotonic`."""
    print(f"{what} {time.monotonic() - since:.2f} s")
