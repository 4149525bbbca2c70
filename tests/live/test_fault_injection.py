"""System calls of the watch, of git and of `run` fail or hang on a normal day: a file is saved, a push comes, somebody
asks for everything to be read. Afterwards, the fault gone, the host is as the spec says, without a hand, and whoever
died has said so.

By default a sample of five minutes; VIO4WD_TEST_INJECT_S and VIO4WD_TEST_SEED choose another. `--long` tries them
all, and goes on where it ended when VIO4WD_TEST_RESUME names a file to keep that in.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.instance import Instance
from tests.kit.runner.repetitions import LONG
from tests.kit.spec_file import RelayLine, spec_text
from tests.kit.system.git_repository import Repository
from tests.kit.waiting import wait_for
from tests.live.syscall_faults import HANG, HANG_S, Paths, fault, faults, seen, traced

SAMPLE_S = float(os.environ.get("VIO4WD_TEST_INJECT_S") or (1e9 if LONG else 300))
SEED = int(os.environ.get("VIO4WD_TEST_SEED") or 1)
RESUME = os.environ.get("VIO4WD_TEST_RESUME")
HEALED_WITHIN_S = 60.0
RETRIED_S = 30.0
"""The watch's longest wait between two tries (docs/cli.md), which a busy machine makes longer."""

pytestmark = [pytest.mark.needs("root", "strace", "git"), pytest.mark.timeout(0 if LONG else 2 * SAMPLE_S + 300)]


class Day:
    """An instance with a file and a Git source, and what happens to them."""

    def __init__(self, instance: Instance, repository: Repository) -> None:
        self.instance = instance
        self.repository = repository
        self._numbers = itertools.count(1)

    def something(self) -> None:
        """A file is saved, a push comes, and the sources are asked."""
        number = next(self._numbers)
        lines = [RelayLine(id=1, vf="net_null1"), RelayLine(id=2, vf=f"net_null{20 + number % 2}")]
        interval = {"git": {"url": str(self.repository.url), "interval_s": 1}}
        text = spec_text(lines, self.instance.sockets, more={"sources": [interval]})
        self.instance.save(text)
        relay = f"{{id: 5, vf: net_null{50 + number % 2}}}"
        self.repository.push({"relays.yaml": f"apiVersion: vio4wd/v1\nrelays: [{relay}]\n"})
        (self.instance.run_dir / "sync").touch()

    def wait_healed(self, after: str) -> None:
        """The host as the spec says, and nothing wrong any more. Raises WaitTimeoutError with what came before it."""
        self.instance.check_running()
        try:
            wait_for("the host to be as the spec says", self._is_well, 2 * HEALED_WITHIN_S + RETRIED_S, 0.2)
        except AssertionError as error:
            status = self.instance.call("status").stdout
            raise AssertionError(f"after {after}: {error}\n{status}\n{self.instance.log[-6000:]}") from error

    def _is_well(self) -> bool:
        self.instance.check_running()
        left = self.instance.to_do()
        return left is not None and not left.actions and not left.missing and not self._problems()

    def _problems(self) -> list[str]:
        return [str(each) for each in self._status().get("problems", ["no status"])]

    def _status(self) -> dict[str, Any]:
        """Empty while there is none."""
        with contextlib.suppress(AssertionError):
            return dict(self.instance.status())
        return {}

    @property
    def pids(self) -> dict[str, int]:
        watch = int(self._status()["watch"]["pid"])
        return {"watch": watch, "run": self.instance.processes["run"].pid}

    @property
    def kinds(self) -> dict[str, str]:
        """Of paths, by their beginning."""
        own = self.instance
        return {
            str(own.file): "file",
            str(own.directory): "directory",
            str(own.run_dir): "run",
            str(own.state_dir): "state",
            str(own.state_dir / "vio4wd.db"): "database",
            str(own.state_dir / "sources"): "clone",
            str(own.sockets): "sockets",
            str(self.repository.url).removeprefix("file://"): "repository",
            "/proc": "proc",
            "/sys": "sys",
            "/etc": "etc",
        }


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    with Instance() as instance:
        made = Day(instance, Repository(tmp_path_factory.mktemp("git")))
        made.something()
        instance.run()
        made.wait_healed("the start")
        yield made


def spots(day: Day) -> Paths:
    """What they do on such a day."""
    found: Paths = {}
    for process, pid in day.pids.items():
        with traced(pid, follow=process == "watch") as said:
            day.something()
            time.sleep(3.0)
        found.update(seen(said, process, day.kinds))
    return found


def test_whatever_fails_for_a_while_heals_without_a_hand(day: Day) -> None:
    found = spots(day)
    assert {spot.process for spot in found} == {"watch", "run"}
    chosen = faults(found)
    random.Random(SEED).shuffle(chosen)
    done = set(Path(RESUME).read_text().splitlines()) if RESUME and Path(RESUME).exists() else set()
    began, tried = time.monotonic(), 0
    ended: dict[str, list[str]] = {}
    for spot, error in chosen:
        what = f"{spot} {error}"
        if what in done:
            continue
        if time.monotonic() - began > SAMPLE_S:
            break
        before = deaths(day.instance.log)
        with traced(day.pids[spot.process], *fault(spot, found[spot], error, 1), follow=spot.process == "watch"):
            day.something()
            time.sleep(HANG_S + 1.0 if error == HANG else 1.5)
        day.wait_healed(what)
        tried += 1
        if said := deaths(day.instance.log)[len(before) :]:
            ended[what] = said
        if RESUME:
            with Path(RESUME).open("a") as kept:
                kept.write(f"{what}\n")
    print(f"\n{tried} of {len(chosen)} faults at {len(found)} spots, seed {SEED}; ended and started again: {ended}")


def deaths(log: str) -> list[str]:
    return re.findall(r"(?:watch|engine) ended \([^)]*\)", log)
