"""A live migration between two engines on one network: the guest goes on where it was, and says where it is now."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit import cleanup
from tests.kit.netns import Namespace, VethWire
from tests.kit.qemu import QemuGuest, Qmp
from tests.kit.specfile import RelayLine
from tests.kit.vio4wd import Instance
from tests.kit.waiting import wait_for
from tests.live.scene import MAIN_CPU, WORKER_CPU

NETWORK, GUEST = "10.77.9.1", "10.77.9.2"
INTERVAL_S = 0.02
SLOWLY_BYTES, QUICKLY_BYTES = 4 << 20, 1 << 30
"""A second: at the first a guest takes long enough to be looked at, the second is no bound here."""
LOG_ALL = 1 << 26
"""VHOST_F_LOG_ALL of linux/vhost.h: memory that is written to is noted, so that it is copied again."""
STAMP = re.compile(r"^\[([0-9.]+)\] .* icmp_seq=(\d+)", re.MULTILINE)


@dataclass(slots=True)
class Side:
    """A host: an engine and its wire to the common network."""

    instance: Instance
    wire: VethWire

    def live(self) -> dict[str, Any]:
        found: dict[str, Any] = self.instance.client.observe().live["sockets"][str(self.instance.socket(1))]
        return found

    def migrating(self) -> bool:
        """What `vio4wd status` says."""
        (relay,) = self.instance.status()["relays"]
        assert not relay["migrating"] or "migrating" in self.instance.call("status").stdout
        return bool(relay["migrating"])

    def from_guest(self) -> int:
        """Packets that its relay has taken from the guest."""
        taken: int = self.instance.client.counters()["relays"]["1"]["vm_to_vf"]["rx_packets"]
        return taken


@contextmanager
def two_sides() -> Iterator[tuple[Namespace, Side, Side]]:
    with Namespace() as network, ExitStack() as stack:
        network.run(["ip", "link", "add", "br0", "type", "bridge"])
        network.run(["ip", "address", "add", f"{NETWORK}/24", "dev", "br0"])
        network.run(["ip", "link", "set", "br0", "up"])
        yield network, _side(stack, network, 1), _side(stack, network, 2)


def _side(stack: ExitStack, network: Namespace, number: int) -> Side:
    wire = stack.enter_context(VethWire(network, f"10.78.{number}.1/24"))
    network.run(["ip", "address", "flush", "dev", wire.inner])
    network.run(["ip", "link", "set", wire.inner, "master", "br0"])
    line = RelayLine(1, wire.vf_device, (WORKER_CPU,))
    instance = Instance.relaying([line], main_cpu=MAIN_CPU, worker_cpus=[WORKER_CPU])
    return Side(stack.enter_context(instance).run(), wire)


class Pings:
    """A ping that goes on until it is asked what came of it."""

    def __init__(self, network: Namespace) -> None:
        line = ["ping", "-n", "-D", "-i", f"{INTERVAL_S:g}", GUEST]
        self._process = subprocess.Popen(
            network.command(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        cleanup.register(self, self._process.kill)

    def outage_s(self) -> float:
        """The longest time between two answers, in seconds."""
        self._process.terminate()
        text, _ = self._process.communicate(timeout=30.0)
        cleanup.release(self)
        stamps = [float(stamp) for stamp, _ in STAMP.findall(text)]
        assert len(stamps) > 2, f"ping has no answers to tell of: {text[-500:]}"
        return max(later - earlier for earlier, later in itertools.pairwise(stamps))


def migrated(monitor: Qmp, uri: str, seen: Callable[[], bool] = lambda: True) -> dict[str, Any]:
    """Migrates to `uri`, slowly until `seen`, and gives what QEMU says of it."""
    monitor.execute("migrate-set-parameters", **{"max-bandwidth": SLOWLY_BYTES})
    monitor.execute("migrate", uri=uri)
    wait_for("the migration to be seen", seen, 60.0, 0.05)
    monitor.execute("migrate-set-parameters", **{"max-bandwidth": QUICKLY_BYTES})

    def over() -> dict[str, Any] | None:
        state: dict[str, Any] = monitor.execute("query-migrate")
        assert state.get("status") not in ("failed", "cancelled"), state
        return state if state.get("status") == "completed" else None

    return wait_for("the migration to be completed", over, 120.0, 0.1)


def test_a_guest_moves_to_another_engine_and_goes_on() -> None:
    with two_sides() as (network, here, there), ExitStack() as stack:
        source = stack.enter_context(QemuGuest(here.instance.socket(1), f"{GUEST}/24"))
        uri = f"unix:{source.directory / 'migration'}"
        target = stack.enter_context(QemuGuest(there.instance.socket(1), f"{GUEST}/24", incoming=uri))
        source.wait_up()
        wait_for("an answer of the guest", lambda: network.ping(GUEST, 1).received, 60.0)
        features = int(here.live()["features"], 16)
        taken = there.from_guest()
        wait_for("the target's monitor", lambda: Path(uri.removeprefix("unix:")).is_socket(), 60.0)
        pings = Pings(network)
        with source.qmp() as monitor:
            assert not here.migrating()
            told = migrated(monitor, uri, here.migrating)
        wait_for("an answer over the other engine", lambda: there.from_guest() > taken + 10, 60.0)
        print(
            f"live migration: {told['total-time']} ms in all, QEMU's downtime {told['downtime']} ms, "
            f"longest time between two answers {pings.outage_s() * 1000:.0f} ms (pings every {INTERVAL_S * 1000:g} ms)"
        )
        assert int(there.live()["features"], 16) & ~LOG_ALL == features & ~LOG_ALL
        source.end()
        wait_for("the guest to be gone from the first engine", lambda: not here.live()["guest"], 30.0)
        assert (here.migrating(), there.migrating()) == (False, False)
        taken = there.from_guest()
        wait_for("an answer of the guest", lambda: network.ping(GUEST, 1).received, 60.0)
        assert there.from_guest() > taken
        assert target.pid > 0
