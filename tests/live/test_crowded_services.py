"""All services, and an engine's API, under clients at the limit of our descriptors: nothing ends, and port control
answers while its clients still wait."""

from __future__ import annotations

import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from reconciler.legacy.clients.wire import Service
from reconciler.legacy.virtioforwarder_pb2 import PortControlRequest, PortControlResponse
from schema.paths import engine_events, engine_socket
from tests.kit.paths import ROOT
from tests.kit.runner.repetitions import times
from tests.kit.waiting import wait_for
from tests.live.footprint import footprint
from tests.live.openstack_host import NEIGHBOUR, OPENSTACK, SERVICES, OpenStackHost, openstack_host

CROWD_S = times(6, 600)
FILES = 512
"""The limit of the watch, and of the engine, while they are crowded: a usual soft limit is 1024."""
PLACES = 51
"""Of each endpoint then; see schema/wire/descriptors.py."""
PATIENCE_S = 2.0
"""virtio-forwarder's clients wait no longer."""
SEED = int(os.environ.get("VIO4WD_TEST_SEED", secrets.randbits(32)))


def look(made: OpenStackHost) -> float:
    """How long `vio4wd status` took, to which the engine has to answer."""
    began = time.monotonic()
    assert made.instance.status()["engine"]["state"] == "ready"
    return time.monotonic() - began


def start_crowd(seed: int, seconds: float, paths: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.live.client_crowd", str(seed), str(seconds), str(PLACES), *paths]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def ask(made: OpenStackHost) -> float:
    """How long port control took to answer a client that has just come."""
    request = PortControlRequest(op=PortControlRequest.QUERY_PCI, vhost_path="/nowhere")
    with Service(made.service("port_control"), timeout_ms=10_000) as service:
        began = time.monotonic()
        reply = service.ask(request, PortControlResponse())
        took = time.monotonic() - began
    assert (reply.status, reply.error_code) == (PortControlResponse.ERROR, 2)
    return took


def crowded(seed: int, seconds: float, paths: Sequence[str], probe: Callable[[], float]) -> tuple[list[float], str]:
    """What `probe` gave each time, and what the crowd counted."""
    took = []
    with start_crowd(seed, seconds, paths) as intruders:
        while intruders.poll() is None:
            took.append(probe())
            time.sleep(0.05)
        assert intruders.stdout is not None
        return took, intruders.stdout.read().strip()


def test_clients_at_the_limit_of_descriptors_end_nothing_and_delay_no_port_control() -> None:
    with openstack_host(OPENSTACK) as made:
        made.topology.serve(NEIGHBOUR)
        made.greet()
        watch, engine = int(made.instance.status()["watch"]["pid"]), made.instance.engine_pid
        resource.prlimit(watch, resource.RLIMIT_NOFILE, (FILES, FILES))
        early = footprint(watch)
        paths = [made.service(name).removeprefix("ipc://") for name in SERVICES]
        took, counted = crowded(SEED, CROWD_S, paths, lambda: ask(made))
        slowest = max(took)
        print(f"VIO4WD_TEST_SEED={SEED}; port control answered {len(took)} times, slowest {slowest:.2f} s; {counted}")
        wait_for(
            "the clients' descriptors to be closed", lambda: footprint(watch).descriptors <= early.descriptors + 8, 30
        )
        late = footprint(watch)
        print(f"the loop: {early} before, {late} after; {len(made.instance.log)} bytes of log")
        assert sum(json.loads(counted)["came"].values()) > 4 * PLACES
        assert slowest < PATIENCE_S
        assert late.memory_kib - early.memory_kib < 16 * 1024
        assert (int(made.instance.status()["watch"]["pid"]), made.instance.engine_pid) == (watch, engine)
        assert "Traceback" not in made.instance.log, made.instance.log[-4000:]
        made.greet()


def test_an_engine_whose_api_is_crowded_goes_on_and_is_steered() -> None:
    """Only its own user may connect there, so this is a `vio4wd status` in a loop rather than an attack."""
    with openstack_host(OPENSTACK) as made:
        made.topology.serve(NEIGHBOUR)
        made.greet()
        engine = made.instance.engine_pid
        in_use = footprint(engine).descriptors
        resource.prlimit(engine, resource.RLIMIT_NOFILE, (in_use + FILES, in_use + FILES))
        run_dir = made.instance.run_dir
        paths = [str(engine_socket(run_dir)), str(engine_events(run_dir))]
        took, counted = crowded(SEED, CROWD_S, paths, lambda: look(made))
        print(f"VIO4WD_TEST_SEED={SEED}; the engine was looked at {len(took)} times; {counted}")
        assert made.instance.engine_pid == engine
        assert made.instance.call("status").returncode == 0
        log = made.instance.log
        assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]
        made.greet()
