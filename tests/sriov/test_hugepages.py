"""Pages of 1 GiB, which this machine has: reserved, mounted, held, given back, refused with what would help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.desired.from_spec import desired
from reconciler.host.host import ThisHost
from reconciler.host.hugepages import HostMounts
from reconciler.host.refusal import HostRefused
from reconciler.planning.plan import plan
from schema.loading.loader import parse
from schema.model import PAGE_BYTES, Action, State
from tests.kit.system.hugepages import Holder, HostHugepages
from tests.kit.waiting import wait_for

SIZE = "1G"


@pytest.fixture
def huge(tmp_path: Path) -> Iterator[HostHugepages]:
    with HostHugepages(tmp_path) as made:
        if SIZE not in made.found or made.total(SIZE) == 0:
            pytest.skip("needs a page of 1 GiB from the kernel's command line (sriov-vm -g 1)")
        yield made


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[HostMounts]:
    made = HostMounts(tmp_path / "state")
    yield made
    made.close()


def carry_out(mounts: HostMounts, *entries: str) -> list[str]:
    """What was done, and of what failed why."""
    text = f"apiVersion: vio4wd/v1\nengine: {{worker_cpus: [1]}}\nhugepages: [{', '.join(entries)}]\n"
    target = desired(parse(text, "x"), ThisHost())
    live = State(target.engine, target.workers, pages=mounts.pages(), mounts=mounts.mounts())
    return [_one(mounts, action) for action in plan(target, live).actions]


def _one(mounts: HostMounts, action: Action) -> str:
    try:
        mounts.carry_out(action)
    except HostRefused as refused:
        return f"{action.resource}: {refused}"
    return action.resource


def entry(path: Path, reserve: int) -> str:
    return f"{{mount: {path}, page_size: {SIZE}, reserve: {reserve}, libvirt: {{owner: root, group: root}}}}"


def test_a_page_of_the_kernels_command_line_counts_and_stays(
    huge: HostHugepages, mounts: HostMounts, tmp_path: Path
) -> None:
    found = huge.total(SIZE)
    assert carry_out(mounts, entry(tmp_path / "giant", found)) == [f"mount:{tmp_path / 'giant'}"]
    assert carry_out(mounts, entry(tmp_path / "giant", found)) == []
    assert carry_out(mounts) == [f"mount:{tmp_path / 'giant'}"]
    assert huge.total(SIZE) == found


def test_reserved_mounted_held_and_given_back(huge: HostHugepages, mounts: HostMounts, tmp_path: Path) -> None:
    giant = tmp_path / "giant"
    carry_out(mounts, entry(giant, 0))
    huge.kernel.reserve(SIZE, 0)  # what it kept is there in one piece, and what files occupy of it can be dropped

    def reserved() -> bool:
        """Tried again, as the reconcile loop does it."""
        Path("/proc/sys/vm/drop_caches").write_text("3")
        return carry_out(mounts, entry(giant, 1)) == [f"pages:{SIZE}"]

    wait_for("a piece of 1 GiB", reserved, 120.0, 1.0)
    assert huge.total(SIZE) == 1
    assert mounts.mounts()[str(giant)].permissions == 0o755
    memory = giant / "libvirt/qemu/memory"
    with Holder(memory, PAGE_BYTES[SIZE]) as holder:
        mount, pages = carry_out(mounts)
        assert mount.startswith(f"mount:{giant}: {giant} is in use by python")
        assert f"(pid {holder.pid})" in mount
        assert pages.startswith("pages:1G: 1 pages of 1G (1024 MiB) are in use beyond the 0 that are to stay")
        assert huge.total(SIZE) == 1
    memory.unlink()
    assert carry_out(mounts) == [f"mount:{giant}", f"pages:{SIZE}"]
    assert huge.total(SIZE) == 0
    assert not giant.exists()


def test_what_is_missing_is_said(huge: HostHugepages, mounts: HostMounts, tmp_path: Path) -> None:
    found = huge.total(SIZE)
    many = found + huge.kernel.available_bytes() // PAGE_BYTES[SIZE] + 1
    [refused, *_] = carry_out(mounts, f"{{mount: {tmp_path / 'giant'}, page_size: {SIZE}, reserve: {many}}}")
    assert re.fullmatch(rf"pages:1G: {many} pages of 1G need \d+ MiB more .* MiB are missing, .*", refused)
    assert huge.total(SIZE) == found
    [refused, *_] = carry_out(mounts, f"{{mount: {tmp_path / 'giant'}, page_size: {SIZE}, reserve: {many - 1}}}")
    if huge.total(SIZE) < many - 1:  # memory is hardly ever in one piece
        command_line = f"default_hugepagesz=1G hugepagesz=1G hugepages={many - 1}"
        assert refused.endswith(f"write on the kernel's command line: {command_line}")
    carry_out(mounts)
    assert huge.total(SIZE) == found
