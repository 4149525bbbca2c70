"""Several owners: who came first has it, whoever saves, prunes or asks last."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schema
from reconciler.apply.proposal import Intent, proposed
from reconciler.desired.desired_state import Requests, wanted
from reconciler.host.refusal import SpecUnfit
from reconciler.observe.engines import HostSnapshot
from reconciler.planning.plan import plan
from reconciler.policy.claims import MergedRelays, merge_requests
from reconciler.terminal import plan_text
from schema import Spec, SpecError, requested_relay
from schema.model import Kind, Relay, Socket, State
from schema.rules.claims import of_spec, of_state
from state.relay_requests import RelayRequest
from tests.kit.fakes.table_host import TableHost

HOST = TableHost()


def spec(*relays: dict[str, Any]) -> Spec:
    return schema.parse(json.dumps({"apiVersion": "vio4wd/v1", "relays": relays}), "f")


def relay(id_: int, vf: int | None = None, **more: Any) -> dict[str, Any]:
    return {"id": id_, "vf": f"net_null{id_ if vf is None else vf}", **more}


def request(owner: str, id_: int, vf: int, since: float, **more: Any) -> RelayRequest:
    return RelayRequest(owner, id_, {"vf": f"net_null{vf}", **more}, since)


def claimed_since(since: float, whole: Spec) -> dict[str, float]:
    return {thing: since for each in whole.relays for thing in of_spec(whole.vhost_user, each)}


def ids(found: MergedRelays) -> set[int]:
    return {each.id for each in found.spec.relays}


def test_requests_stand_beside_the_files_relays() -> None:
    found = merge_requests(spec(relay(1)), [request("ovsdb", 2, 2, 5.0)], {})
    assert ids(found) == {1, 2}
    assert dict(found.owners) == {2: "ovsdb"}
    assert found.left_out == ()
    assert found.claimed == {"id 1", "VF net_null1", "socket /tmp/virtio-forwarder1.sock"}


def test_a_request_that_comes_after_the_file_is_left_out() -> None:
    whole = spec(relay(1))
    for late in (request("ovsdb", 1, 7, 5.0), request("ovsdb", 2, 1, 5.0)):
        found = merge_requests(whole, [late], claimed_since(3.0, whole))
        assert ids(found) == {1}
        assert "belongs to relay 1 of the file, which had it first" in str(found.left_out[0])


def test_a_file_that_comes_after_a_request_loses_only_what_is_taken() -> None:
    found = merge_requests(spec(relay(1), relay(2)), [request("ovsdb", 5, 1, 5.0)], {})
    assert ids(found) == {2, 5}
    assert str(found.left_out[0]) == (
        "relay 1 of file is left out: VF net_null1 belongs to relay 5 of ovsdb, which had it first; take another"
    )
    assert "id 1" not in found.claimed


def test_a_socket_has_one_owner_too() -> None:
    late = request("ipc", 2, 2, 5.0, socket="/tmp/virtio-forwarder1.sock")
    whole = spec(relay(1))
    assert "socket /tmp/virtio-forwarder1.sock belongs" in str(
        merge_requests(whole, [late], claimed_since(1.0, whole)).left_out
    )


def test_an_interface_below_a_vf_has_one_owner_too() -> None:
    whole = spec({"id": 1, "vf": "net_af_packet1,iface=veth1"})
    late = RelayRequest("ipc", 2, {"vf": "net_tap2,iface=veth1"}, 5.0)
    left_out = merge_requests(whole, [late], claimed_since(1.0, whole)).left_out
    assert "interface veth1 belongs to relay 1 of the file" in str(left_out)
    assert "interface veth1 belongs to relay 2 of ipc" in str(merge_requests(whole, [late], {}).left_out)


def test_what_the_file_changes_is_new_and_what_it_keeps_is_not() -> None:
    """Relay 1 of the file got another socket after the request for its VF had come, and still has the VF."""
    whole = spec(relay(1, socket="/tmp/new.sock"))
    since = {**claimed_since(1.0, spec(relay(1)))}
    assert ids(merge_requests(whole, [request("ovsdb", 2, 1, 5.0)], since)) == {1}


def test_of_two_requests_the_first_is_in_force() -> None:
    found = merge_requests(spec(), [request("ovsdb", 1, 1, 1.0), request("ipc", 2, 1, 2.0)], {})
    assert dict(found.owners) == {1: "ovsdb"}
    assert found.left_out[0].owner == "ipc"


def test_a_request_that_no_spec_could_have_is_left_out_with_its_reason() -> None:
    found = merge_requests(
        spec(relay(1)), [request("ipc", 2, 2, 1.0, cpus=[9]), RelayRequest("ipc", 3, {"vff": "x"}, 1.0)], {}
    )
    assert ids(found) == {1}
    assert "CPU 9 is not among engine.worker_cpus" in str(found.left_out[0])
    assert "unknown key 'vff'" in str(found.left_out[1])


BOND = {"name": "net_bonding0", "members": ["0000:05:08.1", "0000:05:08.2"]}


@pytest.mark.parametrize(
    "wanted",
    [
        {"vf": "0000:05:08.1", "socket": "/tmp/a.sock", "cpus": [1, 2], "mtu": 9000, "protect": True},
        {"bond": BOND},
        {"bond": BOND, "vf": "0000:05:08.3"},
        {"bond": {**BOND, "mode": "alb", "name": "net_bonding_with_a_long_name"}},
        {"bond": {**BOND, "members": ["0000:05:08.1", "0000:05:08.1"]}},
        {"bond": {**BOND, "members": ["net_tap1,iface=v", "net_tap2,iface=v"]}},
        {"bond": {}},
        {},
        {"vff": "0000:05:08.1"},
        {"vf": 3},
        {"vf": None},
        {"vf": "net_bonding1"},
        {"vf": "net_pcap0"},
        {"vf": "net_null1", "bind": True},
        {"vf": "0000:05:08.1", "cpus": [9]},
        {"vf": "0000:05:08.1", "mtu": 1500.0},
        {"vf": "0000:05:08.1\u2028"},
        {"vf": "0000:05:08.1", "socket": "/tmp/../a"},
        {"vf": "0000:05:08.1", "socket": "/tmp/"},
        {"vf": "0000:05:08.1", "socket": "/tmp/" + 120 * "a"},
    ],
)
def test_a_request_is_held_to_the_rules_of_a_file(wanted: dict[str, Any]) -> None:
    def judged(read: Callable[[], object]) -> object:
        """What comes of it, or what is said of it, without where."""
        try:
            return read()
        except SpecError as error:
            place = r"line \d+(, column \d+)?|by default|the request|the spec in force"
            return sorted(re.sub(place, "there", problem.message) for problem in error.problems)

    assert judged(lambda: requested_relay(3, wanted, "ipc", spec())) == judged(
        lambda: spec({"id": 3, **wanted}).relays[0]
    )


def test_a_request_may_have_less_than_the_hosts_own_file() -> None:
    wanted = {"vf": "0000:05:08.1", "socket": "/srv/a.sock"}
    assert spec({"id": 3, **wanted}).relays[0].socket == "/srv/a.sock"
    with pytest.raises(SpecError, match="must lie below /tmp"):
        requested_relay(3, wanted, "ipc", spec())


def test_a_request_that_is_nested_too_deeply_is_refused() -> None:
    wanted: dict[str, Any] = {"vf": "net_null1"}
    for _ in range(300):
        wanted = {"bond": wanted}
    with pytest.raises(SpecError, match="nested more than 16 deep"):
        requested_relay(3, wanted, "ipc", spec())


@pytest.mark.parametrize(("name", "claim"), [("net_bonding0", "bond net_bonding0"), ("net_null1", "VF net_null1")])
def test_a_relay_whose_device_is_gone_still_claims_it(name: str, claim: str) -> None:
    assert claim in of_state(State.of([Relay(1, name, "/tmp/1"), Socket("/tmp/1")]), 1)


def test_a_relay_claims_the_same_in_a_spec_and_in_a_state() -> None:
    whole = spec(
        {"id": 1, "vf": "net_tap1,iface=veth1"},
        {
            "id": 2,
            "bond": {**BOND, "members": ["0000:05:08.1", "net_memif2,role=server,socket=/run/m,socket-abstract=no"]},
        },
    )
    target = wanted(whole, Requests(), HOST).target
    for each in whole.relays:
        assert of_spec(whole.vhost_user, each) == of_state(target, each.id) | {f"id {each.id}"}
    assert of_state(target, 2) >= {"bond net_bonding0", "VF net_memif2", "memif 0 on /run/m"}


def test_requests_that_do_not_fit_on_the_host_do_not_harm_the_file() -> None:
    """Each bond of eight takes nine ports of the 128 that there are."""
    bonds = [
        RelayRequest(
            "ipc", n, {"bond": {"name": f"net_bonding{n}", "members": [f"net_null{8 * n + m}" for m in range(8)]}}, n
        )
        for n in range(1, 20)
    ]
    found = wanted(spec(relay(0)), Requests(tuple(bonds)), HOST)
    assert 0 in found.target.relays
    assert 1 < len(found.target.relays) < 20
    assert "ports" in str(found.left_out[-1])


def test_a_file_that_does_not_fit_is_refused_whatever_the_requests() -> None:
    whole = schema.parse('{"apiVersion": "vio4wd/v1", "vhost_user": {"owner": "nobody-here"}}', "f")
    for requests in ([], [request("ipc", 1, 1, 1.0)]):
        with pytest.raises(SpecUnfit, match="nobody-here"):
            wanted(whole, Requests(tuple(requests)), HOST)


def test_the_plan_says_whose_a_relay_is() -> None:
    found = wanted(spec(relay(1)), Requests((request("ovsdb", 2, 2, 5.0),)), HOST)
    intent = Intent("f", "0" * 64, found.target, owners=found.owners)
    lines = "\n".join(line for line, _ in plan_text.lines(proposed(intent, HostSnapshot(), HOST).saved))
    assert "the spec asks for it (owner: ovsdb)" in lines
    assert lines.count("owner: ovsdb") == lines.count("relay 2 needs it") + 1
    assert "relay 1 needs it (owner" not in lines


@st.composite
def _specs(draw: st.DrawFn) -> Spec:
    chosen = sorted(draw(st.sets(st.integers(0, 6), max_size=5)))
    vfs = draw(st.permutations(range(7)))
    return spec(*(relay(id_, vf) for id_, vf in zip(chosen, vfs, strict=False)))


@st.composite
def _requests(draw: st.DrawFn) -> list[RelayRequest]:
    made = [
        request(owner, id_, draw(st.integers(0, 6)), draw(st.integers(0, 9)))
        for owner in ("ovsdb", "ipc")
        for id_ in sorted(draw(st.sets(st.integers(0, 6), max_size=3)))
    ]
    return sorted(made, key=lambda each: (each.since, each.owner, each.relay))


@given(before=_specs(), after=_specs(), requests=_requests())
@settings(max_examples=300, deadline=None)
def test_no_change_of_the_file_touches_another_owners_relays(
    before: Spec, after: Spec, requests: list[RelayRequest]
) -> None:
    first = merge_requests(before, requests, {})
    second = merge_requests(after, requests, dict.fromkeys(first.claimed, 100.0))
    one, two = (wanted(each.spec, Requests(), HOST).target for each in (first, second))
    theirs = first.owners.keys()
    touched = [a for a in plan(two, one).actions if a.relay in theirs and a.kind is not Kind.PIN]
    assert touched == []
    assert {id_: second.owners[id_] for id_ in theirs} == dict(first.owners)


@given(whole=_specs(), before=_requests(), after=_requests())
@settings(max_examples=300, deadline=None)
def test_no_later_request_touches_what_the_file_has(
    whole: Spec, before: list[RelayRequest], after: list[RelayRequest]
) -> None:
    first = merge_requests(whole, before, {})
    late = [RelayRequest(w.owner, w.relay, w.wanted, w.since + 200.0) for w in after]
    second = merge_requests(whole, late, dict.fromkeys(first.claimed, 100.0))
    ours = {each.id for each in first.spec.relays} - first.owners.keys()
    assert ours <= {each.id for each in second.spec.relays} - second.owners.keys()


@given(whole=_specs(), requests=_requests())
@settings(max_examples=300, deadline=None)
def test_everybody_has_it_or_is_told_why_not(whole: Spec, requests: list[RelayRequest]) -> None:
    found = merge_requests(whole, requests, {})
    had = {("file", each.id) for each in found.spec.relays if each.id not in found.owners}
    had |= {(owner, id_) for id_, owner in found.owners.items()}
    out = {(each.owner, each.relay) for each in found.left_out}
    asked = {("file", each.id) for each in whole.relays} | {(each.owner, each.relay) for each in requests}
    assert had | out == asked
    assert not had & out
    things = [thing for each in found.spec.relays for thing in of_spec(whole.vhost_user, each)]
    assert len(things) == len(set(things))
