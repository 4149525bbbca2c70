"""Random changes of a spec and of its guests, one after the other, by a seeded random."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.kit.guests.guest import TestpmdGuest
from tests.kit.network.numbered_frames import SequencedFlow
from tests.kit.spec_file import RelayLine
from tests.kit.topology import CPUS, GUEST_CPUS, Topology
from tests.kit.waiting import wait_for
from tests.live.neighbour import NEIGHBOUR

PACE_PPS = 300
GUESTS_AT_MOST = 2
"""Each polls without rest, and the neighbour has one too."""
UNSEEN = 0.3
"""The share of changes that are followed by the next one before they are applied."""


class Churn:
    """Changes everything about a topology but its neighbour. The same seed gives the same changes."""

    def __init__(self, made: Topology, seed: int) -> None:
        self._scene = made
        self._random = random.Random(seed)
        self._wires = sorted(made.wires.keys() - {NEIGHBOUR})
        self._sockets = [made.instance.sockets / f"{name}.sock" for name in "abcdef"]
        self._guests: dict[Path, TestpmdGuest] = {}
        self.done: Counter[str] = Counter()

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """Frames into every wire but the neighbour's, whoever has it."""
        with contextlib.ExitStack() as flows:
            for wire in self._wires:
                flows.enter_context(SequencedFlow(self._scene.wires[wire], rate_pps=PACE_PPS))
            yield

    def change(self, count: int) -> None:
        """Make so many changes, and wait until the last one is applied."""
        for _ in range(count):
            possible = [change for change in self._changes() if change is not None]
            chosen = self._random.choice(possible)
            chosen()
            self.done[chosen.__name__] += 1
            self._scene.save()
            if self._random.random() > UNSEEN:
                self._scene.instance.wait_applied()
        self._scene.instance.wait_applied()

    def _changes(self) -> Sequence[Callable[[], None] | None]:
        ours = len(self._ours())
        return (
            self.add if ours < len(self._wires) else None,
            self.remove if ours else None,
            self.move if ours else None,
            self.swap_vfs if ours > 1 else None,
            self.swap_sockets if ours > 1 else None,
            self.change_socket if ours else None,
            self.change_permissions,
            self.restart_guest if ours else None,
        )

    def _ours(self) -> list[int]:
        return sorted(self._scene.lines.keys() - {NEIGHBOUR})

    def _pick(self) -> int:
        return self._random.choice(self._ours())

    def _cpus(self) -> tuple[int, int]:
        return self._random.choice(CPUS), self._random.choice(CPUS)

    def _free_socket(self) -> str:
        used = {line.socket for line in self._scene.lines.values()}
        return self._random.choice([str(path) for path in self._sockets if str(path) not in used])

    def add(self) -> None:
        lines = self._scene.lines
        used = {line.vf for line in lines.values()}
        free = [self._scene.wires[wire].vf_device for wire in self._wires]
        vf = self._random.choice([device for device in free if device not in used])
        id_ = self._random.choice([wire for wire in self._wires if wire not in lines])
        lines[id_] = RelayLine(id_, vf, self._cpus(), self._free_socket())

    def remove(self) -> None:
        del self._scene.lines[self._pick()]

    def move(self) -> None:
        self._scene.pin(self._pick(), *self._cpus())

    def swap_vfs(self) -> None:
        one, other = self._random.sample(self._ours(), 2)
        lines = self._scene.lines
        vfs = lines[one].vf, lines[other].vf
        lines[one], lines[other] = replace(lines[one], vf=vfs[1]), replace(lines[other], vf=vfs[0])

    def swap_sockets(self) -> None:
        one, other = self._random.sample(self._ours(), 2)
        lines = self._scene.lines
        paths = lines[one].socket, lines[other].socket
        lines[one], lines[other] = replace(lines[one], socket=paths[1]), replace(lines[other], socket=paths[0])

    def change_socket(self) -> None:
        id_ = self._pick()
        self._scene.lines[id_] = replace(self._scene.lines[id_], socket=self._free_socket())

    def change_permissions(self) -> None:
        self._scene.keys["vhost_user"] = {"permissions": self._random.choice(("0600", "0660", "0666"))}

    def restart_guest(self) -> None:
        """Ends a relay's guest, half of them by SIGKILL, and starts another one."""
        self._scene.save()
        self._scene.instance.wait_applied()
        path = Path(str(self._scene.lines[self._pick()].socket))
        others = [each for each in self._guests if each != path]
        for each in [path, *others[: len(others) - GUESTS_AT_MOST + 1]]:
            self._end(each)
        wait_for(f"nobody on {path}", lambda: not self._connected(path))
        self._guests[path] = TestpmdGuest.started([path], "io", GUEST_CPUS)
        wait_for(f"a guest on {path}", lambda: self._connected(path))

    def _end(self, path: Path) -> None:
        guest = self._guests.pop(path, None)
        if guest is not None:
            self._random.choice((guest.kill, guest.quit))()

    def _connected(self, path: Path) -> bool:
        seen = self._scene.instance.observed()
        return seen is not None and seen.live.socket(str(path)).guest

    def clear(self) -> None:
        """Remove every relay but the neighbour, and end every guest."""
        for path in list(self._guests):
            self._end(path)
        for id_ in self._ours():
            del self._scene.lines[id_]
        self._scene.save()
        self._scene.instance.wait_applied()
