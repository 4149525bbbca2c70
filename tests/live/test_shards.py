"""More relays than one DPDK process has ports: further engine processes come and go as the spec needs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Sequence

import pytest

from reconciler.observe.rates import DIRECTIONS
from tests.kit.guests.guest import TestpmdGuest, wait_for_socket
from tests.kit.instance import Instance
from tests.kit.runner.repetitions import LONG
from tests.kit.spec_file import RelayLine
from tests.kit.topology import CPUS, GUEST_CPUS, MAIN_CPU
from tests.kit.waiting import wait_for

EVERYBODY = range(64)
PORTS_OF_A_GUEST = 16
"""So few that one testpmd's memory and queues stay small."""


def lines(relays: Sequence[int]) -> list[RelayLine]:
    """Relays over devices that give packets whenever they are asked and swallow all they get."""
    return [RelayLine(id_, f"net_null{id_},size=64") for id_ in relays]


@contextlib.contextmanager
def running(relays: Sequence[int]) -> Iterator[Instance]:
    with Instance.relaying(lines(relays), worker_cpus=CPUS, main_cpu=MAIN_CPU) as instance:
        yield instance.run()


def homes(instance: Instance) -> dict[int, int]:
    return {each["id"]: each["shard"] for each in instance.status()["relays"]}


def engines(instance: Instance) -> dict[int, str]:
    """Shard to boot id."""
    return {each["shard"]: each["boot_id"] for each in instance.status()["engines"]}


def guest(instance: Instance, relays: Sequence[int]) -> TestpmdGuest:
    """One testpmd with a port on each of these relays' sockets, which sends back what it gets."""
    paths = [instance.socket(relay) for relay in relays]
    for path in paths:
        wait_for_socket(path)
    return TestpmdGuest(paths, "io", GUEST_CPUS, memory_mib=128, options=["--mbcache=64"])


def moved(instance: Instance) -> dict[tuple[int, str], int]:
    """Packets that were sent on, by relay and way."""
    relays = instance.stats()["relays"].items()
    return {(int(id_), way): ways[way]["tx_packets"] for id_, ways in relays for way in DIRECTIONS}


def wait_traffic(instance: Instance, relays: Sequence[int]) -> None:
    """Wait until packets of each of these relays have gone both ways since now."""
    before = moved(instance)

    def probe() -> bool:
        now = moved(instance)
        return all(now[relay, way] > before[relay, way] for relay in relays for way in DIRECTIONS)

    wait_for(f"traffic on relays {relays}", probe, 120.0, 0.5)


def test_forty_relays_live_on_two_shards_and_thirty_on_one_again() -> None:
    with running(range(40)) as instance:
        assert homes(instance) == {id_: id_ // 32 for id_ in range(40)}
        boots = engines(instance)
        assert set(boots) == {0, 1}
        assert "SHARD" in instance.call("status").stdout
        with guest(instance, (0, 31, 39)) as stand_in:
            stand_in.start()
            wait_traffic(instance, (0, 31, 39))
            instance.relay(lines(range(31)), worker_cpus=CPUS, main_cpu=MAIN_CPU, allow_destroy=(31, 39))
            wait_for("the second engine to end", lambda: set(engines(instance)) == {0}, 60.0, 0.2)
            wait_traffic(instance, (0,))
        assert engines(instance)[0] == boots[0]
        instance.wait_applied()
        assert "SHARD" not in instance.call("status").stdout
        assert set(homes(instance).values()) == {0}


def test_a_shard_that_dies_stops_only_its_own_relays_and_is_rebuilt() -> None:
    with running((*range(31), 40, 41, 42)) as instance:
        boots = engines(instance)
        assert homes(instance)[42] == 1
        with guest(instance, (0, 40)) as stand_in:
            stand_in.start()
            wait_traffic(instance, (0, 40))
            os.kill(instance.engines.client(1).hello().pid, signal.SIGKILL)
            wait_traffic(instance, (0,))
            wait_for("another second engine", lambda: engines(instance).get(1, boots[1]) != boots[1], 60.0, 0.2)
            instance.wait_applied()
        assert engines(instance)[0] == boots[0]
        assert homes(instance)[42] == 1


def test_a_plan_is_one_document_for_all_shards_and_apply_says_who_is_missing() -> None:
    with Instance.relaying(lines(range(34)), worker_cpus=CPUS, main_cpu=MAIN_CPU) as instance:
        instance.start("engine")
        assert instance.call("apply", "--wait", "0.1", str(instance.file)).returncode == 1
        wait_for("the first engine", lambda: instance.observed() is not None, 120.0)
        done = instance.call("apply", "--wait", "1", str(instance.file))
        assert "vio4wd engine --shard 1" in done.stdout + done.stderr
        assert len([relay for relay in instance.status()["relays"] if relay["shard"] == 0]) == 32
        plan = instance.report("plan", str(instance.file))
        assert [version["boot_id"] is None for version in plan["engine"]] == [False, True]
        assert {change["shard"] for change in plan["changes"]} == {1}
        instance.start("engine", "--shard", "1", name="engine 1")
        assert instance.call("apply", str(instance.file)).returncode == 0
        assert instance.report("plan", str(instance.file))["changes"] == []


def test_too_much_is_refused_with_the_arithmetic() -> None:
    bonds = [{"id": id_, "bond": _bond(id_)} for id_ in range(41)]
    with Instance() as instance:
        instance.save(f"apiVersion: vio4wd/v1\nrelays: {json.dumps([{'id': 64, 'vf': 'net_null64'}])}\n")
        done = instance.call("plan", str(instance.file))
        assert (done.returncode, "63" in done.stderr) == (1, True), done.stderr
        engine = "engine: {main_cpu: 0, worker_cpus: [0]}"
        instance.save(f"apiVersion: vio4wd/v1\n{engine}\nrelays: {json.dumps(bonds)}\n")
        done = instance.call("plan", str(instance.file))
        assert (done.returncode, "123 ports of DPDK (41 x 3 for bonds of 2)" in done.stderr) == (1, True), done.stderr


def _bond(id_: int) -> dict[str, object]:
    members = [f"net_null{2 * id_ + n}" for n in (100, 101)]
    return {"name": f"net_bonding{id_}", "mode": "active-backup", "members": members}


@pytest.mark.skipif(not LONG, reason="needs VIO4WD_TEST_LONG=1 (scripts/test --long)")
def test_64_relays_each_with_a_guest_and_traffic_on_all() -> None:
    with running(EVERYBODY) as instance, contextlib.ExitStack() as guests:
        for first in range(0, 64, PORTS_OF_A_GUEST):
            relays = range(first, first + PORTS_OF_A_GUEST)
            guests.enter_context(guest(instance, relays)).start()
        wait_traffic(instance, EVERYBODY)
        assert {relay["condition"] for relay in instance.status()["relays"]} == {"Ready"}
