"""The small pure parts: matching, placement, chains, desired."""

from __future__ import annotations

import pytest

import schema
from reconciler.desired.from_spec import desired
from reconciler.host.host import ThisHost
from reconciler.host.refusal import SpecUnfit
from reconciler.order.handover import Handover, handover
from reconciler.planning.cpus import place
from reconciler.planning.plan import plan
from reconciler.resources.diff import difference, matches
from schema.model import Mount, Pages, Pin, Port, Relay, Resource, Socket, State, Worker
from tests.kit.fakes.table_host import TableHost


@pytest.mark.parametrize(
    ("wanted", "live", "same"),
    [
        (None, None, True),
        (None, Pin(1, 1, 2), True),
        (Pin(1, 1, 2), Pin(1, 1, 2), True),
        (Pin(1, 1, 2), Pin(1, 2, 1), False),
        (Pin(1, 1, 2), None, False),
        (Port("a"), Port("a"), True),
        (Port("a"), Port("a", "size=64"), False),
        (Port("a"), None, False),
        (None, Port("a"), False),
        (Socket("/a"), Socket("/a", gid=1), False),
        (Relay(1, "a", "/a"), Relay(1, "a", "/a"), True),
        (Relay(1, "a", "/a"), Relay(1, "b", "/a"), False),
        (Worker(1), Worker(1), True),
        (Pages("2M", 0), None, True),
        (Pages("2M", 1), None, False),
        (None, Pages("2M", 5, (5,), (5,)), True),
        (None, Pages("2M", 5, (5,), (4,)), False),
        (Pages("2M", 3), Pages("2M", 5, (5,), (5,)), True),
        (Pages("2M", 3), Pages("2M", 5, (5,), (2,)), False),
        (Pages("2M", 4), Pages("2M", 4, (1, 3), (0, 0)), True),
        (Pages("2M", 4, (3, 1)), Pages("2M", 4, (1, 3), (0, 0)), False),
        (Pages("2M", 4, (1, 3), max_maps=9), Pages("2M", 4, (1, 3), (0, 0), 8), False),
        (Mount("/a", "2M"), None, False),
        (Mount("/a", "2M"), Mount("/a", "2M", 1, 1, 0o755, ours=False), True),
        (Mount("/a", "2M", 0, 1, 0o755), Mount("/a", "2M", 1, 1, 0o755), False),
        (Mount("/a", "2M"), Mount("/a", "1G"), False),
        (None, Mount("/a", "2M"), False),
        (None, Mount("/a", "2M", ours=False), True),
    ],
)
def test_matches(wanted: Resource | None, live: Resource | None, same: bool) -> None:
    assert matches(wanted, live) is same


def test_difference_is_sorted() -> None:
    wanted, live = {3: Worker(3), 1: Worker(1), 2: Worker(2)}, {2: Worker(2), 9: Worker(9), 8: Worker(8)}
    found = difference(wanted, live)
    assert (list(found.added), list(found.removed), found.changed) == ([1, 3], [8, 9], {})


def pairs(*relays: Relay, cpus: tuple[int, ...] = (1, 2), pins: tuple[Pin, ...] = ()) -> State:
    ports = {r.port for r in relays}
    sockets = {r.socket for r in relays}
    rest: list[Resource] = [*(Port(p) for p in ports), *(Socket(s) for s in sockets), *(Worker(c) for c in cpus)]
    return State.of([*relays, *rest, *pins])


def test_placement_is_sticky_and_even() -> None:
    four = [Relay(i, f"p{i}", f"/{i}") for i in range(4)]
    wanted = pairs(*four)
    live = pairs(*four[:2], pins=(Pin(0, 2, 2), Pin(1, 2, 1)))
    assert place(wanted, live) == {0: Pin(0, 2, 2), 1: Pin(1, 2, 1), 2: Pin(2, 1, 1), 3: Pin(3, 1, 1)}


def test_placement_moves_only_what_lost_its_cpu() -> None:
    two = [Relay(i, f"p{i}", f"/{i}") for i in range(2)]
    live = pairs(*two, cpus=(1, 2, 3), pins=(Pin(0, 1, 3), Pin(1, 2, 2)))
    assert place(pairs(*two), live) == {0: Pin(0, 1, 1), 1: Pin(1, 2, 2)}


def test_placement_avoids_the_main_cpu_among_equals() -> None:
    assert place(pairs(Relay(0, "p", "/p"), cpus=(0, 1)), State()) == {0: Pin(0, 1, 1)}


def test_placement_without_workers_says_so() -> None:
    with pytest.raises(ValueError, match="worker_cpus"):
        place(pairs(Relay(0, "p", "/p"), cpus=()), State())


