"""Sockets: whose they are, who may use them, and what may lie in their place."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from pathlib import Path

from tests.kit.topology import Topology, topology


def with_vhost_user(text: str, keys: str) -> str:
    """The spec with more keys under `vhost_user`."""
    return text.replace("vhost_user: {", "vhost_user: {" + keys + ", ")


def of(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def changes(made: Topology) -> list[tuple[str, str, str]]:
    """What is planned now: action, resource, impact."""
    plan = made.instance.report("plan", str(made.instance.file))
    return [(each["action"], each["resource"], each["impact"]) for each in plan["changes"]]


def test_owner_group_and_permissions_are_the_specs() -> None:
    user, group = pwd.getpwnam("nobody"), grp.getgrnam("daemon")
    with topology(run=False) as made:
        keys = f'"owner": "{user.pw_name}", "group": "{group.gr_name}", "permissions": "0620"'
        made.instance.save(with_vhost_user(made.text, keys))
        made.instance.run()
        assert of(made.instance.socket(1)) == (user.pw_uid, group.gr_gid, 0o620)


def test_drift_is_planned_as_an_update_and_repaired_in_place() -> None:
    """Without a watch, which would repair it before anybody has seen a plan."""
    with topology(run=False) as made:
        path = made.instance.socket(1)
        made.instance.start("engine")
        assert made.instance.call("apply", str(made.instance.file)).returncode == 0
        made.boot(1)
        session, wanted = made.session(1), of(path)
        path.chmod(0o600)
        assert changes(made) == [("update", f"socket:{path}", "none")]
        assert made.instance.call("apply", str(made.instance.file)).returncode == 0
        assert of(path) == wanted
        assert changes(made) == []
        assert made.session(1) == session
        assert made.ping(1).received == 10


def test_changed_permissions_do_not_disturb_the_guest() -> None:
    with topology() as made:
        path = made.instance.socket(1)
        made.boot(1)
        session = made.session(1)
        made.instance.save(with_vhost_user(made.text, '"permissions": "0600"'))
        made.instance.wait_state("the new permissions", lambda state: state.sockets[str(path)].permissions == 0o600)
        assert of(path)[2] == 0o600
        assert made.session(1) == session
        assert made.ping(1).received == 10


def test_a_stale_socket_is_replaced() -> None:
    """Left by a process that died: nobody listens on it any more."""
    with topology(run=False) as made:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(made.instance.socket(1)))
            stale.listen()
        assert made.instance.socket(1).is_socket()
        made.instance.run()
        made.boot(1)
        assert made.ping(1).received == 10


def test_what_is_no_socket_is_left_alone_and_named() -> None:
    with topology((1, 2), run=False) as made:
        path = made.instance.socket(1)
        path.write_text("somebody's file")
        made.instance.run(wait=False)
        made.instance.wait_state("relay 2", lambda state: 2 in state.relays, 120.0)
        status = made.wait_condition(1, "Degraded")
        assert f"{path} exists and is no socket: move it away or choose another path" in status["message"]
        made.boot(2)
        assert made.ping(2).received == 10
        assert path.read_text() == "somebody's file"
        session = made.session(2)
        path.unlink()
        made.wait_condition(1, "Pending")
        made.boot(1)
        assert made.ping(1).received == 10
        assert made.session(2) == session


def test_a_socket_that_another_process_serves_is_left_to_it() -> None:
    with topology((1, 2), run=False) as made, socket.socket(socket.AF_UNIX) as other:
        path = made.instance.socket(1)
        other.bind(str(path))
        other.listen()
        made.instance.run(wait=False)
        made.instance.wait_state("relay 2", lambda state: 2 in state.relays, 120.0)
        assert f"of user {os.getuid()}) listens on {path}" in made.wait_condition(1, "Degraded")["message"]
        other.close()
        made.wait_condition(1, "Pending")


def test_a_socket_that_was_swapped_for_a_link_leads_nowhere_and_comes_back(tmp_path: Path) -> None:
    """As the user may do whose the sockets' directory is."""
    secret = tmp_path / "shadow"
    secret.touch(0o600)
    keys = '"owner": "nobody", "permissions": "0666"'
    with topology(run=False) as made:
        made.instance.save(with_vhost_user(made.text, keys))
        made.instance.run()
        path, before = made.instance.socket(1), of(secret)
        (tmp_path / "link").symlink_to(secret)
        (tmp_path / "link").rename(path)  # at once: the engine would make it again
        message = made.wait_condition(1, "Degraded")["message"]
        assert f"{path} was replaced by a link of user {os.getuid()}: " in message
        assert made.instance.call("apply", str(made.instance.file)).returncode == 0
        assert (of(secret), path.is_symlink()) == (before, True)
        path.unlink()
        made.wait_condition(1, "Pending")
        assert of(path) == (pwd.getpwnam("nobody").pw_uid, os.getgid(), 0o666)
