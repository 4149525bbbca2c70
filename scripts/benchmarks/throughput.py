"""Rates of both sides on the same work, in turns."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.cases import Case
from scripts.benchmarks.sides import Side, TestpmdSide, Vio4wdSide, ran_ns

SETTLE_S = 0.2
"""After a thaw: caches, branch predictors and the rings find their steady state."""
TURNS = 6
"""Windows per side in a run."""
LEAST_CPU_SHARE = 0.95
TRIES = 10

Notice = Callable[[str], None]


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
    testpmd_pps: float
    shared: int
    """Windows that were kept though a polling thread had to share its CPU: no quiet one came in ten tries."""

    @property
    def ratio(self) -> float:
        return self.vio4wd_pps / self.testpmd_pps


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs of a case."""

    case: Case
    runs: tuple[Run, ...]

    @property
    def vio4wd_pps(self) -> float:
        return statistics.median(run.vio4wd_pps for run in self.runs)

    @property
    def testpmd_pps(self) -> float:
        return statistics.median(run.testpmd_pps for run in self.runs)

    @property
    def ratio(self) -> float:
        """The ratio of the medians."""
        return self.vio4wd_pps / self.testpmd_pps

    @property
    def shared(self) -> int:
        """Windows in which a polling thread had to share its CPU."""
        return sum(run.shared for run in self.runs)

    @property
    def windows(self) -> int:
        return len(self.runs) * 2 * TURNS

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest ratio of one run."""
        ratios = [run.ratio for run in self.runs]
        return min(ratios), max(ratios)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.case.name,
            "vio4wd_pps": round(self.vio4wd_pps),
            "testpmd_pps": round(self.testpmd_pps),
            "ratio": round(self.ratio, 4),
            "ratio_min": round(self.spread[0], 4),
            "ratio_max": round(self.spread[1], 4),
            "least": self.case.least,
            "windows": self.windows,
            "shared_windows": self.shared,
            "runs": [{"vio4wd_pps": round(r.vio4wd_pps), "testpmd_pps": round(r.testpmd_pps)} for r in self.runs],
        }


def compare(case: Case, runs: int, seconds: float, notice: Notice) -> Comparison:
    """Measure a case `runs` times with windows of `seconds`."""
    done = []
    for index in range(runs):
        run = _run(case, seconds, first=index % 2)
        notice(
            f"{case.name} {index + 1}/{runs}: vio4wd {run.vio4wd_pps / 1e6:.2f} Mpps, "
            f"testpmd {run.testpmd_pps / 1e6:.2f} Mpps, ratio {run.ratio:.3f}"
            + (f" ({run.shared} of {2 * TURNS} windows on a shared CPU)" if run.shared else "")
        )
        done.append(run)
    return Comparison(case, tuple(done))


def _run(case: Case, seconds: float, first: int) -> Run:
    """Both sides started afresh, then windows in turns: A, B, B, A, A, B, ... so that neither is always the first."""
    with contextlib.ExitStack() as stack:
        sides: list[Side] = []
        for kind in (Vio4wdSide, TestpmdSide):
            sides.append(stack.enter_context(kind(case)))
            sides[-1].freeze()
        windows: dict[str, list[Window]] = {side.name: [] for side in sides}
        for side in _turns(sides, first):
            windows[side.name].append(_window(side, seconds))
    rates = {name: statistics.median(window.pps for window in seen) for name, seen in windows.items()}
    shared = sum(window.share < LEAST_CPU_SHARE for seen in windows.values() for window in seen)
    return Run(rates["vio4wd"], rates["testpmd"], shared)


def _turns(sides: Sequence[Side], first: int) -> list[Side]:
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
        rate = side.case.rate(side.guest.rates(seconds))
        # Both poll, so both want a CPU all the time. What a thread waited is booked only when it runs again.
        ran = [ran_ns(thread) - earlier for thread, earlier in zip(threads, before, strict=True)]
        elapsed_ns = time.monotonic_ns() - started_ns
    finally:
        side.freeze()
    return Window(rate, min(ran) / elapsed_ns)
