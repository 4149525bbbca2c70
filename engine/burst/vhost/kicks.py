"""Telling a guest that the relay polls, so that it need not kick.

Each kick is an exit of its virtual machine, and one comes for each burst: of those that it sends, and of those that it
makes room for. Even where the guest is no virtual machine, the call of the kernel is 0.4 us of a round trip of 0.8.
"""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called

GUEST_RX, GUEST_TX = 0, 1
"""Vring numbers of the first pair, as the guest names them; those of each further pair are 2 higher."""

_i32, _u16 = types.int32, types.uint16
guest_notification = types.ExternalFunction("rte_vhost_enable_guest_notification", _i32(_i32, _u16, _i32))


@called
def ask_for_none(vid: int, mask: int, side: int) -> None:
    """For the rings on one side (GUEST_RX or GUEST_TX) of the queue pairs in `mask`.

    rte_vhost accepts it for rings that are ready, and remembers it until the guest's driver starts anew. It takes the
    ring's lock, so vring_state_changed, which holds it, must not call this.
    """
    for queue in range(at.MAX_QUEUES):
        if (mask >> queue) & 1 == 1:
            guest_notification(vid, _u16(2 * queue + side), 0)
