"""All tests, in parts beside each other: what waits leaves its CPU to the others.

To wait for a fault to heal or a guest to boot takes minutes. Each part is a pytest of its own, whose output is printed
whole when it has ended. At the end stand what each took, every reason for a skip, and one closing line, as pytest's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.kit.paths import ROOT, SHARED_CACHE
from tests.kit.system import host

PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no")
FAULTS = "tests/live/test_fault_injection.py"
ALONE = ("tests/live/test_hugepages.py", "tests/live/test_leaks.py", "tests/live/test_mounts.py")
"""They count or take the host's hugepages: nobody else may hold any meanwhile."""
OWN_HOSTS = tuple(f"tests/live/test_{each}.py" for each in ("units", "spec_fuzz", "many_specs"))
"""They make hosts of their own, systemd's too; here so that no part takes much longer than the others."""
_FOLDERS = ("schema", "state", "reconciler", "upgrade", "ground", "kit", "engine")
UNITS = ("units", tuple(f"tests/{folder}" for folder in _FOLDERS))
LIVE = ("live", ("tests/live", *(f"--ignore={path}" for path in (FAULTS, *OWN_HOSTS, *ALONE))))
WAITING = ("faults, guests", (FAULTS, "tests/qemu", *OWN_HOSTS))
HUGEPAGES = ("hugepages", ALONE)
COUNT = re.compile(r"(\d+) (failed|passed|skipped|xfailed|xpassed|errors?|warnings?)\b")
SKIPPED = re.compile(r"^  (\d+) x (.*)$", re.M)
PROGRESS_S = 60.0
ENOUGH_MIB = 4000
"""Of hugepages, for what two parts start at the same time; scripts/bootstrap reserves fewer, enough for one."""


@dataclass
class Part:
    """One pytest that runs, or has ended."""

    name: str
    arguments: Sequence[str]
    began: float = field(default_factory=time.monotonic)
    took_s: float = 0.0
    text: str = ""

    def __post_init__(self) -> None:
        self._output: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            [*PYTEST, *self.arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output
        )

    def ended(self) -> bool:
        """Whether it has; its output is then in `text`."""
        if self.process.poll() is None:
            return False
        self.took_s = time.monotonic() - self.began
        self._output.seek(0)
        self.text = self._output.read()
        self._output.close()
        return True

    @property
    def closing(self) -> str:
        return (self.text.rstrip().splitlines() or [""])[-1].strip("= ")

    @property
    def failed(self) -> bool:
        return self.process.returncode != 0


def wait(parts: Sequence[Part]) -> list[Part]:
    """Until all have ended. Gives them in the order in which they have; each is printed then."""
    running, done = list(parts), []
    said = time.monotonic()
    try:
        while running:
            time.sleep(0.2)
            for part in [each for each in running if each.ended()]:
                running.remove(part)
                done.append(part)
                print(f"\n{f' {part.name} ':#^80}\n{part.text}", flush=True)
            if running and time.monotonic() - said > PROGRESS_S:
                said = time.monotonic()
                print("still running: " + "; ".join(f"{p.name} ({said - p.began:.0f} s)" for p in running), flush=True)
    finally:
        for part in running:
            part.process.send_signal(signal.SIGINT)
        for part in running:
            part.process.wait()
    return done


def summary(parts: Sequence[Part], took_s: float) -> str:
    """What each part came to, why tests were skipped, and pytest's closing line for all of them."""
    lines = ["", "parts:", *(f"  {part.name:15} {part.took_s:6.0f} s  {part.closing}" for part in parts)]
    skipped = total(SKIPPED.findall("\n".join(part.text for part in parts)))
    lines += [f"skipped: {sum(skipped.values())}", *(f"  {n} x {reason}" for reason, n in sorted(skipped.items()))]
    counts = total(COUNT.findall("\n".join(part.closing for part in parts)))
    words = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    minutes, seconds = divmod(round(took_s), 60)
    closing = f" {words} in {took_s:.2f}s ({minutes // 60}:{minutes % 60:02}:{seconds:02}) "
    return "\n".join([*lines, f"{closing:=^80}"])


def total(found: Iterable[tuple[str, str]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for number, what in found:
        counts[what] += int(number)
    return counts


def compile_loops() -> None:
    """What every engine needs, before several want it at once: each would wait for the other, or do it again."""
    environment = {**os.environ, "VIO4WD_CACHE_DIR": str(SHARED_CACHE)}
    with tempfile.TemporaryDirectory() as unread:
        line = [sys.executable, "-m", "tests.engine.burst.compiled.compile_loops", unread]
        subprocess.run(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    units = Part(*UNITS)
    compile_loops()
    # Where hugepages are few, engines and guests of two parts would take them from each other.
    few = 0 < host.reserved_hugepages_mib() < ENOUGH_MIB
    beside, alone = ([LIVE], [WAITING, HUGEPAGES]) if few else ([LIVE, WAITING], [HUGEPAGES])
    parts = wait([units, *(Part(*each) for each in beside)])
    for each in alone:
        parts += wait([Part(*each)])
    print(summary(parts, time.monotonic() - began))
    return int(any(part.failed for part in parts))


if __name__ == "__main__":
    sys.exit(main())
