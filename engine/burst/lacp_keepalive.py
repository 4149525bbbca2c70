"""What a port needs that must not be left alone for long, also when nothing can move: an 802.3ad bond.

Such a bond sends and receives its own frames (LACP, IEEE 802.1AX) inside our bursts, and its partner takes a link from
which it hears nothing out of service. So now and then there is a burst of nothing to send, and one received for which
the guest has no room: what has been waiting for room longest is dropped for it.
"""

from __future__ import annotations

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import call_burst, load64, load_acquire, rdtsc, store64
from engine.burst.counting import FP_SIZE, FP_TX, FP_TXQ, count, drop, receive_from_vf, total_bytes


@called
def send_lacp(entry: int, fp_ops: int) -> int:
    """After a timed turn in which nothing moved, at most once in PORT_SERVICE cycles: how many packets it received."""
    port_block = load64(entry + at.ENTRY_PORT)
    interval = load64(port_block + at.PORT_SERVICE)
    if interval == 0:
        return 0
    now = rdtsc()
    if now - load64(entry + at.ENTRY_SERVED) < interval:
        return 0
    store64(entry + at.ENTRY_SERVED, now)
    port_id = load_acquire(port_block + at.PORT_ID)
    if port_id == 0:
        return 0
    if load64(entry + at.ENTRY_DIRECTION) == at.VM_TO_VF:
        fp = fp_ops + (port_id - 1) * FP_SIZE
        call_burst(load64(fp + FP_TX), load64(load64(fp + FP_TXQ)), entry + at.ENTRY_MBUFS, 0)
        return 0
    waiting = load64(entry + at.ENTRY_WAITING)
    if waiting > 0:
        drop(entry, at.GUEST_FULL, waiting)
    received = receive_from_vf(entry, fp_ops, port_id, at.BURST)
    count(entry + at.RX, received, total_bytes(entry + at.ENTRY_MBUFS, 0, received))
    store64(entry + at.ENTRY_WAITING, received)
    return received
