"""What comes and goes leaves nothing behind in the engine: descriptors, hugepages, ordinary memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import pytest

from reconciler.apply.executor import Verdict, apply
from reconciler.observe.engine_start import write_engine_parameters
from reconciler.planning.plan import plan
from schema.model import Engine, Pin, Port, Relay, Resource, Socket, State, Worker
from schema.vf import parse_vf
from tests.kit.instance import READY_S, Instance
from tests.kit.network.netns import Namespace, VethWire
from tests.kit.runner.repetitions import times
from tests.kit.system import host
from tests.kit.topology import MAIN_CPU, WORKER_CPU
from tests.kit.waiting import wait_for
from tests.live.footprint import GROWTH_KIB, Footprint, footprint, others

PORT_ROUNDS, SOCKET_ROUNDS, RELAY_ROUNDS = 200, 100, 100
WIRE_ROUNDS = times(40, 200)
"""The kernel takes 80 ms to close a packet socket with a ring."""
WARM_ROUNDS = 20
"""Allocators settle, and the thread of vhost's sockets starts, in the first rounds."""
NULL_GROWTH_KIB = 65_536
"""Of hugepages: DPDK's net_null never frees its two dummy packets, a few hundred bytes a round, and one of them keeps
the whole page that it lies in. A pool is 10 MiB, so leaking one in fifty would be more. Ports on wires keep nothing.
"""
BASE: tuple[Resource, ...] = (Engine(main_cpu=MAIN_CPU), Worker(WORKER_CPU))


class Bare:
    """An engine without a reconciler, told what it is to be."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    def become(self, *resources: Resource) -> None:
        """Make the engine's state these and nothing else. Raises AssertionError with what did not work."""
        target = State.of([*BASE, *resources])
        seen = self.instance.client.observe()
        outcome = apply(plan(target, seen.state), target, seen, self.instance.client)
        assert outcome.verdict is Verdict.APPLIED, [step.message for step in outcome.steps if step.message]

    def rounds(self, count: int, resources: Iterable[Resource]) -> tuple[Footprint, Footprint]:
        """Let resources come and go `count` times. What the engine holds after the first rounds, and at the end."""
        pid, there = self.instance.engine_pid, tuple(resources)
        early = footprint(pid)
        for number in range(count):
            self.become(*there)
            self.become()
            if number + 1 == WARM_ROUNDS:
                early = footprint(pid)
        return early, footprint(pid)


@contextlib.contextmanager
def bare() -> Iterator[Bare]:
    with Instance() as instance:
        write_engine_parameters(instance.state_dir, State.of(BASE))
        instance.start("engine")
        wait_for("the engine", lambda: instance.observed(), READY_S)
        yield Bare(instance)


def check(early: Footprint, late: Footprint, hugepages_kib: int = 0) -> None:
    assert late.descriptors == early.descriptors
    assert late.hugepages_kib - early.hugepages_kib <= hugepages_kib
    assert late.memory_kib - early.memory_kib < GROWTH_KIB


def test_ports_come_and_go() -> None:
    with bare() as engine:
        taps = [Port(f"net_tap{number}", f"iface=v4leak{number}") for number in range(2)]
        check(*engine.rounds(PORT_ROUNDS, taps))


def test_ports_on_wires_come_and_go() -> None:
    with Namespace() as namespace, VethWire(namespace, "10.77.1.1/24") as wire, bare() as engine:
        check(*engine.rounds(WIRE_ROUNDS, [parse_vf(wire.vf_device)]))


def test_sockets_come_and_go() -> None:
    with bare() as engine:
        sockets = [Socket(str(engine.instance.socket(number))) for number in range(3)]
        check(*engine.rounds(SOCKET_ROUNDS, sockets))
        assert not list(engine.instance.sockets.iterdir())


def test_relays_come_and_go() -> None:
    """The port receives without end, so that each removal is one in the middle of traffic."""
    with bare() as engine:
        path = str(engine.instance.socket(1))
        relay = (Relay(1, "net_null0", path), Pin(1, WORKER_CPU, WORKER_CPU))
        whole: list[Resource] = [Port("net_null0"), Socket(path), *relay]
        check(*engine.rounds(RELAY_ROUNDS, whole), NULL_GROWTH_KIB)


def test_refused_additions_leave_nothing() -> None:
    with bare() as engine:
        pid = engine.instance.engine_pid
        blocked = engine.instance.socket(9)
        blocked.mkdir()
        early = footprint(pid)
        for number in range(2 * WARM_ROUNDS):
            for refused in (Port("net_af_packet0", "iface=v4none"), Port("0000:fe:1f.7"), Socket(str(blocked))):
                state = State.of([*BASE, refused])
                seen = engine.instance.client.observe()
                outcome = apply(plan(state, seen.state), state, seen, engine.instance.client)
                assert outcome.verdict is Verdict.FAILED
                assert outcome.steps[-1].message
            if number + 1 == WARM_ROUNDS:
                early = footprint(pid)
        check(early, footprint(pid))


def test_hugepages_are_free_again_after_the_end() -> None:
    """The count is the host's: whoever else holds pages there would be judged too."""
    if others():
        pytest.skip("needs a host without other DPDK processes")
    before = host.free_hugepages_mib()
    with bare() as engine:
        engine.become(*(Port(f"net_null{number}") for number in range(8)))
        during = footprint(engine.instance.engine_pid).hugepages_kib
        assert (during > 0) == (engine.instance.client.hello().memory == "hugepages")
    wait_for(
        f"{before} MiB of free hugepages",
        lambda: host.free_hugepages_mib() >= before or others(),
        60.0,
        0.2,
    )
