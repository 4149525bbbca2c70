"""What a worker does between two passes."""

from __future__ import annotations

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called, dividing
from engine.burst.compiled.intrinsics import load64, load_acquire, pause, rdtsc, store64
from engine.burst.compiled.quiesce import usleep

BREATH_PAUSES = 64
"""About 1 us. At 64 B this is worth 10 % from VF to VM; 32 did not show, 128 brought no more."""


@dividing
def go_idle(worker: int, idle_since: int) -> tuple[int, bool]:
    """What a worker does after a pass in which nothing moved, unless it is never to rest: pause, then sleep ever longer
    up to its bound.

    `idle_since` (TSC) is 0 after a pass in which something did; gives since when it is idle, and whether it slept.
    """
    longest_us = load_acquire(worker + at.WORKER_SLEEP_US)
    if longest_us == 0:
        return 0, False
    now = rdtsc()
    if idle_since == 0:
        idle_since = now
    idle_cycles = now - idle_since
    if idle_cycles < load_acquire(worker + at.WORKER_SPIN_CYCLES):
        pause()
        return idle_since, False
    # A quarter of the time idle so far: what just went quiet is looked after sooner than what sleeps since long.
    usleep(max(1, min(longest_us, idle_cycles // (4 * load_acquire(worker + at.WORKER_CYCLES_PER_US)))))
    store64(worker + at.WORKER_SLEPT_CYCLES, load64(worker + at.WORKER_SLEPT_CYCLES) + rdtsc() - now)
    return idle_since, True


@called
def short_pause() -> None:
    """Lets a guest that is slower than its worker fill a burst: fetching its ring's cache lines for each few packets
    costs both sides more than the wait."""
    for _ in range(BREATH_PAUSES):
        pause()
