"""vhost's callbacks, compiled: a guest waits while one runs, on a thread that all sockets share.

None of them takes the GIL, so neither a compilation nor a busy interpreter delays a guest. They set or clear one word
of the guest block, tell Python by the ring of events, and free nothing. What a peer says passes the gate first.
"""

from __future__ import annotations

from numba import cfunc, types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import (
    compare_exchange,
    exchange,
    load32,
    load64,
    load_acquire,
    stack_space,
    store64,
    store_release,
    symbol_address,
)
from engine.burst.compiled.quiesce import leave_passes
from engine.burst.vhost import callback_block as _callback_block  # noqa: F401 - defines the symbol that this code is linked to
from engine.burst.vhost.connection import count_lost, lowest_free, same_path, take_connection
from engine.burst.vhost.events import guest_block, push_event, refused
from engine.burst.vhost.gate import (
    REQUEST,
    SET_MEM_TABLE,
    end_after,
    forget_rings,
    hung_up,
    mark_seen,
    note_ring,
    rings_within,
    sound,
    turn_away,
)
from engine.burst.vhost.guest_memory import forget_regions, go_on, heap_to_spare, leave_alone
from engine.burst.vhost.kicks import GUEST_RX, GUEST_TX, ask_for_none
from engine.burst.vhost.vring import VRING_DESC, get_vring, vring_space

_i32, _i64, _u64 = types.int32, types.int64, types.uint64
context_address = symbol_address(at.CONTEXT_SYMBOL)
get_ifname = types.ExternalFunction("rte_vhost_get_ifname", _i32(_i32, _i64, _i64))
get_features = types.ExternalFunction("rte_vhost_get_negotiated_features", _i32(_i32, _i64))
look_at_messages = types.ExternalFunction("rte_vhost_extern_callback_register", _i32(_i32, _i64, _i64))
path_space = stack_space(at.GUEST_PATH_BYTES)
word_space = stack_space(8)
REFUSED, GO_ON = -1, 2
"""RTE_VHOST_MSG_RESULT_ERR and _NOT_HANDLED: rte_vhost acts on the message itself."""


@called
def guest_of(context: int, vid: int) -> int:
    """The index of the guest block whose socket the device came on, -1 if it is none of ours."""
    path = path_space()
    if get_ifname(vid, path, at.GUEST_PATH_BYTES) != 0:
        return -1
    guests = load_acquire(context + at.CONTEXT_GUESTS)
    for index in range(load_acquire(context + at.CONTEXT_GUEST_COUNT)):
        if same_path(guests + index * at.GUEST_SIZE + at.GUEST_PATH, path):
            return index
    return -1


@called
def read_features(vid: int, guest: int) -> None:
    """Puts the negotiated features where the workers read them."""
    features = word_space()
    store64(features, 0)
    get_features(vid, features)
    exchange(guest + at.GUEST_FEATURES, load64(features))


@called
def read_ring(vid: int, guest: int) -> None:
    """Puts down where the guest's memory is: on which NUMA node that is, Python asks the kernel."""
    vring = vring_space()
    found = get_vring(vid, 0, vring) == 0
    store64(guest + at.GUEST_RING, load64(vring + VRING_DESC) if found else 0)


@cfunc(_i32(_i32, _i64), cache=True)
def before_message(vid: int, message: int) -> int:
    """A peer has said something. Whoever says what he must not is cut off; his next connection is another matter."""
    context = context_address()
    index = guest_of(context, vid)
    if index < 0:
        return REFUSED
    guest, features = guest_block(context, index), word_space()
    store64(features, 0)
    get_features(vid, features)
    mark_seen(message)
    # Who is no longer the peer has left unread words behind, and another one has come.
    if load_acquire(guest + at.GUEST_PEER) == vid + 1 and sound(vid, guest, message, load64(features)):
        forget_rings(guest, message)
        if load32(message + REQUEST) != SET_MEM_TABLE:
            return GO_ON
        if heap_to_spare():
            leave_alone(guest, message)
            return GO_ON
    turn_away(message)
    refused(context, index, load32(message + REQUEST))
    return REFUSED


@cfunc(_i32(_i32, _i64), cache=True)
def after_message(vid: int, message: int) -> int:
    """rte_vhost has acted on a message without an error, and looks next at which rings are ready."""
    context = context_address()
    index = guest_of(context, vid)
    if index < 0:
        return GO_ON
    guest, features = guest_block(context, index), word_space()
    store64(features, 0)
    get_features(vid, features)
    note_ring(guest, message)
    if load32(message + REQUEST) == SET_MEM_TABLE:
        go_on(vid, guest, message)
    if rings_within(vid, guest, message, load64(features)):
        return GO_ON
    end_after(message)
    refused(context, index, load32(message + REQUEST))
    return REFUSED


