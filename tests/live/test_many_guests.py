"""All guests of a host connect at once, as after its start: every one is served, and none of the limits is met."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time

from tests.kit.guests.vhost_peer import Peer
from tests.kit.instance import Instance
from tests.kit.runner.repetitions import times
from tests.kit.topology import descriptors, topology
from tests.kit.waiting import wait_for

GUESTS = 64
PATIENCE_S = 60.0


def connected(instance: Instance) -> int:
    seen = instance.observed()
    return sum(each.guest for each in seen.live.sockets.values()) if seen else 0


def test_sixty_four_guests_connect_at_once() -> None:
    with topology((), vhost_user={"template_sockets": True}) as made:
        instance = made.instance
        wait_for("the sockets", lambda: len(list(instance.sockets.iterdir())) == GUESTS)
        before = len(descriptors(instance.engine_pid))
        for _ in range(times(2, 20)):
            together = threading.Barrier(GUESTS)

            def come(relay: int, together: threading.Barrier = together) -> Peer:
                together.wait()
                peer = Peer(instance.socket(relay), PATIENCE_S)
                peer.start()
                return peer

            began = time.monotonic()
            with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(GUESTS) as pool:
                for peer in pool.map(come, range(GUESTS)):
                    stack.enter_context(peer)
                print(f"all {GUESTS} were served within {1000 * (time.monotonic() - began):.0f} ms")
                wait_for("all guests", lambda: connected(instance) == GUESTS)
            wait_for("no guest", lambda: connected(instance) == 0)
        wait_for("their descriptors to be free", lambda: len(descriptors(instance.engine_pid)) == before)
        assert "cut off" not in instance.log
        assert "lets in" not in instance.log
