"""The open sockets of an engine, with a vhost that only notes what it is asked: no DPDK is needed."""

from __future__ import annotations

import os
import socket as unix
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from engine.api.fault import Refused
from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block
from engine.dataplane import sockets
from engine.dataplane.sockets import Sockets
from engine.dpdk import layout as dpdk
from engine.dpdk.library import DpdkError
from schema.model import Socket
from tests.kit import cleanup

FILES = 3


@dataclass
class NotingVhost:
    said: list[tuple[Any, ...]] = field(default_factory=list)
    broken: bool = False

    def open(self, path: str, features_off: int, client: bool = False) -> None:
        if self.broken:
            raise DpdkError("rte_vhost_driver_start", -1)
        self.said.append(("open", path, features_off, client))
        if not client:
            with unix.socket(unix.AF_UNIX) as made:
                made.bind(path)

    def close(self, path: str) -> None:
        self.said.append(("close", path))


@dataclass
class StandInContext:
    vhost: NotingVhost = field(default_factory=NotingVhost)
    guests: Block = field(default_factory=lambda: Block(FILES * at.GUEST_SIZE))


@pytest.fixture
def directory() -> Iterator[Path]:
    found = cleanup.short_directory()
    yield found
    for path in found.iterdir():
        path.unlink()
    found.rmdir()


@pytest.fixture
def context() -> StandInContext:
    return StandInContext()


@pytest.fixture
def opened(context: StandInContext) -> Sockets:
    return Sockets(cast(Any, context))


def client(path: Path) -> Socket:
    return Socket(str(path), mode="client")


def bind(path: Path) -> unix.socket:
    made = unix.socket(unix.AF_UNIX)
    made.bind(str(path))
    return made


def test_a_client_owns_nothing(context: StandInContext, opened: Sockets, directory: Path) -> None:
    path = directory / "vm1.sock"
    with bind(path):
        before = path.stat()
        opened.open(Socket(str(path), "client", 4711, 4712, 0o600))
        opened.change(Socket(str(path), "client", 4713, 4712, 0o620))
        opened.close(str(path))
    assert path.stat() == before
    assert [said[0] for said in context.vhost.said] == ["open", "close"]
    assert context.vhost.said[0][3] is True


def test_a_client_is_observed_as_recorded(directory: Path) -> None:
    path = directory / "vm1.sock"
    with bind(path):
        assert sockets.observed(sockets.OpenSocket(client(path), 0)) == client(path)


def test_what_is_no_socket_is_refused_by_name(opened: Sockets, directory: Path) -> None:
    path = directory / "vm1.sock"
    path.write_text("precious")
    for mode in ("client", "server"):
        with pytest.raises(Refused, match="exists and is no socket") as refused:
            opened.open(Socket(str(path), mode))
        assert str(path) in str(refused.value)
    assert path.read_text() == "precious"


def test_it_connects_when_a_socket_appears_and_once_only(
    context: StandInContext, opened: Sockets, directory: Path
) -> None:
    path = directory / "vm1.sock"
    opened.open(client(path))
    assert opened.appeared() == []
    with bind(path):
        assert opened.appeared() == [str(path)]
        opened.reopen(str(path))
        assert opened.appeared() == []
    assert [said[0] for said in context.vhost.said] == ["open", "close", "open"]


def test_another_socket_at_the_same_path_is_another_one(opened: Sockets, directory: Path) -> None:
    """File systems give a number of an inode away again at once."""
    path = directory / "vm1.sock"
    with bind(path):
        opened.open(client(path))
    assert opened.appeared() == []
    path.unlink()
    assert opened.appeared() == []
    with bind(path):
        assert opened.appeared() == [str(path)]


def test_who_is_connected_is_left_alone(context: StandInContext, opened: Sockets, directory: Path) -> None:
    path = directory / "vm1.sock"
    opened.open(client(path))
    context.guests.write(at.GUEST_PEER, 1)
    with bind(path):
        assert opened.appeared() == []
        with pytest.raises(Refused, match="QEMU listens on"):
            opened.check_replace(Socket(str(path)))
        context.guests.write(at.GUEST_PEER, 0)
        opened.check_replace(Socket(str(path)))


def test_a_server_never_connects(opened: Sockets, directory: Path) -> None:
    path = directory / "vm1.sock"
    opened.open(Socket(str(path), uid=os.getuid(), gid=os.getgid()))
    path.unlink()
    with bind(path):
        assert opened.appeared() == []


def test_a_reopening_that_fails_closes(context: StandInContext, opened: Sockets, directory: Path) -> None:
    path = directory / "vm1.sock"
    opened.open(client(path))
    block = opened.guest_block(str(path))
    context.vhost.broken = True
    with pytest.raises(Refused, match="cannot be opened"):
        opened.reopen(str(path))
    assert opened.by_path == {}
    assert opened.guest_block(str(path)) != block
    context.vhost.broken = False
    opened.open(client(path))
    assert opened.guest_block(str(path)) == block


def test_a_removed_file_is_made_again(opened: Sockets, directory: Path) -> None:
    path = directory / "vm1.sock"
    opened.open(Socket(str(path), uid=os.getuid(), gid=os.getgid()))
    assert opened.vanished() == []
    path.unlink()
    assert opened.vanished() == [str(path)]
    opened.reopen(str(path))
    assert opened.vanished() == []
    assert path.is_socket()


def test_what_replaced_a_socket_is_left_alone(opened: Sockets, directory: Path) -> None:
    path = directory / "vm1.sock"
    opened.open(Socket(str(path), uid=os.getuid(), gid=os.getgid()))
    assert opened.reachable(opened.by_path[str(path)])
    path.rename(directory / "kept")
    path.write_text("somebody's")
    assert opened.vanished() == []
    assert not opened.reachable(opened.by_path[str(path)])


def test_there_is_an_end_to_it_by_name(opened: Sockets, directory: Path) -> None:
    for number in range(FILES):
        opened.open(client(directory / f"vm{number}.sock"))
    with pytest.raises(Refused, match="all its 3 sockets open") as refused:
        opened.open(client(directory / "one-more.sock"))
    assert refused.value.code == "limit"


OFFERED = {
    (): (),
    ("csum",): (dpdk.VIRTIO_NET_F_CSUM, dpdk.VIRTIO_NET_F_GUEST_CSUM),
    ("mrgbuf",): (dpdk.VIRTIO_NET_F_MRG_RXBUF,),
    ("packed",): (dpdk.VIRTIO_F_RING_PACKED,),
    ("mrgbuf", "packed"): (dpdk.VIRTIO_NET_F_MRG_RXBUF, dpdk.VIRTIO_F_RING_PACKED),
}
"""What becomes offered, against a spec that offers nothing."""


@pytest.mark.parametrize("words", OFFERED, ids="-".join)
def test_offers_uncover_their_bits_and_no_others(words: tuple[str, ...]) -> None:
    uncovered = sockets.features_off(()) ^ sockets.features_off(words)
    assert uncovered == sum(1 << bit for bit in OFFERED[words])


def test_what_nobody_could_cut_is_never_offered() -> None:
    everything = sockets.features_off(sockets.OFFERS)
    assert everything == sum(1 << bit for bit in sockets.NEVER_OFFERED)


def test_an_unknown_offer_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="no feature is called ufo"):
        sockets.features_off(("ufo",))
