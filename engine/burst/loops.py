"""The hot loop: one worker's passes over its table, compiled, without the interpreter, locks or allocation.

A pass is a few rounds, and a round visits each entry, the busy ones more than once. At each visit, a turn, an entry
takes at most one burst and hands it on (`to_guest`, `to_vf`); what the receiver does not take waits in the entry and is
offered first in the next turn, so nothing is reordered. While something waits nothing new is received: overload is
dropped by the NIC, or waits in the guest's own ring, where it costs nothing.
"""

from __future__ import annotations

from numba import cfunc, types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called, inlined
from engine.burst.compiled.intrinsics import load64, load_acquire, rdtsc, store64
from engine.burst.compiled.quiesce import end_pass, enter_pass
from engine.burst.counting import drop
from engine.burst.idle import go_idle, short_pause
from engine.burst.lacp_keepalive import send_lacp
from engine.burst.queue_spread import drop_stages
from engine.burst.to_guest import vf_to_vm
from engine.burst.to_vf import vm_to_vf
from engine.burst.vhost.vring import fetch_ahead

BURST = at.BURST
BREATH_LEAST = 4
"""Fewer packets come singly: a single one's answer shall not wait."""
ROUND_PACKETS = BURST
"""So many packets for each entry of its table a worker moves before it looks at all of them again. Looking at an idle
entry costs about as much as moving one packet, so idle entries take a few hundredths of a busy worker's time."""
PASS_VISITS = 32
"""So many visits a pass makes while packets come singly or not at all, each round counted as one more: beginning a pass
is a full barrier, a seventh of a round over one idle relay, and a packet waits for it."""
TIMED_PASSES = 11
"""One pass in so many is timed, and stands for all of them: the looks at the clock are a fifth of a round over one idle
relay, and a packet waits for them. A prime, so as not to keep step with bursts and rings, which are powers of 2."""
UNTIMED = 0

_i32, _i64 = types.int32, types.int64
sched_setaffinity = types.ExternalFunction("rte_thread_set_affinity", types.int32(_i64))
prctl = types.ExternalFunction("prctl", types.int32(_i32, _i64))
PR_SET_TIMERSLACK = 29


@inlined
def poll(entry: int, fp_ops: int, drain_pool: int) -> int:
    """One turn of an entry: how many packets moved."""
    if load64(entry + at.ENTRY_DIRECTION) == at.VF_TO_VM:
        return vf_to_vm(entry, fp_ops)
    return vm_to_vf(entry, fp_ops, drain_pool)


@called
def look_after(entry: int, fp_ops: int) -> int:
    """What is done now and then for an entry for which nothing moves: how many packets were received."""
    if load64(entry + at.ENTRY_DIRECTION) == at.VF_TO_VM:
        fetch_ahead(entry)
    return send_lacp(entry, fp_ops)


@inlined
def charged_turn(entry: int, fp_ops: int, drain_pool: int, weight: int, before: int) -> tuple[int, int]:
    """A turn that began at `before` (TSC): how many packets moved, and when it ended. If any did it is charged to the
    entry, `weight` times. With UNTIMED no clock is read and nothing charged, nor is an entry looked after."""
    packets = poll(entry, fp_ops, drain_pool)
    if weight == UNTIMED:
        return packets, 0
    if packets == 0:
        packets = look_after(entry, fp_ops)
    after = rdtsc()
    if packets > 0:
        store64(entry + at.BUSY_CYCLES, load64(entry + at.BUSY_CYCLES) + weight * (after - before))
    return packets, after


@inlined
def one_round(table: int, fp_ops: int, drain_pool: int, weight: int) -> int:
    """Visits every entry, and then those that moved a whole burst, again and again until none does or enough moved:
    how many packets moved.

    So a busy entry does not pay a look at all the idle ones for each of its bursts.
    """
    entries = load64(table + at.TABLE_COUNT)
    index, moved, chain, again = 0, 0, 0, 0
    now = 0 if weight == UNTIMED else rdtsc()
    while True:
        if index < entries:
            entry = load64(table + at.TABLE_ENTRIES + 8 * index)
            index += 1
        else:
            if chain == 0:
                if again == 0 or moved >= entries * ROUND_PACKETS:
                    return moved
                chain, again = again, 0
            entry, chain = chain, load64(chain + at.ENTRY_NEXT)
        packets, now = charged_turn(entry, fp_ops, drain_pool, weight, now)
        moved += packets
        if packets >= BURST:
            store64(entry + at.ENTRY_NEXT, again)
            again = entry


@inlined
def one_pass(table: int, fp_ops: int, drain_pool: int, weight: int) -> int:
    """Rounds until one moves more than single packets or the visits are made: the most packets that a round moved.

    `weight` says how many passes this one's cycles are charged for, UNTIMED that they are not.
    """
    most, visits = 0, 0
    while visits < PASS_VISITS and most < BREATH_LEAST:
        most = max(most, one_round(table, fp_ops, drain_pool, weight))
        visits += load64(table + at.TABLE_COUNT) + 1
    return most


@inlined
def weigh(slept: bool, untimed: int) -> tuple[int, int]:
    """What the next pass is charged for, and how many passes in a row are untimed then.

    One that follows a sleep stands for itself alone: there is time to look after everything, and what waited for the
    worker comes in no other.
    """
    if slept:
        return 1, untimed
    if untimed + 1 >= TIMED_PASSES:
        return TIMED_PASSES, 0
    return UNTIMED, untimed + 1


@cfunc(types.int32(types.int64), cache=True)
def work(worker: int) -> int:
    """A worker's life, run on an lcore: passes until it is told to stop."""
    sched_setaffinity(worker + at.WORKER_CPUSET)
    prctl(PR_SET_TIMERSLACK, 1)  # else the kernel adds 50 us to each sleep
    fp_ops = load64(worker + at.WORKER_FP_OPS)
    drain_pool = load64(worker + at.WORKER_DRAIN_POOL)
    sequence = load64(worker + at.WORKER_SEQUENCE)
    idle_since, slept, untimed = 0, False, 0
    while load_acquire(worker + at.WORKER_STOP) == 0:
        weight, untimed = weigh(slept, untimed)
        enter_pass(worker, sequence)
        moved = one_pass(load_acquire(worker + at.WORKER_TABLE), fp_ops, drain_pool, weight)
        end_pass(worker, sequence)
        sequence += 2
        store64(worker + at.WORKER_PASSES, load64(worker + at.WORKER_PASSES) + 1)
        if moved == 0:
            idle_since, slept = go_idle(worker, idle_since)
        else:
            idle_since, slept = 0, False
            if BREATH_LEAST <= moved < BURST:
                short_pause()
    return 0


@cfunc(types.void(types.int64, types.int64), cache=True)
def drop_waiting(entry: int, counter: int) -> None:
    """For Python: drops what waits in an entry that no table has."""
    drop(entry, counter, load64(entry + at.ENTRY_WAITING))
    drop_stages(entry, counter)


@cfunc(types.int64(), cache=True)
def read_tsc() -> int:
    """For Python: the clock in which busy cycles are counted."""
    return rdtsc()