def updated(count: int, by: int, repinned: frozenset[int] = frozenset(), shuffle: tuple[int, int] = (1, 0)) -> Handover:
    """Relay i takes the port of relay i + by, and the socket of relay i * shuffle[0] + shuffle[1]."""
    times, more = shuffle
    after = [Relay(i, f"p{(i + by) % count}", f"/{(i * times + more) % count}") for i in range(count)]
    return handover(pairs(*after), pairs(*(Relay(i, f"p{i}", f"/{i}") for i in range(count))), repinned, {})


@pytest.mark.parametrize(
    ("count", "by", "broken"), [(2, 1, (0,)), (64, 1, (0,)), (64, 32, tuple(range(32))), (4, 0, ())]
)
def test_one_relay_of_each_circle_is_broken(count: int, by: int, broken: tuple[int, ...]) -> None:
    found = updated(count, by)
    assert tuple(found.broken) == broken
    assert sorted((*found.broken, *found.updated)) == list(range(count if by else 0))


def test_a_relay_that_changes_its_pin_is_broken_for_free() -> None:
    assert tuple(updated(3, 1, frozenset({2})).broken) == (2,)


def test_a_circle_too_large_for_exact_search_is_still_undone() -> None:
    found = updated(30, 1, shuffle=(7, 3))
    assert sorted((*found.broken, *found.updated)) == list(range(30))
    assert len(found.broken) < 20


def document(relays: str = "[]", more: str = "", cpus: str = "[1, 2]") -> str:
    return f"apiVersion: vio4wd/v1\nengine: {{main_cpu: 0, worker_cpus: {cpus}}}\n{more}\nrelays: {relays}\n"


def test_desired_is_what_the_spec_says() -> None:
    spec = schema.parse(
        document(
            '[{id: 1, vf: "0000:05:08.1", cpus: [1, 2]}, {id: 2, vf: "net_null0,size=64", socket: /run/2.sock}]',
            'vhost_user: {directory: /srv, owner: libvirt-qemu, group: kvm, permissions: "0600"}',
        ),
        "a.yaml",
    )
    state = desired(spec, TableHost())
    path = "/srv/virtio-forwarder1.sock"
    assert dict(state.ports) == {"0000:05:08.1": Port("0000:05:08.1"), "net_null0": Port("net_null0", "size=64")}
    assert state.sockets[path] == Socket(path, "server", 64055, 108, 0o600)
    assert state.relays[2] == Relay(2, "net_null0", "/run/2.sock")
    assert dict(state.pins) == {1: Pin(1, 1, 2)}


def test_what_guests_may_leave_open_stands_with_the_socket_and_with_who_does_it() -> None:
    spec = schema.parse(document("[{id: 1, vf: net_null0}]", "vhost_user: {csum: true, tso: true}"), "a.yaml")
    state = desired(spec, TableHost())
    assert state.sockets["/tmp/virtio-forwarder1.sock"].features == ("csum", "tso")
    assert state.ports["net_null0"] == Port("net_null0", checksums=True, tso=True)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (document(more="vhost_user: {owner: nobody-such}"), ["no user 'nobody-such'"]),
        (document(more="vhost_user: {group: nobody-such}"), ["no group 'nobody-such'"]),
        (document(cpus="[1, 7, 9]"), ["CPU 7 does not exist", "CPU 9 does not exist"]),
        (
            document(more="hugepages: [{mount: /h, page_size: 2M, reserve: 5, libvirt: {owner: no, group: none}}]"),
            ["hugepages[0].libvirt.owner: this host has no user 'no'", "hugepages[0].libvirt.group: this host has no"],
        ),
    ],
)
def test_desired_refuses_what_this_host_has_not(text: str, reasons: list[str]) -> None:
    with pytest.raises(SpecUnfit) as refused:
        desired(schema.parse(text, "a.yaml"), TableHost())
    assert len(refused.value.reasons) == len(reasons)
    for reason, part in zip(refused.value.reasons, reasons, strict=True):
        assert part in reason


def test_this_host() -> None:
    host = ThisHost()
    assert host.uid_of("root") == 0
    assert host.gid_of("root") == 0
    assert host.uid_of("4711") == 4711
    assert host.uid_of("no such user") is None
    assert host.runs_on(0)
    assert not host.runs_on(1023)
    assert host.cpus()


def test_plan_of_64_relays_in_pairs_that_swap() -> None:
    before = [Relay(i, f"p{i}", f"/{i}") for i in range(64)]
    after = [Relay(i, f"p{i ^ 1}", f"/{i}") for i in range(64)]
    live = pairs(*before, pins=tuple(Pin(i, 1, 1) for i in range(64)))
    actions = plan(pairs(*after), live).actions
    assert len(actions) == 64 + 32
