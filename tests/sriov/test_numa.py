"""Two NUMA nodes, a CPU on each: packet buffers follow the guest's memory, and say when they could not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from schema.model import Kind
from tests.sriov.bench import Bench, bound
from tests.sriov.machine import DEVICES
from tests.sriov.waits import condition, port, text, wait_buffers, wait_condition, wait_ports

NODES = Path("/sys/devices/system/node")
GUEST_PAGES = 64
"""What a guest takes on each node: half of its 256 MiB, in pages of 2 MiB."""


@contextlib.contextmanager
def only_free(node: int, pages: int) -> Iterator[None]:
    """So many hugepages of 2 MiB are free on a node while the block runs, and none of another size."""
    sizes = list((NODES / f"node{node}/hugepages").iterdir())
    reserved = {size: int((size / "nr_hugepages").read_text()) for size in sizes}
    for size, count in reserved.items():
        used = count - int((size / "free_hugepages").read_text())
        (size / "nr_hugepages").write_text(str(used + (pages if size.name == "hugepages-2048kB" else 0)))
    try:
        yield
    finally:
        for size, count in reserved.items():
            (size / "nr_hugepages").write_text(str(count))


def test_buffers_follow_the_guest(bench: Bench, nics: list[str]) -> None:
    vf, peer = nics[:2]
    (DEVICES / vf / "numa_node").write_text("0")  # the emulated bus says nothing
    bench.lay(1, vf, peer)
    bench.instance.save(text(bench.instance, bound(1, vf)))
    seen = wait_ports(bench.instance, vf)
    assert (seen.live.ports[vf].numa, seen.live.ports[vf].buffers) == (0, 0)
    wait_condition(bench.instance, 1, "Pending", "no guest is connected")
    assert bench.instance.client.observe().state.pins[1].vf_to_vm == 0, "placed on its VF's node"
    boot = bench.instance.client.hello().boot_id
    for node in (1, 0):
        bench.boot(1, cpu=node)
        wait_buffers(bench.instance, vf, node)
        path = str(bench.instance.socket(1))
        assert bench.instance.client.observe().state.nodes == {(Kind.SOCKET, path): node}
        print(f"guest on node {node}:", port(bench.instance, vf))
        bench.pass_frames(1)
        bench.shut_down(1)
    assert bench.instance.client.hello().boot_id == boot


def test_without_memory_there_buffers_stay_and_status_says_so(bench: Bench, nics: list[str]) -> None:
    vf, peer = nics[:2]
    (DEVICES / vf / "numa_node").write_text("0")
    bench.lay(1, vf, peer)
    bench.instance.save(text(bench.instance, bound(1, vf)))
    wait_ports(bench.instance, vf)
    with only_free(1, GUEST_PAGES + 1):
        bench.boot(1, cpu=1, well=False)
        wait_condition(bench.instance, 1, "Degraded", "numa: guest on node 1, buffers on node 0: no free hugepages")
        print("relay 1:", *condition(bench.instance, 1))
        bench.pass_frames(1)
        bench.shut_down(1)
    bench.boot(1, cpu=1)
    wait_buffers(bench.instance, vf, 1)
    bench.pass_frames(1)
