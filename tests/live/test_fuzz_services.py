"""Everything that clients can send to all four of virtio-forwarder's services at once, for seconds, or ten minutes."""

from __future__ import annotations

import os
import secrets
import time

from tests.kit.runner.repetitions import times
from tests.kit.waiting import wait_for
from tests.live.footprint import footprint
from tests.live.fuzzers import Fuzz, Tally
from tests.live.openstack_host import NEIGHBOUR, OPENSTACK, SERVICES, OpenStackHost, openstack_host

WARM_S, FUZZ_S = times(2, 20), times(5, 600)
CROWD = times(200, 2000)
GROWTH_KIB = 16 * 1024
"""Of the loop's memory. Its allocators go on settling; a leak of 100 bytes a request would be more in ten minutes."""
SEED = int(os.environ.get("VIO4WD_TEST_SEED", secrets.randbits(32)))


def fuzzed(made: OpenStackHost, seconds: float, seed: int) -> Tally:
    with Fuzz({name: made.service(name) for name in SERVICES}, seed, CROWD).running() as tally:
        time.sleep(seconds)
    return tally


def test_no_client_ends_a_service_or_goes_without_its_reply() -> None:
    with openstack_host(OPENSTACK) as made:
        made.topology.serve(NEIGHBOUR)
        made.greet()
        watch, engine = int(made.instance.status()["watch"]["pid"]), made.instance.engine_pid
        fuzzed(made, WARM_S, SEED)
        early = footprint(watch)
        tally = fuzzed(made, FUZZ_S, SEED + 1)
        print(f"VIO4WD_TEST_SEED={SEED}; {tally}")
        wait_for(
            "the clients' descriptors to be closed", lambda: footprint(watch).descriptors <= early.descriptors, 30.0
        )
        late = footprint(watch)
        print(f"the loop: {early} before, {late} after; {len(made.instance.log)} bytes of log")
        assert tally.faults == []
        assert tally.answered == tally.asked
        assert late.memory_kib - early.memory_kib < GROWTH_KIB
        assert (int(made.instance.status()["watch"]["pid"]), made.instance.engine_pid) == (watch, engine)
        log = made.instance.log
        assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]
        made.greet()
        for relay, (vf, _) in made.relays().items():
            name = ["--name", vf] if vf.startswith("net_bonding") else ["--pci-addr", vf]
            assert made.ask("remove", "--virtio-id", str(relay), *name).returncode == 0
        assert made.relays() == {}
        made.instance.wait_applied()
