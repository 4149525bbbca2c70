"""Hugepages and their mounts: what a plan wants of them, that what was found stays, and what is said when it can't be.

The kernel is played: pages of several NUMA nodes are not everywhere (tests/live/test_mounts.py has real
ones of one node).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.desired.from_spec import desired
from reconciler.host.hugepages import HostMounts
from reconciler.host.hugetlb import Entry, parse_mounts
from reconciler.host.refusal import HostRefused, PlanProblem
from reconciler.observe.actions import coming
from reconciler.observe.engine_start import ready
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.describe import words
from reconciler.planning.plan import plan
from schema.loading.loader import parse
from schema.model import Action, Pages, State
from tests.kit.fakes.fake_hugetlb import FakeHugetlb
from tests.kit.fakes.table_host import TableHost


@pytest.fixture
def kernel() -> FakeHugetlb:
    return FakeHugetlb()


@pytest.fixture
def host(tmp_path: Path, kernel: FakeHugetlb) -> Iterator[HostMounts]:
    made = HostMounts(tmp_path / "state", kernel)
    yield made
    made.close()


def spec(*entries: str) -> State:
    lines = "".join(f"  - {{{entry}}}\n" for entry in entries)
    text = f"apiVersion: vio4wd/v1\nengine: {{main_cpu: 0, worker_cpus: [1]}}\nhugepages:\n{lines or '  []'}\n"
    return desired(parse(text, "x"), TableHost())


def todo(host: HostMounts, target: State) -> tuple[Action, ...]:
    live = State(target.engine, target.workers, pages=host.pages(), mounts=host.mounts())
    return plan(target, live).actions


def carry_out(host: HostMounts, target: State) -> list[str]:
    """What the plan said; it leaves nothing to be done."""
    actions = todo(host, target)
    for action in actions:
        host.carry_out(action)
    assert todo(host, target) == ()
    return [f"{action.verb} {action.resource}" for action in actions]


def refusal(host: HostMounts, target: State) -> tuple[str, str]:
    """Of the first action that can't be carried out; those before it are."""
    for action in todo(host, target):
        try:
            host.carry_out(action)
        except HostRefused as caught:
            return caught.refusal.code, str(caught)
    return "done", ""


def pages(reserve: object, mount: Path, size: str = "2M") -> str:
    return f"mount: {mount}, page_size: {size}, reserve: {reserve}"


