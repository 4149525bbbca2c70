"""Results as a table for people and as JSON for programs, and the verdict on them."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.roundtrip import PERCENTILES, RoundTrips
from scripts.benchmarks.throughput import Comparison
from scripts.benchmarks.timings import Timing


@dataclass(slots=True)
class Results:
    """Everything that was measured."""

    comparisons: list[Comparison] = field(default_factory=list)
    round_trips: list[RoundTrips] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)

    def missed(self) -> list[str]:
        """What does not reach its threshold, in words."""
        slow = [
            f"{c.case.name}: {c.interval[0]:.3f} to {c.interval[1]:.3f} times {c.other}, above {c.case.least} is wanted"
            for c in self.comparisons
            if c.interval[0] <= c.case.least
        ]
        slow += [
            f"{r.case.name}: testpmd's median time is {r.interval[0]:.3f} to {r.interval[1]:.3f} of vio4wd's, "
            f"above {r.case.least} is wanted"
            for r in self.round_trips
            if r.interval[0] <= r.case.least
        ]
        late = [
            f"{t.name}: {t.value:.2f} {t.unit}, less than {t.most:g} {t.unit} is wanted"
            for t in self.timings
            if t.most is not None and t.value >= t.most
        ]
        return slow + late

    def doubts(self) -> list[str]:
        """What was measured while other work held the CPUs, in words."""
        return [
            f"{c.case.name}: other work shared the CPUs in {c.shared} of {c.windows} windows; "
            "measure again on a quiet machine"
            for c in self.comparisons
            if c.shared * 4 > c.windows
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": machine(),
            "throughput": [comparison.to_json() for comparison in self.comparisons],
            "round_trips": [trips.to_json() for trips in self.round_trips],
            "timings": [timing.to_json() for timing in self.timings],
            "missed": self.missed(),
            "doubts": self.doubts(),
        }

    def write_json(self, path: str) -> None:
        """To a file, or to standard output when the path is `-`."""
        text = json.dumps(self.to_json(), indent=2) + "\n"
        if path == "-":
            sys.stdout.write(text)
        else:
            Path(path).write_text(text)


def machine() -> dict[str, Any]:
    """Where it was measured."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "load_1m": os.getloadavg()[0],
    }


def show(results: Results) -> None:
    """Print the tables; plain text unless standard output is a terminal."""
    for title, header, rows in _tables(results):
        if not rows:
            continue
        if sys.stdout.isatty():
            _rich(title, header, rows)
        else:
            _plain(title, header, rows)


def _tables(results: Results) -> list[tuple[str, Sequence[str], list[Sequence[str]]]]:
    rates = [_rate_row(comparison) for comparison in results.comparisons]
    times = [
        (t.words, f"{t.value:.2f} {t.unit}", "-" if t.most is None else f"< {t.most:g} {t.unit}")
        for t in results.timings
    ]
    return [
        (
            "Relay beside testpmd io or itself alone, medians",
            ("work", "vio4wd Mpps", "other Mpps", "ratio", "95 %", "wanted"),
            rates,
        ),
        (
            "One packet there and back, microseconds, medians over the runs",
            ("side", *(f"p{percentile:g}" for percentile in PERCENTILES), "testpmd / vio4wd, p50, 95 %", "wanted"),
            [row for trips in results.round_trips for row in _trip_rows(trips)],
        ),
        ("Times", ("what", "measured", "wanted"), list(times)),
    ]


def _trip_rows(trips: RoundTrips) -> list[Sequence[str]]:
    times = {"vio4wd": trips.vio4wd_us, "testpmd": trips.testpmd_us}
    verdicts = ["{:.3f}..{:.3f}".format(*trips.interval), f"> {trips.case.least:g}"]
    return [
        (side, *(f"{value:.2f}" for value in trips.medians(runs)), *(verdicts if side == "vio4wd" else ["", ""]))
        for side, runs in times.items()
    ]


def _rate_row(comparison: Comparison) -> Sequence[str]:
    return (
        comparison.case.words,
        f"{comparison.vio4wd_pps / 1e6:.2f}",
        f"{comparison.other_pps / 1e6:.2f}",
        f"{comparison.ratio:.3f}",
        "{:.3f}..{:.3f}".format(*comparison.interval),
        f"> {comparison.case.least:g}",
    )


def _rich(title: str, header: Sequence[str], rows: list[Sequence[str]]) -> None:
    table = Table(title=title)
    for name in header:
        table.add_column(name, justify="left" if name == header[0] else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _plain(title: str, header: Sequence[str], rows: list[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    print(title)
    for row in [header, *rows]:
        first, *others = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join([first, *others]).rstrip())
