"""Rates of both sides on the same work, in turns."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from scripts.benchmarks.cases import Case
from scripts.benchmarks.sides import AloneSide, Side, TestpmdSide, Vio4wdSide, ran_ns

SETTLE_S = 0.1
"""After a thaw: caches, branch predictors and the rings find their steady state."""
TURNS = 6
"""Windows per side in a run."""
LEAST_CPU_SHARE = 0.95
TRIES = 10
SEED, RESAMPLES = 1, 10_000
"""The seed is fixed, so that the same runs give the same interval."""

Notice = Callable[[str], None]
AnySide = TypeVar("AnySide", bound=Side)


@dataclass(frozen=True, slots=True)
class Window:
    """One turn of one side."""

    pps: float
    share: float
    """How much of the time the relay's or the guest's polling thread, whichever had less, had its CPU."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: both sides started afresh, each the median of its windows, in packets per second."""

    vio4wd_pps: float
    other_pps: float
    shared: int
    """Windows that were kept though a polling thread had to share its CPU: no quiet one came in ten tries."""

    @property
    def ratio(self) -> float:
        return self.vio4wd_pps / self.other_pps


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs of a case."""

    case: Case
    runs: tuple[Run, ...]

    @property
    def other(self) -> str:
        return other_side(self.case).name

    @property
    def vio4wd_pps(self) -> float:
        return statistics.median(run.vio4wd_pps for run in self.runs)

    @property
    def other_pps(self) -> float:
        return statistics.median(run.other_pps for run in self.runs)

    @property
    def ratio(self) -> float:
        """The median of the runs' ratios: the two rates of a run were measured in turns, those of two runs were not."""
        return statistics.median(run.ratio for run in self.runs)

    @property
    def interval(self) -> tuple[float, float]:
        return interval([run.ratio for run in self.runs])

    @property
    def shared(self) -> int:
        """Windows in which a polling thread had to share its CPU."""
        return sum(run.shared for run in self.runs)

    @property
    def windows(self) -> int:
        return len(self.runs) * 2 * TURNS

    def to_json(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "name": self.case.name,
            "against": self.other,
            "vio4wd_pps": round(self.vio4wd_pps),
            "other_pps": round(self.other_pps),
            "ratio": round(self.ratio, 4),
            "interval_95": [round(low, 4), round(high, 4)],
            "least": self.case.least,
            "windows": self.windows,
            "shared_windows": self.shared,
            "runs": [{"vio4wd_pps": round(r.vio4wd_pps), "other_pps": round(r.other_pps)} for r in self.runs],
        }


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median: how far it moves when the runs are drawn anew, some of them twice."""
    drawn = np.random.default_rng(SEED).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return float(low), float(high)


def other_side(case: Case) -> type[Side]:
    """What vio4wd is compared with."""
    return AloneSide if case.alone else TestpmdSide


def compare(case: Case, runs: int, seconds: float, notice: Notice) -> Comparison:
    """Measure a case `runs` times with windows of `seconds`."""
    done = []
    for index in range(runs):
        run = _run(case, seconds, first=index % 2)
        notice(
            f"{case.name} {index + 1}/{runs}: vio4wd {run.vio4wd_pps / 1e6:.2f} Mpps, "
            f"{other_side(case).name} {run.other_pps / 1e6:.2f} Mpps, ratio {run.ratio:.3f}"
            + (f" ({run.shared} of {2 * TURNS} windows on a shared CPU)" if run.shared else "")
        )
        done.append(run)
    return Comparison(case, tuple(done))


def _run(case: Case, seconds: float, first: int) -> Run:
    """Both sides started afresh, then windows in turns."""
    with contextlib.ExitStack() as stack:
        sides: list[Side] = []
        for kind in (Vio4wdSide, other_side(case)):
            sides.append(stack.enter_context(kind(case)))
            sides[-1].freeze()
        windows: dict[str, list[Window]] = {side.name: [] for side in sides}
        for side in in_turns(sides, first):
            windows[side.name].append(_window(side, seconds))
    rates = {name: statistics.median(window.pps for window in seen) for name, seen in windows.items()}
    shared = sum(window.share < LEAST_CPU_SHARE for seen in windows.values() for window in seen)
    return Run(rates["vio4wd"], rates[other_side(case).name], shared)


def in_turns(sides: Sequence[AnySide], first: int) -> list[AnySide]:
    """A, B, B, A, A, B, ... so that neither is always the first."""
    pair = [sides[first], sides[1 - first]]
    return list(itertools.chain.from_iterable(pair if turn % 2 == 0 else pair[::-1] for turn in range(TURNS)))


def _window(side: Side, seconds: float) -> Window:
    """The rate, in packets per second, as the guest's port counts it between two readings of its own.

    A window in which other work took the CPU from a polling thread is thrown away while there is hope for a better
    one; of several bad ones the least bad is kept. Raises RuntimeError when nothing is forwarded at all.
    """
    tried: list[Window] = []
    while not tried or (len(tried) < TRIES and tried[-1].share < LEAST_CPU_SHARE):
        tried.append(_attempt(side, seconds))
    best = max(tried, key=lambda window: window.share)
    if best.pps == 0:
        side.thaw()
        why = f"with {best.share:.0%} of its CPUs at best"
        raise RuntimeError(f"{side.name} forwarded nothing on {side.case.name}, {why}:\n{side.account()}")
    return best


def _attempt(side: Side, seconds: float) -> Window:
    side.thaw()
    try:
        time.sleep(SETTLE_S)
        threads = side.polling_threads()
        started_ns, before = time.monotonic_ns(), [ran_ns(thread) for thread in threads]
        rate = side.rate(seconds)
        # Both poll, so both want a CPU all the time. What a thread waited is booked only when it runs again.
        ran = [ran_ns(thread) - earlier for thread, earlier in zip(threads, before, strict=True)]
        elapsed_ns = time.monotonic_ns() - started_ns
    finally:
        side.freeze()
    return Window(rate, min(ran) / elapsed_ns)