def test_pages_grow_shrink_and_go(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    assert carry_out(host, spec(pages(100, huge))) == ["add pages:2M", f"add mount:{huge}"]
    assert kernel.live["2M"] == [50, 50]
    assert carry_out(host, spec(pages(300, huge))) == ["update pages:2M"]
    assert kernel.live["2M"] == [150, 150]
    assert carry_out(host, spec(pages(200, huge))) == ["update pages:2M"]
    assert sum(kernel.live["2M"]) == 200
    assert carry_out(host, spec()) == [f"remove mount:{huge}", "remove pages:2M"]
    assert kernel.live["2M"] == [0, 0]
    assert not huge.exists()


def test_pages_lie_on_the_nodes_that_are_asked_for(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    carry_out(host, spec(pages([10, 30], huge)))
    assert kernel.live["2M"] == [10, 30]
    assert carry_out(host, spec(pages([30, 10], huge))) == ["update pages:2M"]
    assert kernel.live["2M"] == [30, 10]
    assert carry_out(host, spec(pages([5], huge))) == ["update pages:2M"]
    assert kernel.live["2M"] == [5, 0]


def test_what_entries_of_one_size_reserve_is_added_up(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    target = spec(pages([10, 5], tmp_path / "a"), pages([0, 7, 0], tmp_path / "b"))
    carry_out(host, target)
    assert kernel.live["2M"] == [10, 12]
    assert set(host.mounts()) == {str(tmp_path / "a"), str(tmp_path / "b")}


def test_pages_that_were_found_count_and_stay(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    kernel.live["2M"] = [40, 20]
    huge = tmp_path / "huge"
    assert carry_out(host, spec(pages(50, huge))) == [f"add mount:{huge}"]
    assert carry_out(host, spec(pages(100, huge))) == ["update pages:2M"]
    assert sum(kernel.live["2M"]) == 100
    assert carry_out(host, spec(pages(10, huge))) == ["update pages:2M"]
    assert kernel.live["2M"] == [40, 20]
    assert carry_out(host, spec(pages([0, 90], huge))) == ["update pages:2M"]
    assert kernel.live["2M"] == [40, 90]
    assert carry_out(host, spec()) == [f"remove mount:{huge}", "update pages:2M"]
    assert kernel.live["2M"] == [40, 20]


def test_pages_that_others_reserve_later_are_theirs(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    carry_out(host, spec(pages([10, 10], huge)))
    kernel.live["2M"] = [10, 500]
    assert carry_out(host, spec(pages([10, 10], huge))) == []
    assert carry_out(host, spec()) == [f"remove mount:{huge}", "update pages:2M"]
    assert kernel.live["2M"] == [0, 500]


def test_pages_that_others_take_away_are_reserved_again(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    kernel.live["2M"] = [30, 0]
    huge = tmp_path / "huge"
    carry_out(host, spec(pages(100, huge)))
    kernel.live["2M"] = [20, 0]
    assert carry_out(host, spec(pages(100, huge))) == ["update pages:2M"]
    assert carry_out(host, spec()) == [f"remove mount:{huge}", "update pages:2M"]
    assert kernel.live["2M"] == [20, 0]


def test_what_was_found_is_remembered_across_restarts_but_not_of_the_host(
    host: HostMounts, kernel: FakeHugetlb, tmp_path: Path
) -> None:
    kernel.live["2M"] = [8, 8]
    huge = tmp_path / "huge"
    carry_out(host, spec(pages(100, huge)))
    again = HostMounts(tmp_path / "state", kernel)
    assert again.pages()["2M"].found == (8, 8)
    assert again.mounts()[str(huge)].ours
    kernel.reboot()
    kernel.live["2M"] = [60, 0]
    kernel.mounted[str(huge)] = Entry(str(huge), "hugetlbfs", "2M")
    assert again.pages()["2M"].found == (60, 0)
    assert not again.mounts()[str(huge)].ours
    assert carry_out(again, spec()) == []
    again.close()


def test_max_map_count_is_twice_the_pages_and_never_lowered(
    host: HostMounts, kernel: FakeHugetlb, tmp_path: Path
) -> None:
    kernel.live["1G"], kernel.room["1G"], kernel.used["1G"] = [0], [100], [0]
    huge = tmp_path / "huge"
    carry_out(host, spec(pages(1000, huge)))
    assert kernel.maps == 65530
    kernel.maps = 1500
    actions = todo(host, spec(pages(1000, huge)))
    assert [words(each) for each in actions] == [
        "1000 pages (2000 MiB), by node 500 500 -> 1000 pages (2000 MiB), vm.max_map_count 1500 -> 2000"
    ]
    carry_out(host, spec(pages(1000, huge)))
    assert kernel.maps == 2000
    carry_out(host, spec(pages(1000, huge), pages(50, tmp_path / "giant", "1G")))
    assert kernel.maps == 2100
    carry_out(host, spec())
    assert kernel.maps == 2100


def test_pages_in_use_are_not_given_back(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    carry_out(host, spec(pages(200, huge)))
    kernel.used["2M"], kernel.promised = [90, 10], 20
    code, message = refusal(host, spec(pages(50, huge)))
    assert (code, message) == (
        "in-use",
        "70 pages of 2M (140 MiB) are in use beyond the 50 that are to stay; they are given back when their users "
        "release them",
    )
    assert sum(kernel.live["2M"]) == 120
    kernel.used["2M"], kernel.promised = [0, 0], 0
    carry_out(host, spec(pages(50, huge)))
    assert sum(kernel.live["2M"]) == 50


def test_what_is_lacking_is_said_and_the_rest_is_had(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    kernel.room["2M"] = [40, 60]
    huge = tmp_path / "huge"
    code, message = refusal(host, spec(pages(150, huge)))
    assert code == "no-memory"
    assert message.startswith("50 of 150 pages of 2M (100 MiB) are missing: memory is in use, or in pieces")
    assert message.endswith("on the kernel's command line: default_hugepagesz=2M hugepagesz=2M hugepages=150")
    assert kernel.live["2M"] == [40, 60]
    assert "20 of 100 pages of 2M (40 MiB) are missing (node 0: 20)" in refusal(host, spec(pages([60, 40], huge)))[1]
    assert refusal(host, spec(pages([60, 40], huge)))[1].endswith("hugepages=0:60,1:40")
    kernel.room["2M"] = [75, 75]
    carry_out(host, spec(pages(150, huge)))


def test_a_host_is_not_starved(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    kernel.available = 100 * 2**20
    target = spec(pages(80, tmp_path / "huge"))
    sentence = (
        "80 pages of 2M need 160 MiB more and this host has 100 MiB available: 60 MiB are missing, and none were "
        "reserved; reserve fewer, or give the host more memory"
    )
    assert host.refusals(todo(host, target)) == [PlanProblem("pages:2M", sentence)]
    assert refusal(host, target) == ("no-memory", sentence)
    assert kernel.writes == []


def test_a_page_size_and_a_node_that_are_not_there(host: HostMounts, tmp_path: Path) -> None:
    giant, beyond = spec(pages(1, tmp_path / "a", "1G")), spec(pages([1, 1, 0, 1], tmp_path / "b"))
    assert refusal(host, giant)[1] == (
        "this host can't have pages of 1G (its CPU has no flag pdpe1gb, or its kernel no hugetlbfs); it has pages of "
        "2M: write another page_size"
    )
    assert len(host.refusals(todo(host, giant))) == 2  # the pages and the mount
    assert "asks for pages on NUMA node 3, and the last node of this host is 1: take it out" in refusal(host, beyond)[1]


def test_a_mount_moves_new_one_first(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "deep" / "new"
    carry_out(host, spec(pages(10, old)))
    before = kernel.live["2M"]
    kernel.busy.add(str(old))
    assert [f"{a.verb} {a.resource}" for a in todo(host, spec(pages(10, new)))] == [
        f"add mount:{new}",
        f"remove mount:{old}",
    ]
    code, message = refusal(host, spec(pages(10, new)))
    assert code == "in-use"
    assert message.startswith(f"{old} is in use by ")
    assert set(host.mounts()) == {str(old), str(new)}
    kernel.busy.clear()
    assert carry_out(host, spec(pages(10, new))) == [f"remove mount:{old}"]
    assert kernel.live["2M"] == before
    carry_out(host, spec())
    assert not (tmp_path / "deep").exists()


def test_a_mount_of_others_is_taken_as_it_is_and_stays(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    huge.mkdir()
    kernel.mounted[str(huge)] = Entry(str(huge), "hugetlbfs", "2M")
    kernel.live["2M"] = [10, 10]
    assert carry_out(host, spec(pages(10, huge))) == []
    assert carry_out(host, spec()) == []
    assert kernel.writes == []


def test_pages_of_another_size_at_the_same_place(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    kernel.live["1G"], kernel.room["1G"], kernel.used["1G"] = [0], [2], [0]
    huge = tmp_path / "huge"
    carry_out(host, spec(pages(0, huge)))
    assert carry_out(host, spec(pages(0, huge, "1G"))) == [f"replace mount:{huge}"]
    assert kernel.writes[-2:] == [f"unmount {huge}", f"mount {huge} 1G"]
    kernel.busy.add(str(huge))
    assert refusal(host, spec(pages(0, huge)))[0] == "in-use"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    kernel.mounted[str(theirs)] = Entry(str(theirs), "hugetlbfs", "1G")
    assert refusal(host, spec(pages(0, theirs), pages(0, huge, "1G")))[1] == (
        f"{theirs} is mounted with pages of 1G, not by vio4wd; write page_size: 1G, name another path under mount, or "
        f"run: umount {theirs}"
    )


def files_in(path: Path) -> str:
    path.mkdir()
    (path / "a").touch()
    return f"{path} has files in it, which a mount would hide; empty it, or name another path under mount"


def a_file(path: Path) -> str:
    path.touch()
    return f"{path} is no directory; name another path under mount"


def a_link(path: Path) -> str:
    path.symlink_to("elsewhere")
    return f"{path} leads to {path.parent / 'elsewhere'}; write that under mount"


@pytest.mark.parametrize("lay", [files_in, a_file, a_link])
def test_places_where_nothing_is_mounted(host: HostMounts, tmp_path: Path, lay: Callable[[Path], str]) -> None:
    sentence = lay(tmp_path / "huge")
    target = spec(pages(0, tmp_path / "huge"))
    assert host.refusals(todo(host, target)) == [PlanProblem(f"mount:{tmp_path / 'huge'}", sentence)]
    assert refusal(host, target) == ("failed", sentence)


def test_another_file_system_is_there(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    kernel.mounted[str(tmp_path)] = Entry(str(tmp_path), "ext4", "")
    assert f"a file system of type ext4 is mounted at {tmp_path}" in refusal(host, spec(pages(0, tmp_path)))[1]


def test_directories_for_libvirt(host: HostMounts, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    entry = f"{pages(0, huge)}, libvirt: {{owner: libvirt-qemu, group: kvm"
    carry_out(host, spec(f"{entry}, permissions: '0770'}}"))
    for name in ("libvirt", "libvirt/qemu"):
        found = (huge / name).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (64055, 108, 0o770)
    assert carry_out(host, spec(f"{entry}}}")) == [f"update mount:{huge}"]
    (huge / "libvirt/qemu").chmod(0o700)
    assert carry_out(host, spec(f"{entry}}}")) == [f"update mount:{huge}"]
    (huge / "libvirt/qemu").rmdir()
    assert carry_out(host, spec(f"{entry}}}")) == [f"update mount:{huge}"]
    assert carry_out(host, spec(pages(0, huge))) == []


def test_who_may_not_is_told_so(host: HostMounts, kernel: FakeHugetlb, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_size: str, _total: int) -> None:
        raise PermissionError(1, "Operation not permitted", "nr_hugepages")

    monkeypatch.setattr(kernel, "reserve", refuse)
    code, message = refusal(host, spec(pages(5, Path("/nowhere"))))
    assert (code, "vio4wd has to run as root for that" in message) == ("failed", True)


def test_before_the_first_engine_all_is_made_ready(host: HostMounts, kernel: FakeHugetlb, tmp_path: Path) -> None:
    kernel.room["2M"] = [40, 60]
    target = spec(pages(150, tmp_path / "huge"))
    assert ready(host, target, HostSnapshot(silent={0: "it starts"})) == ""
    assert kernel.writes == []
    assert "pages:2M: 50 of 150 pages of 2M (100 MiB) are missing" in ready(host, target, HostSnapshot())
    assert set(host.mounts()) == {str(tmp_path / "huge")}


def test_pages_that_are_coming_are_reckoned_with() -> None:
    target = spec("mount: /a, page_size: 2M, reserve: [4, 1]", "mount: /b, page_size: 1G, reserve: 2")
    live = State(target.engine, target.workers, pages={"2M": Pages("2M", 4, (1, 3), (0, 0))})
    mib = 2**20
    assert coming(plan(target, live).actions, [0, 1]) == {0: (3 * 2 + 1024) * mib, 1: 1024 * mib}
    assert coming(plan(target, live).actions, []) == {}


def test_lines_of_proc_mounts() -> None:
    lines = [
        "tmpfs /dev/shm tmpfs rw 0 0",
        "vio4wd /mnt/with\\040space hugetlbfs rw,nosuid,nodev,relatime,pagesize=1024M 0 0",
        "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0",
    ]
    assert list(parse_mounts(lines)) == [
        Entry("/dev/shm", "tmpfs", ""),
        Entry("/mnt/with space", "hugetlbfs", "1G"),
        Entry("/dev/hugepages", "hugetlbfs", "2M"),
    ]


def test_nothing_is_left_open(tmp_path: Path, kernel: FakeHugetlb) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made = HostMounts(tmp_path, kernel)
    made.pages()
    made.close()
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before
