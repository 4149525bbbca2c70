"""Who connects to whom, which sockets are there before any VF, and what guests are offered."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from schema.model import MAX_RELAYS
from tests.kit.guests.guest import TestpmdGuest
from tests.kit.topology import GUEST_CPUS, Topology, topology
from tests.kit.waiting import wait_for

CLIENT = {"mode": "client"}
MRG_RXBUF, RING_PACKED = 1 << 15, 1 << 34
"""Feature bits of linux/virtio_net.h and linux/virtio_config.h."""


def changed(made: Topology, **vhost_user: Any) -> None:
    made.keys["vhost_user"] = vhost_user
    made.save()


def features(made: Topology, relay: int = 1) -> int:
    return int(made.live_socket(relay).features, 16)


def test_a_client_connects_to_a_socket_that_appears_and_to_the_next_one() -> None:
    with topology(vhost_user=CLIENT) as made:
        path = made.instance.socket(1)
        assert not path.exists()
        for connects in (1, 2):
            made.serve(1)
            made.wait_ping(1)
            assert made.live_socket(1).connects >= connects
            made.guests.pop(1).kill()
            wait_for("the guest to be gone", lambda: not made.live_socket(1).guest)
        assert path.is_socket(), "a client must leave the file alone"
        made.instance.terminate()
        assert path.is_socket(), "a client must leave the file alone"
        path.unlink()


def test_a_client_leaves_what_is_no_socket_alone_and_names_it() -> None:
    with topology((1, 2), run=False, vhost_user=CLIENT) as made:
        path = made.instance.socket(1)
        path.write_text("somebody's file")
        made.instance.run(wait=False)
        made.instance.wait_state("relay 2", lambda state: 2 in state.relays, 120.0)
        assert f"{path} exists and is no socket: move it away" in made.wait_condition(1, "Degraded")["message"]
        path.unlink()
        made.wait_condition(1, "Pending")


def test_the_mode_of_a_live_socket_changes_there_and_back() -> None:
    with topology((1, 2)) as made:
        path = made.instance.socket(1)
        made.boot(1)
        made.boot(2)
        made.wait_ping(1)
        changed(made, **CLIENT)
        made.instance.wait_applied()
        assert not path.exists()
        made.guests.pop(1).kill()
        made.serve(1)
        made.wait_ping(1)
        made.guests.pop(1).kill()
        path.unlink(missing_ok=True)
        changed(made)
        made.instance.wait_applied()
        made.boot(1)
        made.wait_ping(1)


def test_a_socket_that_a_guest_serves_is_not_taken_from_it() -> None:
    """The change is refused before anything is closed, so the guest goes on."""
    with topology(vhost_user=CLIENT) as made:
        path = made.instance.socket(1)
        made.serve(1)
        made.wait_ping(1)
        session = made.session(1)
        changed(made)
        status = made.wait_condition(1, "Degraded")
        assert f"QEMU listens on {path}: end that guest, and vio4wd will listen there" in status["message"]
        assert made.session(1) == session
        made.wait_ping(1)
        made.guests.pop(1).kill()
        made.instance.wait_applied()
        made.boot(1)
        made.wait_ping(1)


def test_offered_features_come_from_the_spec_alone() -> None:
    with topology() as made:
        made.boot(1)
        assert features(made) & (MRG_RXBUF | RING_PACKED) == 0
        made.lines[1] = type(made.lines[1])(1, made.lines[1].vf, made.lines[1].cpus, packed=True)
        changed(made, mrgbuf=True)
        made.instance.wait_applied()
        made.guests.pop(1).kill()
        guest = TestpmdGuest.started([made.instance.socket(1)], cpus=GUEST_CPUS, device=",packed_vq=1,mrg_rxbuf=1")
        made.guests[1] = guest
        made.wait_ping(1)
        assert features(made) & (MRG_RXBUF | RING_PACKED) == MRG_RXBUF | RING_PACKED
        made.wait_ping(1)


def test_template_sockets_are_there_before_any_vf_and_guests_may_come_first() -> None:
    with topology((), vhost_user={"template_sockets": True}) as made:
        assert all(made.instance.socket(id_).is_socket() for id_ in range(MAX_RELAYS))
        made.boot(1)
        session = made.session(1)
        made.wire(1)
        made.save()
        made.instance.wait_applied()
        made.wait_ping(1)
        assert made.session(1) == session


def test_a_template_socket_in_whose_place_something_lies_is_refused_by_name() -> None:
    with topology(run=False, vhost_user={"template_sockets": True}) as made:
        file, stale = made.instance.socket(7), made.instance.socket(8)
        file.write_text("somebody's file")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(stale))
        made.instance.start("engine")
        done = made.instance.call("apply", str(made.instance.file))
        assert done.returncode == 1
        assert f"{file} exists and is no socket" in done.stderr + done.stdout
        assert file.read_text() == "somebody's file"
        assert _listens(stale)
        assert all(made.instance.socket(id_).is_socket() for id_ in range(MAX_RELAYS) if id_ != 7)
        made.boot(1)
        made.wait_ping(1)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
