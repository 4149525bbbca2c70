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

from engine.api.live import LiveSocket
from tests.kit import cleanup
from tests.kit.guests.qemu import QemuGuest, Qmp
from tests.kit.instance import Instance
from tests.kit.network.netns import Namespace, Tap, VethWire
from tests.kit.spec_file import RelayLine
from tests.kit.topology import MAIN_CPU, WORKER_CPU
from tests.kit.waiting import wait_for

BRIDGE = "br0"
NETWORK, GUEST = "10.77.9.1", "10.77.9.2"
INTERVAL_S = 0.02
CHOICES = "csum guest_csum gso guest_tso4 guest_tso6 guest_ecn guest_ufo guest_uso4 guest_uso6 host_tso4 host_tso6"
AS_OFFERED = [
    f"{name}=off" for name in (*CHOICES.split(), "host_ecn", "host_ufo", "host_uso", "mrg_rxbuf", "queue_reset")
]
"""What a QEMU elsewhere must not offer a guest that is to go to a vio4wd whose spec offers no more than the basics."""
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

    def live(self) -> LiveSocket:
        return self.instance.client.observe().live.sockets[str(self.instance.socket(1))]

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
def bridged() -> Iterator[tuple[Namespace, ExitStack]]:
    """A network that is a bridge, and what is taken down before it."""
    with Namespace() as network, ExitStack() as stack:
        network.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
        network.run(["ip", "address", "add", f"{NETWORK}/24", "dev", BRIDGE])
        network.run(["ip", "link", "set", BRIDGE, "up"])
        yield network, stack


def side(stack: ExitStack, network: Namespace, number: int) -> Side:
    wire = stack.enter_context(VethWire(network, f"10.78.{number}.1/24"))
    network.run(["ip", "address", "flush", "dev", wire.inner])
    network.run(["ip", "link", "set", wire.inner, "master", BRIDGE])
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


def wait_listens(uri: str) -> None:
    """Until the QEMU that is to be migrated to has come so far."""
    wait_for("the target's QEMU", lambda: Path(uri.removeprefix("unix:")).is_socket(), 60.0)


def test_a_guest_moves_to_another_engine_and_goes_on() -> None:
    with bridged() as (network, stack):
        here, there = side(stack, network, 1), side(stack, network, 2)
        source = stack.enter_context(QemuGuest(here.instance.socket(1), f"{GUEST}/24"))
        uri = f"unix:{source.directory / 'migration'}"
        target = stack.enter_context(QemuGuest(there.instance.socket(1), f"{GUEST}/24", incoming=uri))
        source.wait_up()
        wait_for("an answer of the guest", lambda: network.ping(GUEST, 1).received, 60.0)
        features = int(here.live().features, 16)
        taken = there.from_guest()
        wait_listens(uri)
        pings = Pings(network)
        with source.qmp() as monitor:
            assert not here.migrating()
            told = migrated(monitor, uri, here.migrating)
        wait_for("an answer over the other engine", lambda: there.from_guest() > taken + 10, 60.0)
        print(
            f"live migration: {told['total-time']} ms in all, QEMU's downtime {told['downtime']} ms, "
            f"longest time between two answers {pings.outage_s() * 1000:.0f} ms (pings every {INTERVAL_S * 1000:g} ms)"
        )
        assert int(there.live().features, 16) & ~LOG_ALL == features & ~LOG_ALL
        source.end()
        wait_for("the guest to be gone from the first engine", lambda: not here.live().guest, 30.0)
        assert (here.migrating(), there.migrating()) == (False, False)
        taken = there.from_guest()
        wait_for("an answer of the guest", lambda: network.ping(GUEST, 1).received, 60.0)
        assert there.from_guest() > taken
        assert target.pid > 0


def hop(source: QemuGuest, uri: str) -> None:
    wait_listens(uri)
    with source.qmp() as monitor:
        migrated(monitor, uri)


def test_a_guest_comes_from_a_host_without_vio4wd_and_goes_to_another() -> None:
    with bridged() as (network, stack):
        here = side(stack, network, 1)
        taps = Tap(network, "plain1"), Tap(network, "plain2")
        for tap in taps:
            tap.lay(BRIDGE)
        address = f"{GUEST}/24"
        born = stack.enter_context(QemuGuest(taps[0], address, features=AS_OFFERED))
        uris = [f"unix:{born.directory / name}" for name in ("first", "second")]
        middle = stack.enter_context(QemuGuest(here.instance.socket(1), address, incoming=uris[0]))
        stack.enter_context(QemuGuest(taps[1], address, incoming=uris[1]))
        born.wait_up()
        wait_for("an answer of the guest", lambda: network.ping(GUEST, 1).received, 60.0)
        pings, taken = Pings(network), here.from_guest()
        hop(born, uris[0])
        wait_for("answers over the engine", lambda: here.from_guest() > taken + 10, 60.0)
        hop(middle, uris[1])
        middle.end()
        wait_for("the guest to be gone from the engine", lambda: not here.live().guest, 30.0)
        taken = here.from_guest()
        wait_for("an answer of the guest", lambda: network.ping(GUEST, 5).received == 5, 60.0)
        assert here.from_guest() == taken
        print(f"to vio4wd and away from it: longest time between two answers {pings.outage_s() * 1000:.0f} ms")
