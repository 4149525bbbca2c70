"""SIGKILL at every step of an apply: the next watch ends in the new state, no survivor is touched, nothing that was
remembered is lost."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schema.model import Kind, Verb
from state.history import entries
from state.store import Store
from tests.kit.cleanup import short_directory
from tests.kit.fakes.fake_engine import FakeEngine, Served
from tests.kit.paths import ROOT
from tests.kit.runner.repetitions import times
from tests.reconciler.apply.test_executor import identities

EACH = times(5, 1)
"""Every so many steps: an odd number meets the moments before and after all sorts of them."""
BEFORE = [(1, "net_null1", 1), (2, "net_null2", 1), (3, "net_null3", 1)]
AFTER = [(1, "net_null1", 1), (2, "net_null9", 1), (4, "net_null4", 2), (3, "net_null3", 2)]
"""One stays as it is, one gets another VF, one comes, one moves."""


def document(relays: list[tuple[int, str, int]], directory: Path) -> str:
    lines = [f"  - {{id: {id_}, vf: {vf}, cpus: [{cpu}], socket: /tmp/{id_}.sock}}" for id_, vf, cpu in relays]
    head = ["apiVersion: vio4wd/v1", "engine: {worker_cpus: [1, 2]}", f"vhost_user: {{directory: {directory}}}"]
    return "\n".join([*head, "relays:", *lines, ""])


class Mortal:
    """Watches that die when they are told to, over an engine that does not."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state_dir, self.file = directory / "s", directory / "vio4wd.yaml"
        self.engine = FakeEngine()
        paths = map(str, (directory / "r", self.state_dir, self.file))
        command = [sys.executable, "-m", "tests.reconciler.apply.crashing_watch", *paths]
        root = ROOT
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)

    def watch(self, last: int = -1) -> str:
        """Lets one live until that step. How it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{last}\n")
        self._process.stdin.flush()
        return str(self._process.stdout.readline()).strip()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    @property
    def applies(self) -> list[int]:
        """The ids in the history, oldest first."""
        store = Store(self.state_dir)
        assert store.fault is None
        assert store.run(lambda c: str(c.execute("PRAGMA integrity_check").fetchone()[0])) == "ok"
        found: list[int] = [entry.id for entry in reversed(entries(store, 100))]
        store.close()
        return found


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    directory = short_directory()
    made = Mortal(directory)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(directory)


def test_killed_at_every_step_of_an_apply(mortal: Mortal) -> None:
    with Served(mortal.engine, mortal.directory / "r"):
        mortal.file.write_text(document(BEFORE, mortal.directory))
        assert mortal.watch().startswith("done")
        start, kept = mortal.engine.state, mortal.directory / "kept"
        shutil.copytree(mortal.state_dir, kept)
        old = mortal.applies
        mortal.file.write_text(document(AFTER, mortal.directory))
        assert mortal.watch().startswith("done")
        end = mortal.engine.state
        assert set(end.relays) == {1, 2, 3, 4}
        for step in itertools.count(0, EACH):
            shutil.rmtree(mortal.state_dir)
            shutil.copytree(kept, mortal.state_dir)
            fresh = FakeEngine.of(start)
            vars(mortal.engine).update(vars(fresh))
            survivor = identities_of(mortal.engine)
            if (ended := mortal.watch(step)) != "killed":
                break
            between = mortal.engine.state
            assert {1, 2, 3} <= set(between.relays), f"step {step} lost a relay"
            assert mortal.applies[: len(old)] == old, f"step {step} lost an apply"
            assert mortal.watch().startswith("done"), step
            assert mortal.engine.state == end, step
            assert identities_of(mortal.engine) == survivor, step
            removed = [a.resource for a in mortal.engine.executed if a.verb is Verb.REMOVE]
            assert removed == ["port:net_null2"], step
            assert mortal.applies[: len(old)] == old
        assert ended.startswith("done")
        assert step > 60


def identities_of(engine: FakeEngine) -> list[int]:
    """Of the relay that stays, and what stays of the others."""
    return [*identities(engine, 1), *identities(engine, 3), engine.serials[Kind.RELAY, 2]]
