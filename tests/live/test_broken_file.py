"""What stands in the file is broken, or nothing stands there: the last good spec stays in force, and that is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.kit.instance import Instance
from tests.kit.topology import MAIN_CPU, Topology, topology, wait_frames
from tests.kit.waiting import wait_for

Breaking = Callable[[Instance, str], None]


def empty(instance: Instance, _text: str) -> None:
    instance.file.write_text("")


def truncated(instance: Instance, text: str) -> None:
    instance.file.write_text(text[: text.index("relays:") + len("relays:\n  - {")])


def invalid(instance: Instance, text: str) -> None:
    instance.save(text.replace('"cpus"', '"cpu"'))


def not_yaml(instance: Instance, _text: str) -> None:
    instance.file.write_bytes(b"\x7fELF\x02\x01\x01\x00")


def vanished(instance: Instance, _text: str) -> None:
    instance.file.unlink()


def not_for_this_host(instance: Instance, text: str) -> None:
    instance.save(text.replace(f'"main_cpu": {MAIN_CPU}', '"main_cpu": 999'))


BREAKINGS: dict[Breaking, str] = {
    empty: "empty",
    truncated: "vio4wd.yaml:",
    invalid: "'cpu'",
    not_yaml: "vio4wd.yaml:",
    vanished: "vio4wd.yaml",
    not_for_this_host: "CPU 999",
}
"""How a file is broken, and a word that the reason must have."""


@pytest.fixture(scope="module")
def relayed() -> Iterator[Topology]:
    with topology() as made:
        made.boot(1, "io")
        yield made


def refused(made: Topology) -> list[str]:
    """Why the file is refused, as `vio4wd status` has it; empty when it is not."""
    found = made.instance.status()["watch"]["refused"]
    return list(found["problems"]) if found else []


@pytest.mark.parametrize("broken", BREAKINGS, ids=lambda each: each.__name__)
def test_a_broken_file_changes_nothing(relayed: Topology, broken: Breaking) -> None:
    instance, good = relayed.instance, relayed.text
    in_force, done, session = instance.status()["watch"]["in_force"], relayed.changes(), relayed.session(1)
    with relayed.flow(1) as flow:
        wait_frames(flow)
        broken(instance, good)
        problems = wait_for("the refusal", lambda: refused(relayed), 60.0, 0.1)
        wait_frames(flow, 1000)
        assert BREAKINGS[broken] in problems[0]
        assert instance.status()["watch"]["in_force"] == in_force
        instance.save(good)
        wait_for("the end of the refusal", lambda: not refused(relayed), 60.0, 0.1)
        report = flow.finish()
    assert report.clean, report
    assert relayed.changes() == done
    assert relayed.session(1) == session
    instance.check_running()


def test_a_file_that_was_mended_is_applied(relayed: Topology) -> None:
    invalid(relayed.instance, relayed.text)
    wait_for("the refusal", lambda: refused(relayed), 60.0, 0.1)
    relayed.wire(2)
    relayed.save()
    relayed.instance.wait_applied()
    wait_for("the end of the refusal", lambda: not refused(relayed), 60.0, 0.1)
    assert relayed.relay_status(2)["condition"] == "Pending"
    assert relayed.relay_status(1)["condition"] == "Ready"
