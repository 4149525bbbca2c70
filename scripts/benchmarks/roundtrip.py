"""How long one packet takes from a guest through an idle relay and back, on both sides in turns."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from scripts.benchmarks.cases import ROUND_TRIP, Case
from scripts.benchmarks.sides import Side, TestpmdSide, Vio4wdSide
from scripts.benchmarks.throughput import Notice, in_turns, interval
from tests.kit import cleanup
from tests.kit.paths import ROOT, SHARED_CACHE

PACKETS = 1000
"""Of a window; 50 us apart, so that the relay is idle when one comes."""
PERCENTILES = (50.0, 99.0, 99.9)


class ProbeGuest:
    """The guest that times packets, as `scripts/benchmarks/probe.py` does in a process of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._directory = cleanup.short_directory()
        self.output = ""

    def __enter__(self) -> Self:
        cleanup.register(self, self.kill)
        environment = {**os.environ, "VIO4WD_CACHE_DIR": str(SHARED_CACHE), "RUNTIME_DIRECTORY": str(self._directory)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmarks.probe", str(self._socket)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def kill(self) -> None:
        cleanup.release(self)
        self._process.kill()
        self._process.communicate()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def start(self) -> None:
        """Wait until it is connected."""
        self._answer(lambda line: line == "ready\n")

    def times_us(self, packets: int) -> list[float]:
        """So many packets, one after the other, in microseconds. Raises RuntimeError when one is lost."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{packets}\n")
        self._process.stdin.flush()
        times: list[float] = json.loads(self._answer(lambda line: line.startswith("[")))
        return times

    def _answer(self, wanted: Any) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if wanted(line):
                return line
            self.output += line
        raise RuntimeError(f"the guest that times packets has ended with {self._process.wait()}:\n{self.output}")


class Probed(Side):
    """A side whose guest times packets."""

    def _guest(self, sockets: list[Path]) -> Any:
        self._probe = ProbeGuest(sockets[0])
        return self._probe

    def times_us(self) -> list[float]:
        self.thaw()
        try:
            times: list[float] = self._probe.times_us(PACKETS)
        finally:
            self.freeze()
        return times


class ProbedVio4wd(Probed, Vio4wdSide):
    pass


class ProbedTestpmd(Probed, TestpmdSide):
    __test__ = False


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """Per run and side the percentiles of all its packets, in microseconds."""

    case: Case
    vio4wd_us: tuple[tuple[float, ...], ...]
    testpmd_us: tuple[tuple[float, ...], ...]

    @staticmethod
    def medians(runs: tuple[tuple[float, ...], ...]) -> list[float]:
        """Of each percentile, over the runs."""
        return [statistics.median(column) for column in zip(*runs, strict=True)]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of testpmd's median time over vio4wd's: above 1, vio4wd is faster."""
        return interval([theirs[0] / ours[0] for ours, theirs in zip(self.vio4wd_us, self.testpmd_us, strict=True)])

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.case.name,
            "percentiles": list(PERCENTILES),
            "vio4wd_us": [round(value, 3) for value in self.medians(self.vio4wd_us)],
            "testpmd_us": [round(value, 3) for value in self.medians(self.testpmd_us)],
            "interval_95": [round(value, 4) for value in self.interval],
            "least": self.case.least,
            "runs": {"vio4wd_us": self.vio4wd_us, "testpmd_us": self.testpmd_us},
        }


def round_trips(runs: int, notice: Notice) -> RoundTrips:
    """Measures so many runs."""
    ours, theirs = [], []
    for index in range(runs):
        with contextlib.ExitStack() as stack:
            sides: list[Probed] = []
            for kind in (ProbedVio4wd, ProbedTestpmd):
                sides.append(stack.enter_context(kind(ROUND_TRIP)))
                sides[-1].freeze()
            seen: dict[str, list[float]] = {side.name: [] for side in sides}
            for side in in_turns(sides, index % 2):
                seen[side.name] += side.times_us()
        ours.append(_percentiles(seen["vio4wd"]))
        theirs.append(_percentiles(seen["testpmd"]))
        notice(f"{ROUND_TRIP.name} {index + 1}/{runs}: p50 vio4wd {ours[-1][0]:.2f} us, testpmd {theirs[-1][0]:.2f} us")
    return RoundTrips(ROUND_TRIP, tuple(ours), tuple(theirs))


def _percentiles(times_us: list[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in np.percentile(times_us, PERCENTILES))
