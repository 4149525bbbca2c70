"""Port control's rules, as its clients know them: what each request comes to, given what there is."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.frontends.port_control import OWNER, AddRelay, ClaimedRelay, RelayTable, RemoveRelay, decide
from reconciler.legacy.virtioforwarder_pb2 import PortControlRequest, PortControlResponse
from schema.rules import claims

ADD, REMOVE, ADD_SOCK, REMOVE_SOCK, QUERY = range(5)
FILE, BOND = "file", "net_bonding1"


def pci(function: int) -> PortControlRequest.PciAddress:
    return PortControlRequest.PciAddress(domain=0, bus=5, slot=8, function=function)


def name(function: int) -> str:
    return f"0000:05:08.{function}"


def named(id_: int, owner: str, device: str, members: Iterable[str] = (), socket: str = "") -> ClaimedRelay:
    own = [claims.bond(device)] if device.startswith("net_bonding") else []
    path = claims.socket(socket or f"/t/{id_}")
    return ClaimedRelay(id_, owner, device, frozenset([path, *map(claims.vf, members), *own]))


def claimed(id_: int, *functions: int, owner: str = OWNER, bond: str = "", socket: str = "") -> ClaimedRelay:
    return named(id_, owner, bond or name(functions[0]), [name(function) for function in functions], socket)


def desk(*relays: ClaimedRelay, dynamic: bool = True) -> RelayTable:
    return RelayTable({each.id: each for each in relays}, tuple(f"/t/{id_}" for id_ in range(64)), dynamic, not dynamic)


def asked(op: int, *functions: int, **given: Any) -> PortControlRequest:
    return PortControlRequest(op=op, pci_addrs=map(pci, functions), **given)  # type: ignore[arg-type]


ONE = claimed(1, 1)
FILES = claimed(1, 1, owner=FILE)
PAIR = claimed(1, 1, 2, bond=BOND)
OK = PortControlResponse.OK


@pytest.mark.parametrize(
    ("there", "request_", "outcome"),
    [
        ((), asked(ADD, 1, virtio_id=3), {"vf": name(1)}),
        ((), asked(ADD, 1), errno.EINVAL),
        ((), asked(ADD, virtio_id=3), errno.EINVAL),
        ((), asked(ADD, 1, virtio_id=64), errno.EINVAL),
        ((), asked(ADD, 1, 2, virtio_id=3), errno.EINVAL),
        ((), asked(ADD, 1, virtio_id=3, name=BOND), errno.EINVAL),
        ((), asked(ADD, 1, 1, virtio_id=3, name=BOND), errno.EINVAL),
        ((), asked(ADD, 1, 2, virtio_id=3, name="bond0"), errno.EINVAL),
        ((), asked(ADD, 1, 2, virtio_id=3, name=BOND, mode=7), errno.EINVAL),
        (
            (),
            asked(ADD, 1, 2, virtio_id=3, name=BOND),
            {"bond": {"name": BOND, "mode": "active-backup", "members": [name(1), name(2)]}},
        ),
        (
            (),
            asked(ADD, 1, 2, virtio_id=3, name=BOND, mode=4),
            {"bond": {"name": BOND, "mode": "802.3ad", "members": [name(1), name(2)]}},
        ),
        ((ONE,), asked(ADD, 1, virtio_id=1), OK),
        ((FILES,), asked(ADD, 1, virtio_id=1), OK),
        ((ONE,), asked(ADD, 1, virtio_id=1, conditional=False), errno.EEXIST),
        ((ONE,), asked(ADD, 2, virtio_id=1), errno.EBUSY),
        ((ONE,), asked(ADD, 1, virtio_id=2), errno.EBUSY),
        ((PAIR,), asked(ADD, 2, virtio_id=2), errno.EBUSY),
        ((PAIR,), asked(ADD, 1, 2, virtio_id=1, name=BOND), errno.EEXIST),
        ((claimed(9, 2, socket="/t/3"),), asked(ADD, 1, virtio_id=3), errno.EBUSY),
        ((), asked(REMOVE, 1, virtio_id=1), OK),
        ((), asked(REMOVE, virtio_id=1), OK),
        ((), asked(REMOVE, virtio_id=1, conditional=False), errno.EINVAL),
        ((), asked(REMOVE, virtio_id=64), errno.EINVAL),
        ((), asked(REMOVE), errno.EINVAL),
        ((), asked(REMOVE, 1, virtio_id=1, conditional=False), errno.ENOENT),
        ((ONE,), asked(REMOVE, 1, virtio_id=1), 1),
        ((ONE,), asked(REMOVE, 2, virtio_id=1), errno.EINVAL),
        ((ONE,), asked(REMOVE, virtio_id=1), errno.EINVAL),
        ((PAIR,), asked(REMOVE, virtio_id=1, name=BOND), 1),
        ((PAIR,), asked(REMOVE, 1, 2, virtio_id=1, name=BOND), 1),
        ((PAIR,), asked(REMOVE, 1, virtio_id=1), errno.EINVAL),
        ((FILES,), asked(REMOVE, 1, virtio_id=1), errno.EPERM),
        ((), asked(ADD_SOCK, 1, vhost_path="/q"), {"vf": name(1), "socket": "/q"}),
        ((), asked(ADD_SOCK, 1, vhost_path="q"), errno.EINVAL),
        ((), asked(ADD_SOCK, 1, vhost_path="/a/../q"), errno.EINVAL),
        ((), asked(ADD_SOCK, 1, vhost_path="/" + "q" * 107), errno.EINVAL),
        ((), asked(ADD_SOCK, vhost_path="/q"), errno.EINVAL),
        ((claimed(0, 1, socket="/q"),), asked(ADD_SOCK, 1, vhost_path="/q"), errno.EBUSY),
        ((claimed(0, 1, socket="/q"),), asked(ADD_SOCK, 1, vhost_path="/q", conditional=False), errno.EBUSY),
        ((claimed(0, 1, socket="/q"),), asked(ADD_SOCK, 2, vhost_path="/q"), errno.EBUSY),
        ((claimed(0, 1, socket="/q"),), asked(ADD_SOCK, 1, vhost_path="/r"), errno.EBUSY),
        ((claimed(0, 1, socket="/q"),), asked(REMOVE_SOCK, 1, vhost_path="/q"), 0),
        ((claimed(0, 1, socket="/q"),), asked(REMOVE_SOCK, vhost_path="/q"), 0),
        ((claimed(0, 1, socket="/q"),), asked(REMOVE_SOCK, 1), 0),
        ((claimed(0, 1, 2, bond=BOND, socket="/q"),), asked(REMOVE_SOCK, vhost_path="/q", name=BOND), 0),
        ((claimed(0, 1, socket="/q"),), asked(REMOVE_SOCK, 2, vhost_path="/q"), errno.EINVAL),
        ((), asked(REMOVE_SOCK, 1, vhost_path="/q"), errno.ENOENT),
        ((), asked(REMOVE_SOCK, 1, vhost_path="/q", conditional=False), errno.ENOENT),
        ((), asked(REMOVE_SOCK), errno.EINVAL),
        ((claimed(0, 1, owner=FILE, socket="/q"),), asked(REMOVE_SOCK, 1, vhost_path="/q"), errno.EPERM),
        ((), asked(QUERY, vhost_path="/q"), errno.ENOENT),
        ((claimed(0, 1, socket="/q"),), asked(QUERY, vhost_path="//q"), name(1)),
        ((claimed(0, 1, 2, bond=BOND, socket="/q"),), asked(QUERY, vhost_path="/q"), BOND),
        ((), asked(QUERY, vhost_path="/t/1"), errno.ENOENT),
    ],
)
def test_a_request_comes_to(there: tuple[ClaimedRelay, ...], request_: PortControlRequest, outcome: object) -> None:
    found = decide(request_, desk(*there))
    if isinstance(found, AddRelay):
        assert found.wanted == outcome
    elif isinstance(found, RemoveRelay):
        assert found.relay == outcome
    elif isinstance(outcome, str):
        assert (found.status, found.query_string) == (OK, outcome)
    elif found.status == OK:
        assert outcome is OK
    else:
        assert (found.status, found.error_code) == (PortControlResponse.ERROR, outcome)
        source, _, sentence = found.error_code_source.partition(": ")
        assert source.endswith("()")
        assert sentence


def test_add_sock_takes_the_lowest_free_relay_until_there_is_none() -> None:
    taken = [claimed(id_, 0, bond=f"net_bonding{id_}") for id_ in (0, 1, 3)]
    found = decide(asked(ADD_SOCK, 7, vhost_path="/q"), desk(*taken))
    assert isinstance(found, AddRelay)
    assert found.relay == 2
    every = [named(id_, FILE, f"d{id_}", socket=f"/s/{id_}") for id_ in range(64)]
    full = decide(asked(ADD_SOCK, 7, vhost_path="/q"), desk(*every))
    assert isinstance(full, PortControlResponse)
    assert full.error_code == errno.ENOSPC


def test_sockets_come_only_where_they_are_dynamic() -> None:
    found = decide(asked(ADD_SOCK, 1, vhost_path="/q"), desk(dynamic=False))
    assert isinstance(found, PortControlResponse)
    assert (found.error_code, "dynamic_sockets: true" in found.error_code_source) == (errno.EPERM, True)


@pytest.mark.parametrize(
    ("there", "request_", "outcome"),
    [
        ((ONE,), asked(REMOVE_SOCK, vhost_path="/t/1"), 1),
        ((ONE,), asked(REMOVE_SOCK, 1, vhost_path="/t/1"), 1),
        ((ONE,), asked(REMOVE_SOCK, 1), 1),
        ((PAIR,), asked(REMOVE_SOCK, vhost_path="/t/1"), 1),
        ((ONE,), asked(REMOVE_SOCK, 2, vhost_path="/t/1"), errno.EINVAL),
        ((FILES,), asked(REMOVE_SOCK, vhost_path="/t/1"), errno.EPERM),
        ((), asked(REMOVE_SOCK, vhost_path="/t/1"), errno.ENOENT),
        ((ONE,), asked(QUERY, vhost_path="/t/1"), name(1)),
        ((ONE,), asked(QUERY, vhost_path="/t/2"), ""),
        ((ONE,), asked(QUERY, vhost_path="/t/64"), errno.ENOENT),
        ((ONE,), asked(QUERY), errno.ENOENT),
    ],
)
def test_on_sockets_of_the_template(
    there: tuple[ClaimedRelay, ...], request_: PortControlRequest, outcome: object
) -> None:
    found = decide(request_, desk(*there, dynamic=False))
    if isinstance(found, RemoveRelay):
        assert found.relay == outcome
    else:
        assert isinstance(found, PortControlResponse)
        assert outcome == (found.query_string if found.status == OK else found.error_code)


def test_a_pci_address_is_told_in_capitals_and_nothing_else_is() -> None:
    there = [
        named(0, OWNER, "0000:5e:0a.3", socket="/q"),
        named(1, FILE, "net_null0", socket="/r"),
    ]
    answers = [decide(asked(QUERY, vhost_path=path), desk(*there)) for path in ("/q", "/r")]
    assert [each.query_string for each in answers if isinstance(each, PortControlResponse)] == [
        "0000:5E:0A.3",
        "net_null0",
    ]


REQUESTS = st.builds(
    lambda op, functions, relay, conditional, bond, path: PortControlRequest(
        op=op,
        pci_addrs=map(pci, functions),
        virtio_id=relay,
        conditional=conditional,
        name=bond,
        vhost_path=path,
    ),
    st.integers(0, 4),
    st.lists(st.integers(0, 3), max_size=3),
    st.none() | st.integers(0, 3),
    st.booleans(),
    st.none() | st.sampled_from([BOND, "net_bonding2"]),
    st.none() | st.sampled_from(["/q", "/t/1", "relative"]),
)


@given(st.lists(REQUESTS, max_size=30))
def test_no_sequence_of_requests_gives_anything_to_two(requests: list[PortControlRequest]) -> None:
    there: dict[int, ClaimedRelay] = {0: claimed(0, 0, owner=FILE)}
    for request in requests:
        found = decide(request, desk(*there.values()))
        if isinstance(found, AddRelay):
            assert found.relay not in there
            bond = found.wanted.get("bond")
            members = frozenset(bond["members"] if bond else [found.wanted["vf"]])
            device = bond["name"] if bond else min(members)
            there[found.relay] = named(found.relay, OWNER, device, members, found.wanted.get("socket", ""))
        elif isinstance(found, RemoveRelay):
            assert there.pop(found.relay).owner == OWNER
        used = [claim for each in there.values() for claim in each.claims]
        assert len(used) == len(set(used))
        assert 0 in there, "the file's stays"
