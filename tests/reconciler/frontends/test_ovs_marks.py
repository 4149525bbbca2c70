"""Marks on interfaces of Open vSwitch: what counts as one, and what any sequence of changes comes to."""

from __future__ import annotations

import ctypes
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconciler.frontends.ovs_marks import KEYS, Marked, _integer, decide, read_marks
from reconciler.host.netdev import NetdevVf, NotAVf

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.strtol.restype = ctypes.c_long
LIBC.strtol.argtypes = (ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int)


def strtol(text: str) -> int | None:
    """C's own; None where there is no number, or one that has no room."""
    given, end = ctypes.create_string_buffer(text.encode()), ctypes.c_char_p()
    ctypes.set_errno(0)
    number = int(LIBC.strtol(ctypes.cast(given, ctypes.c_char_p), ctypes.byref(end), 0))
    if ctypes.get_errno() == errno.ERANGE or ctypes.cast(end, ctypes.c_void_p).value == ctypes.addressof(given):
        return None
    return number


NUMBERS = st.from_regex(r"\A[ \t\n\v\f\r]*[+-]?(0[xX]?)?[0-9a-fA-F]{0,20}[ xg-]?\Z")


@given(st.one_of(NUMBERS, st.text(st.characters(max_codepoint=127, exclude_characters="\0"), max_size=8)))
def test_an_integer_is_what_strtol_says(text: str) -> None:
    assert _integer(text) == strtol(text)


@pytest.mark.parametrize("value", ["1", "0", "-1", "0x3", "010", "1 or so", " 7", str(2**63 - 1)])
@pytest.mark.parametrize("key", KEYS)
def test_any_integer_marks(key: str, value: str) -> None:
    assert read_marks([("eth1", {key: value}), ("eth2", {"other": "1"}), ("eth3", {})]) == Marked(("eth1",))


@pytest.mark.parametrize("value", ["", "yes", "x1", "-", str(2**63), "\N{ARABIC-INDIC DIGIT ONE}"])
def test_what_is_no_integer_is_said(value: str) -> None:
    marked = read_marks([("eth1", {KEYS[0]: value}), ("eth2", {KEYS[0]: "1"})])
    assert marked.netdevs == ("eth2",), "the others go on"
    assert marked.faults == (
        f'interface "eth1": virtio_forwarder="{value}" is no integer and counts as no mark; '
        "write virtio_forwarder=1, or remove it",
    )


def test_either_key_will_do() -> None:
    marked = read_marks([("eth1", {KEYS[0]: "no", KEYS[1]: "1"})])
    assert (marked.netdevs, len(marked.faults)) == (("eth1",), 1)


def test_two_network_devices_for_one_relay_are_a_conflict_and_named() -> None:
    vfs = {"a": NetdevVf("a", "0000:05:08.3", 3), "b": NetdevVf("b", "0000:09:08.3", 3)}
    change = decide(["a", "b"], vfs.__getitem__, vfs.get, {3: "0000:09:08.3"})
    assert (change.put, change.take) == ({}, frozenset()), "who has it keeps it"
    assert change.faults == (
        "a (0000:05:08.3) and b (0000:09:08.3) both give relay 3, which stays with b; remove the mark of one of them",
    )
    assert decide(["a"], vfs.__getitem__, vfs.get, {3: "0000:09:08.3"}).put == {3: vfs["a"]}, "once b is marked no more"


NAMES = st.sampled_from(["a", "b", "c", "d"])
VFS = st.builds(lambda pf, index: (f"pf{pf}vf{index}", index), st.integers(0, 1), st.integers(0, 2))


class Database(RuleBasedStateMachine):
    """Interfaces are added, marked, unmarked and deleted, and network devices come and go, in any order. What is wanted
    follows each time, or only now and then, as when the database was away."""

    def __init__(self) -> None:
        super().__init__()
        self.interfaces: dict[str, dict[str, str]] = {}
        self.netdevs: dict[str, NetdevVf] = {}
        self.remembered: dict[str, NetdevVf] = {}
        self.had: dict[int, str] = {}
        self.away = False

    def find(self, netdev: str) -> NetdevVf:
        if netdev in self.netdevs:
            self.remembered[netdev] = self.netdevs[netdev]
        if netdev not in self.remembered:
            raise NotAVf("none")
        return self.remembered[netdev]

    @rule(name=NAMES, key=st.sampled_from([*KEYS, "other"]), value=st.sampled_from(["1", "0", "no", "0x2"]))
    def set(self, name: str, key: str, value: str) -> None:
        self.interfaces.setdefault(name, {})[key] = value

    @rule(name=NAMES, key=st.sampled_from(KEYS))
    def unset(self, name: str, key: str) -> None:
        self.interfaces.get(name, {}).pop(key, None)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.interfaces.pop(name, None)

    @rule()
    def replaced_by_an_empty_one(self) -> None:
        self.interfaces.clear()

    @rule(name=NAMES, vf=VFS)
    def appears(self, name: str, vf: tuple[str, int]) -> None:
        self.netdevs[name] = NetdevVf(name, *vf)

    @rule(name=NAMES)
    def vanishes(self, name: str) -> None:
        self.netdevs.pop(name, None)

    @rule(away=st.booleans())
    def connection(self, away: bool) -> None:
        self.away = away

    @invariant()
    def wanted_is_what_is_marked(self) -> None:
        if self.away:
            return
        before = dict(self.had)
        marked = read_marks(self.interfaces.items()).netdevs
        change = decide(marked, self.find, self.remembered.get, self.had)
        assert not change.take & change.put.keys()
        for relay in change.take:
            del self.had[relay]
        self.had |= {relay: found.vf for relay, found in change.put.items()}
        self.compare(before, change.faults)
        again = decide(marked, self.find, self.remembered.get, self.had)
        assert (again.put, again.take, again.faults) == ({}, frozenset(), change.faults), "nothing is left to do"

    def compare(self, before: dict[int, str], faults: tuple[str, ...]) -> None:
        """With the slow and obvious: every marked interface has its relay, or is named."""
        marks = {n for n, ids in self.interfaces.items() if any(ids.get(key, "no") != "no" for key in KEYS)}
        claims = {n: self.remembered[n] for n in marks if n in self.remembered}
        assert self.had.keys() == {claim.index for claim in claims.values()}
        for relay, vf in self.had.items():
            there = {claim.vf for claim in claims.values() if claim.index == relay}
            assert vf in there
            if before.get(relay) in there:
                assert vf == before[relay], "who has it keeps it"
        for name in marks:
            claim = claims.get(name)
            served = claim is not None and self.had[claim.index] == claim.vf
            assert served or any(name in fault for fault in faults)


TestDatabase = Database.TestCase
