"""Hugepages reserved, grown, shrunk, mounted, moved and given back on this host, while numbered packets pass."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from schema.model import PAGE_BYTES
from tests.kit import cleanup
from tests.kit.runner.repetitions import times
from tests.kit.system import host
from tests.kit.system.hugepages import Holder, HostHugepages
from tests.kit.topology import Topology, topology, wait_frames
from tests.kit.waiting import wait_for

ROUNDS = times(1, 10)
pytestmark = pytest.mark.skipif(not Path("/sys/kernel/mm/hugepages").is_dir(), reason="needs a kernel with hugepages")


@pytest.fixture
def huge() -> Iterator[HostHugepages]:
    """Mounts are made below its directory."""
    with HostHugepages(cleanup.short_directory()) as made:
        yield made
    made.directory.rmdir()


@pytest.fixture
def made(huge: HostHugepages) -> Iterator[Topology]:
    assert huge.found  # asked for first, so that it is given back last
    with topology((1,)) as one:
        yield one


def save(made: Topology, *entries: dict[str, Any]) -> None:
    made.instance.save(f"{made.text}hugepages: {json.dumps(entries)}\n")


def entry(path: Path, reserve: int | list[int], **more: Any) -> dict[str, Any]:
    return {"mount": str(path), "page_size": "2M", "reserve": reserve, **more}


def wait_mounts(huge: HostHugepages, *paths: Path) -> None:
    """Until these and no others are mounted below the directory."""

    def there() -> bool:
        return {path for path in host.hugetlbfs_mounts() if huge.directory in path.parents} == set(paths)

    wait_for(f"the mounts {paths}", there, 40.0)


def wait_pages(huge: HostHugepages, total: int) -> None:
    wait_for(f"{total} pages", lambda: huge.total() == total, 40.0)


def test_nothing_of_it_touches_traffic(made: Topology, huge: HostHugepages) -> None:
    old, new = huge.directory / "old", huge.directory / "deep/new"
    found = huge.total()
    made.boot(1, "io")
    session = made.session(1)
    with made.flow(1) as flow:
        for _ in range(ROUNDS):
            save(made, entry(old, found + 20, libvirt={"owner": "root", "group": "root", "permissions": "0750"}))
            wait_mounts(huge, old)
            wait_for("its directories", lambda: (old / "libvirt/qemu").is_dir())
            wait_pages(huge, found + 20)
            for total in (found + 60, found + 10):
                save(made, entry(old, total))
                wait_pages(huge, total)
                wait_frames(flow)
            move_while_held(made, huge, old, new, found + 10)
            wait_frames(flow)
            save(made)
            wait_mounts(huge)
            wait_pages(huge, found)
            wait_frames(flow)
        report = flow.finish()
    assert report.clean, report
    assert made.session(1) == session
    done = [action for action, _ in groupby(made.changes()[3:])]  # what is tried again is the same again
    grown = ["update pages:2M", f"add mount:{old}", "update pages:2M"]
    assert done == ROUNDS * [*grown, f"add mount:{new}", f"remove mount:{old}", f"remove mount:{new}"] + grown[:1]
    assert list(huge.directory.iterdir()) == []


def move_while_held(made: Topology, huge: HostHugepages, old: Path, new: Path, total: int) -> None:
    """The new mount is there at once, the old one goes when its user has."""
    info = (old / "libvirt/qemu").stat()
    assert (info.st_uid, info.st_mode & 0o777) == (0, 0o750)
    with Holder(old / "libvirt/qemu/memory", PAGE_BYTES["2M"]) as holder:
        save(made, entry(new, total))
        wait_mounts(huge, old, new)
        message = f"remove mount:{old}: {old} is in use by {Path(sys.executable).name} (pid {holder.pid}); it is"
        wait_for("that to be said", lambda: message in (made.instance.status()["watch"]["last_apply"] or {})["message"])
        assert made.relay_status(1)["condition"] == "Ready"
    wait_mounts(huge, new)


def test_refusals_say_what_to_do_and_hurt_no_relay(made: Topology, huge: HostHugepages) -> None:
    full, plain = huge.directory / "full", huge.directory / "plain"
    full.mkdir()
    (full / "a").touch()
    plain.touch()
    found = huge.total()
    save(made, entry(full, 10**6), entry(plain, 0), entry(huge.directory / "good", 0))
    expected = [
        "1000000 pages of 2M need ",
        f"{full} has files in it, which a mount would hide; empty it, or name another path under mount",
        f"{plain} is no directory; name another path under mount",
    ]
    wait_mounts(huge, huge.directory / "good")
    said = wait_for("the refusals", lambda: made.instance.call("plan", str(made.instance.file)).stdout)
    assert all(sentence in said for sentence in expected), said
    message = wait_for("the outcome", lambda: (made.instance.status()["watch"]["last_apply"] or {}).get("message"))
    assert all(sentence in message for sentence in expected), message
    assert (huge.total(), made.relay_status(1)["condition"]) == (found, "Pending")
    assert made.relay_status(1)["message"] == "no guest is connected"
    (full / "a").unlink()
    plain.unlink()
    save(made)
    wait_mounts(huge)
    full.rmdir()


def test_pages_of_one_gibibyte(huge: HostHugepages) -> None:
    size = "1G"
    if size not in huge.kernel.sizes() or huge.kernel.available_bytes() < 3 * PAGE_BYTES[size]:
        pytest.skip("needs a CPU with pages of 1 GiB (pdpe1gb) and 3 GiB of memory available")
    path, found = huge.directory / "giant", huge.total(size)
    with topology(()) as made:
        save(made, {"mount": str(path), "page_size": size, "reserve": found + 1})
        wait_mounts(huge, path)
        wait_for("a page", lambda: huge.total(size) == found + 1)
        with Holder(path / "memory", PAGE_BYTES[size]):
            save(made)
            wait_for("the mount to be tried", lambda: "in use" in made.instance.log)
            assert huge.total(size) == found + 1
        (path / "memory").unlink()
        wait_mounts(huge)
        wait_for("the page to be given back", lambda: huge.total(size) == found)