@cfunc(_i32(_i32), cache=True)
def new_device(vid: int) -> int:
    """A guest's driver is ready: its relay's entries see it from their next pass on."""
    context = context_address()
    index = guest_of(context, vid)
    if index < 0:
        return -1
    guest = guest_block(context, index)
    read_features(vid, guest)
    read_ring(vid, guest)
    for side in (GUEST_RX, GUEST_TX):  # further pairs are not ready yet; their worker does it
        ask_for_none(vid, at.FIRST_QUEUE, side)
    store64(guest + at.GUEST_CONNECTS, load64(guest + at.GUEST_CONNECTS) + 1)
    exchange(guest + at.GUEST_VID, vid + 1)
    push_event(context, at.EVENT_CONNECTED, index)
    return 0


@cfunc(types.void(_i32), cache=True)
def destroy_device(vid: int) -> None:
    """The guest's memory goes when this returns, so it returns when no worker is in a pass that saw the guest."""
    context = context_address()
    index = guest_of(context, vid)
    if index < 0:
        return
    guest = guest_block(context, index)
    for word in (vid + 1, -(vid + 1)):  # it may be another's already
        compare_exchange(guest + at.GUEST_VID, word, 0)
    leave_passes(context)
    forget_regions(guest)
    push_event(context, at.EVENT_DISCONNECTED, index)


@cfunc(_i32(_i32, types.uint16, _i32), cache=True)
def vring_state_changed(vid: int, vring: int, enabled: int) -> int:
    """Only records: the vhost thread may hold the queues' locks here, so waiting for a worker would never end."""
    context = context_address()
    index = guest_of(context, vid)
    if index < 0:
        return 0
    guest = guest_block(context, index)
    mask = guest + (at.GUEST_TX_QUEUES if vring & 1 else at.GUEST_RX_QUEUES)
    bit = _i64(1) << (_i64(vring) >> 1)
    store_release(mask, (load_acquire(mask) | bit) if enabled else (load_acquire(mask) & ~bit))
    return 0


@cfunc(_i32(_i32, _u64), cache=True)
def features_changed(vid: int, features: int) -> int:
    """Comes with the start and end of a live migration: dirty logging is one of the features. The device itself has
    them only after this returns, so asking vhost for them would give the old ones."""
    context = context_address()
    index = guest_of(context, vid)
    if index >= 0:
        exchange(guest_block(context, index) + at.GUEST_FEATURES, _i64(features))
        push_event(context, at.EVENT_FEATURES, index)
    return 0


@called
def crowded(context: int, index: int) -> bool:
    """Whether the descriptors that are left are kept for what is there already."""
    if lowest_free(context) < load_acquire(context + at.CONTEXT_MOST_FDS):
        return False
    refused(context, index, at.DESCRIPTORS_SHORT)
    return True


@cfunc(_i32(_i32), cache=True)
def new_connection(vid: int) -> int:
    """Somebody is at the other end; his guest may have a driver later, or never.

    A second one is turned away while the first is there. That the first has gone may be known only later.
    """
    context = context_address()
    index = guest_of(context, vid)
    if index < 0 or look_at_messages(vid, context + at.CONTEXT_MESSAGE_OPS, 0) != 0:
        return -1
    guest = guest_block(context, index)
    if crowded(context, index) or load64(guest + at.GUEST_LOST) >= load_acquire(guest + at.GUEST_MOST_LOST):
        return -1
    before = load64(guest + at.GUEST_FD) if load_acquire(guest + at.GUEST_PEER) != 0 else -1
    connection = take_connection(context, guest + at.GUEST_PATH, before)
    if load_acquire(guest + at.GUEST_PEER) != 0 and not (before >= 0 and hung_up(before)):
        return -1
    for word in (at.GUEST_RINGS, at.GUEST_RX_QUEUES, at.GUEST_TX_QUEUES, at.GUEST_REGIONS, at.GUEST_STALE):
        store_release(guest + word, 0)
    store64(guest + at.GUEST_FD, connection)
    store_release(guest + at.GUEST_PEER, vid + 1)
    return 0


@called
def look_for_lost(context: int, index: int) -> None:
    """Counts what the connection that ends has cost for good."""
    lost, guest = count_lost(context), guest_block(context, index)
    if lost > 0:
        store_release(guest + at.GUEST_LOST, load64(guest + at.GUEST_LOST) + lost)
        refused(context, index, at.DESCRIPTORS_LOST)


@cfunc(types.void(_i32), cache=True)
def destroy_connection(vid: int) -> None:
    """The socket's peer is gone; the next one enables its queues anew."""
    context = context_address()
    index = guest_of(context, vid)
    if index < 0:
        return
    guest = guest_block(context, index)
    look_for_lost(context, index)
    if load_acquire(guest + at.GUEST_PEER) == vid + 1:
        forget_regions(guest)
        store_release(guest + at.GUEST_RX_QUEUES, 0)
        store_release(guest + at.GUEST_TX_QUEUES, 0)
        store_release(guest + at.GUEST_PEER, 0)


CALLBACKS = {
    "new_device": new_device,
    "destroy_device": destroy_device,
    "vring_state_changed": vring_state_changed,
    "features_changed": features_changed,
    "new_connection": new_connection,
    "destroy_connection": destroy_connection,
}
