"""Measures vio4wd: its relay beside dpdk-testpmd, its plans, its starts, its idling. Run by scripts/bench."""

from __future__ import annotations

import argparse
import signal
import sys

from scripts.benchmarks.cases import CASES, ROUND_TRIP
from scripts.benchmarks.report import Results, show
from scripts.benchmarks.roundtrip import round_trips
from scripts.benchmarks.throughput import Notice, compare
from scripts.benchmarks.timings import MEASUREMENTS
from tests.kit.system import host

NEEDS = ("root", "dpdk-testpmd")
NAMES = (*(case.name for case in CASES), ROUND_TRIP.name, *MEASUREMENTS)

EXAMPLES = """examples:
  scripts/bench                           everything, 5 runs each (about 10 minutes)
  scripts/bench --only 64-loop --runs 9   one row, more runs
  scripts/bench --check --json out.json   exit 1 when a threshold is missed, results to a file

docs/bench.md says how it is measured and how much to believe."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=_at_least_one, default=5, metavar="N", help="runs of each work (5)")
    parser.add_argument(
        "--seconds", type=_seconds, default=0.5, metavar="S", help="length of a window in seconds (0.5)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=NAMES,
        metavar="NAME",
        help=f"measure this alone; repeatable: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the results as JSON; - is standard output, without a table"
    )
    parser.add_argument("--check", action="store_true", help="exit 1 when a threshold is missed, and name it")
    return parser.parse_args()


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is too few: at least 1 run is needed")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text} is no length for a window: give 0.1 to 60 seconds")
    return value


def missing() -> list[str]:
    """What this machine lacks for measuring, in words."""
    lacking = [words for need in NEEDS if (words := host.missing(need)) is not None]
    if not all(cpu in host.cpus() for cpu in (0, 1)):
        lacking.append("CPUs 0 and 1 (one for the relay, one for the guest)")
    return lacking


def measure(names: tuple[str, ...], runs: int, seconds: float, notice: Notice) -> Results:
    """Measure what is named, in the order of the tables."""
    results = Results()
    for case in CASES:
        if case.name in names:
            results.comparisons.append(compare(case, runs, seconds, notice))
    if ROUND_TRIP.name in names:
        results.round_trips.append(round_trips(runs, notice))
    for name, measurement in MEASUREMENTS.items():
        if name in names:
            timing = measurement(runs)
            notice(f"{timing.words}: {timing.value:.2f} {timing.unit}")
            results.timings.append(timing)
    return results


def main() -> int:
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started for it ends, too
    lacking = missing()
    if lacking:
        print(f"bench: this machine lacks {'; '.join(lacking)}", file=sys.stderr)
        return 1
    if host.free_hugepages_mib() < 1536:
        print("bench: fewer than 1536 MiB of free hugepages; rates will be lower on both sides", file=sys.stderr)
    results = measure(
        tuple(asked.only or NAMES), asked.runs, asked.seconds, lambda words: print(words, file=sys.stderr)
    )
    if asked.json:
        results.write_json(asked.json)
    if asked.json != "-":
        show(results)
    for words in results.doubts():
        print(f"doubtful: {words}", file=sys.stderr)
    missed = results.missed()
    for words in missed if asked.check else ():
        print(f"missed: {words}", file=sys.stderr)
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
