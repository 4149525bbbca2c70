"""What a guest's side may say on a vhost-user socket: looked at before rte_vhost acts on it.

rte_vhost believes its peer in places where a lie ends the process or stops the thread that all sockets share: a ring
that is used before it has a size, or gets another size or format under its addresses (memory is read and written
beyond its end); memory that cannot be mapped after the old one is gone, or ends before it should; in-flight regions
and postcopy, which relays do not need; half a message, for whose rest it waits. Such a peer is cut off, alone. The
rules are narrower than rte_vhost's, and everything that QEMU and virtio-user do lies within them.
"""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import (
    load16,
    load32,
    load64,
    load_acquire,
    stack_space,
    store32,
    store64,
    store_release,
)
from engine.burst.vhost.guest_memory import NEED_REPLY, lies_within, note_regions
from engine.burst.vhost.vring import (
    VRING_AVAIL,
    VRING_DESC,
    VRING_ENTRIES,
    VRING_USED,
    bases_space,
    get_vring,
    get_vring_base,
    vring_space,
)
from engine.dpdk.layout import (
    RTE_VHOST_MESSAGE,
    VIRTIO_F_RING_PACKED,
    VIRTIO_NET_F_MQ,
    VIRTIO_RING_F_EVENT_IDX,
)

SET_FEATURES, RESET_OWNER, SET_MEM_TABLE, SET_LOG_BASE = 2, 4, 5, 6
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
SET_PROTOCOL_FEATURES, SET_VRING_ENABLE, SEND_RARP, NET_SET_MTU, SET_STATUS = 16, 18, 19, 20, 39
"""Requests of vhost-user that are looked into."""
KNOWN = sum(1 << request for request in (*range(1, 22), 39, 40))
"""Requests that a network device needs, by bit: all up to SET_BACKEND_REQ_FD, and the two of the device's status."""
RINGS = 2 * at.MAX_QUEUES
LARGEST_RING = 32_768
MAX_REGIONS = at.MAX_REGIONS
LAST_ADDRESS = (1 << 63) - 1
EVENT_BYTES = 4
"""struct vring_packed_desc_event."""
ROOM_TO_SPARE = 1 << 40
"""Address space in bytes that must be left beside a guest's memory, old and new: more than other threads ever map
between the trial and the act."""
SHAPE = (1 << VIRTIO_F_RING_PACKED) | (1 << VIRTIO_RING_F_EVENT_IDX) | (1 << VIRTIO_NET_F_MQ)
"""Features that say how large and how many the rings are."""

REQUEST, FLAGS, SIZE, PAYLOAD, FDS, FD_COUNT = (
    RTE_VHOST_MESSAGE.request,
    RTE_VHOST_MESSAGE.flags,
    RTE_VHOST_MESSAGE.size,
    RTE_VHOST_MESSAGE.payload,
    RTE_VHOST_MESSAGE.fds,
    RTE_VHOST_MESSAGE.fd_count,
)
STATX_BYTES, STATX_BLOCK, STATX_MODE, STATX_SIZE, STATX_DEVICE = 256, 4, 28, 40, 136
"""struct statx: stx_blksize, stx_mode, stx_size, stx_dev_major."""
AT_EMPTY_PATH, AT_STATX_DONT_SYNC, STATX_BASIC = 0x1000, 0x4000, 0x7FF
"""What is known of a file without asking whoever serves it: that may be a process that never answers (FUSE)."""
S_IFMT, S_IFREG, S_IFCHR = 0o170000, 0o100000, 0o020000
F_SETFD, FD_CLOEXEC, F_GETFL, F_SETFL, O_NONBLOCK = 2, 1, 3, 4, 0o4000
F_GET_SEALS, F_SEAL_SHRINK = 1034, 2
POLLERR, POLLHUP, POLLRDHUP = 0x8, 0x10, 0x2000
PROT_NONE, PROT_READ_WRITE, MAP_FAILED = 0, 3, -1
MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE = 0x01, 0x02, 0x20, 0x4000

_i32, _i64 = types.int32, types.int64
fcntl = types.ExternalFunction("fcntl", _i32(_i32, _i32, _i64))
poll = types.ExternalFunction("poll", _i32(_i64, _i64, _i32))
statx = types.ExternalFunction("statx", _i32(_i32, _i64, _i32, _i32, _i64))
close = types.ExternalFunction("close", _i32(_i32))
mmap = types.ExternalFunction("mmap", _i64(_i64, _i64, _i32, _i32, _i32, _i64))
munmap = types.ExternalFunction("munmap", _i32(_i64, _i64))
stat_space = stack_space(STATX_BYTES)
word_space = stack_space(8)
trial_space = stack_space(16 * MAX_REGIONS)


@called
def never_wait(fd: int) -> None:
    """Makes whatever is done with a descriptor return at once."""
    fcntl(_i32(fd), F_SETFL, _i64(fcntl(_i32(fd), F_GETFL, 0)) | O_NONBLOCK)


@called
def hung_up(fd: int) -> bool:
    """Whether the peer at the other end of a connection has gone, whatever he has said before."""
    poll_word = word_space()
    store64(poll_word, (POLLRDHUP << 32) | fd)
    return poll(poll_word, 1, 0) == 1 and (load64(poll_word) >> 48) & (POLLRDHUP | POLLERR | POLLHUP) != 0


@called
def look_at(fd: int, stat: int) -> bool:
    """Fills in struct statx, without waiting for anybody."""
    nothing = word_space()
    store64(nothing, 0)
    return statx(_i32(fd), nothing, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC, stat) == 0


@called
def is_memory(fd: int, stat: int) -> bool:
    """Whether it is a file of memory (memfd, tmpfs, hugetlbfs: those have seals), a file on a disk, or a device."""
    kind = load32(stat + STATX_MODE) & S_IFMT
    if kind == S_IFREG:
        return fcntl(_i32(fd), F_GET_SEALS, 0) >= 0 or load32(stat + STATX_DEVICE) != 0
    return kind == S_IFCHR


@called
def length_to_map(fd: int, size: int, offset: int, most: int) -> int:
    """How many bytes rte_vhost will map for a region; 0 if it can't. What lies beyond a file's end is a bus
    error."""
    stat = stat_space()
    if size <= 0 or size > most or offset < 0 or offset > most - size:  # LLVM may take it that no sum overflows
        return 0
    end = offset + size
    if not look_at(fd, stat) or not is_memory(fd, stat):
        return 0
    if load32(stat + STATX_MODE) & S_IFMT == S_IFREG and load64(stat + STATX_SIZE) < end:
        return 0
    block = load32(stat + STATX_BLOCK)  # a power of two; munmap wants whole hugepages
    return (end + block - 1) & -block


@called
def unmap(trial: int, count: int) -> None:
    for index in range(count):
        munmap(load64(trial + 16 * index), load64(trial + 16 * index + 8))


@called
def room_to_spare() -> bool:
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    address = mmap(0, ROOM_TO_SPARE, PROT_NONE, flags, _i32(-1), 0)
    if address == MAP_FAILED:
        return False
    munmap(address, ROOM_TO_SPARE)
    return True


@called
def mappable(message: int, table: int, count: int, most: int) -> bool:
    """Whether `count` regions can be mapped all at once, beside all that is mapped already."""
    trial, total, mapped = trial_space(), 0, 0
    while mapped < count:
        region, fd = table + 32 * mapped, load32(message + FDS + 4 * mapped)
        length = length_to_map(fd, load64(region + 8), load64(region + 24), most)
        total += length
        if length <= 0 or total > most:
            break
        address = mmap(0, length, PROT_READ_WRITE, MAP_SHARED, _i32(fd), 0)
        if address == MAP_FAILED:
            break
        store64(trial + 16 * mapped, address)
        store64(trial + 16 * mapped + 8, length)
        mapped += 1
    fits = mapped == count and room_to_spare()
    unmap(trial, mapped)
    return fits


@called
def overlap(left: int, right: int, size_left: int, size_right: int) -> bool:
    return left < right + size_right and right < left + size_left


@called
def apart(table: int, count: int) -> bool:
    """Whether no region goes round the end of the guest's addresses or of its QEMU's, or into another one."""
    for index in range(count):
        region = table + 32 * index
        size, guest, user = load64(region + 8), load64(region), load64(region + 16)
        if size <= 0 or guest < 0 or user < 0 or guest > LAST_ADDRESS - size or user > LAST_ADDRESS - size:
            return False
        for other in range(index):
            beside = table + 32 * other
            length = load64(beside + 8)
            if overlap(guest, load64(beside), size, length) or overlap(user, load64(beside + 16), size, length):
                return False
    return True


@called
def memory_sound(guest: int, message: int) -> bool:
    """SET_MEM_TABLE: the whole table can be mapped."""
    count, table = load32(message + PAYLOAD), message + PAYLOAD + 8
    if count < 1 or count > MAX_REGIONS or load32(message + FD_COUNT) != count or not apart(table, count):
        return False
    return mappable(message, table, count, load64(guest + at.GUEST_MOST_MEMORY))


@called
def log_sound(guest: int, message: int) -> bool:
    """SET_LOG_BASE: the bitmap of dirty pages is there, and stays: QEMU seals its against being made shorter. rte_vhost
    counts an offset twice, and QEMU has none."""
    size, fd, stat = load64(message + PAYLOAD), load32(message + FDS), stat_space()
    if load32(message + FD_COUNT) != 1 or load64(message + PAYLOAD + 8) != 0:
        return False
    seals = fcntl(_i32(fd), F_GET_SEALS, 0)
    if seals < 0 or seals & F_SEAL_SHRINK == 0 or not look_at(fd, stat):
        return False
    length = length_to_map(fd, size, 0, load64(guest + at.GUEST_MOST_MEMORY))
    if length <= 0:
        return False
    address = mmap(0, length, PROT_READ_WRITE, MAP_SHARED, _i32(fd), 0)
    if address == MAP_FAILED:
        return False
    munmap(address, length)
    return True


@called
def call_sound(message: int) -> bool:
    """SET_VRING_CALL: what a worker writes to when it notifies the guest is an eventfd, or nothing, and never waits."""
    if load32(message + FD_COUNT) != 1:
        return True  # rte_vhost knows how many there must be
    fd, stat = load32(message + FDS), stat_space()
    if not look_at(fd, stat) or load32(stat + STATX_MODE) & S_IFMT != 0:
        return False
    never_wait(fd)  # else a full one would hold up the worker
    return True


@called
def addressed(vid: int, ring: int, size: int) -> bool:
    """Whether the addresses of a ring are in use, for another number of descriptors than `size`."""
    vring = vring_space()
    if get_vring(vid, ring, vring) != 0:
        return False
    used = load64(vring + VRING_DESC) | load64(vring + VRING_AVAIL) | load64(vring + VRING_USED)
    return used != 0 and load16(vring + VRING_ENTRIES) != size


@called
def size_sound(vid: int, ring: int, size: int, packed: bool) -> bool:
    """SET_VRING_NUM. rte_vhost keeps a size that it refuses, and does not look at the addresses again."""
    if size < 1 or size > LARGEST_RING or (not packed and size & (size - 1) != 0):
        return False
    return not addressed(vid, ring, size)


@called
def kick_sound(vid: int, guest: int, ring: int, packed: bool) -> bool:
    """SET_VRING_KICK starts a ring, which must have a size; where a packed one goes on is not checked by rte_vhost."""
    if (load_acquire(guest + at.GUEST_RINGS) >> ring) & 1 == 0:
        return False
    vring, bases = vring_space(), bases_space()
    if get_vring(vid, ring, vring) != 0 or get_vring_base(vid, ring, bases, bases + 8) != 0:
        return False
    size = load16(vring + VRING_ENTRIES)
    return size > 0 and (not packed or load32(bases) & 0x7FFF < size)


@called
def ring_sound(vid: int, guest: int, message: int, features: int) -> bool:
    """A message about one ring."""
    request, body = load32(message + REQUEST), message + PAYLOAD
    packed = (features >> VIRTIO_F_RING_PACKED) & 1 == 1
    ring = ring_of(request, body)
    if ring >= RINGS:
        return False
    if request == SET_VRING_NUM:
        return size_sound(vid, ring, load32(body + 4), packed)
    if request == SET_VRING_BASE:
        return not addressed(vid, ring, 0)
    if request == SET_VRING_KICK:
        return kick_sound(vid, guest, ring, packed)
    return call_sound(message) if request == SET_VRING_CALL else True


@called
def ring_of(request: int, body: int) -> int:
    """The ring that a message is about, -1 for none."""
    if request >= SET_VRING_KICK and request <= SET_VRING_ERR:
        return load64(body) & 0xFF
    if (request >= SET_VRING_NUM and request <= GET_VRING_BASE) or request == SET_VRING_ENABLE:
        return load32(body)
    return -1


@called
def needed(request: int, body: int) -> int:
    """How many bytes of payload a message must have to be understood; what it lacks would be read from the stack."""
    if request == SET_MEM_TABLE:
        return 8 + 32 * min(load32(body), MAX_REGIONS)
    if request == SET_VRING_ADDR:
        return 40
    if request == SET_LOG_BASE:
        return 16
    words = request in (SET_FEATURES, SET_PROTOCOL_FEATURES, SEND_RARP, NET_SET_MTU, SET_STATUS)
    return 8 if words or ring_of(request, body) >= 0 else 0


@called
def sound(vid: int, guest: int, message: int, features: int) -> bool:
    """Whether a message may be acted on. `features` are those that were negotiated so far."""
    request, body = load32(message + REQUEST), message + PAYLOAD
    if request > 63 or (KNOWN >> request) & 1 == 0 or load32(message + SIZE) < needed(request, body):
        return False
    if request == SET_FEATURES:
        return (load64(body) ^ features) & SHAPE == 0 or load_acquire(guest + at.GUEST_RINGS) == 0
    if request == RESET_OWNER:  # it forgets the memory of rings that were not stopped
        return load_acquire(guest + at.GUEST_RINGS) == 0
    if request == SET_MEM_TABLE:
        return memory_sound(guest, message)
    if request == SET_LOG_BASE:
        return log_sound(guest, message)
    return ring_sound(vid, guest, message, features)


@called
def ring_within(vid: int, guest: int, ring: int, features: int) -> bool:
    """Whether the parts of a ring that rte_vhost has found lie in the guest's memory whole. Of one that does not it
    keeps the address all the same, and writes flags there when the ring is enabled."""
    vring = vring_space()
    if get_vring(vid, ring, vring) != 0:
        return True
    size, more = load16(vring + VRING_ENTRIES), 2 * ((features >> VIRTIO_RING_F_EVENT_IDX) & 1)
    available, used = 4 + 2 * size + more, 4 + 8 * size + more
    if (features >> VIRTIO_F_RING_PACKED) & 1 == 1:
        available, used = EVENT_BYTES, EVENT_BYTES
    for part, length in ((VRING_DESC, 16 * size), (VRING_AVAIL, available), (VRING_USED, used)):
        address = load64(vring + part)
        if address == 0:
            continue
        if load_acquire(guest + at.GUEST_REGIONS) == 0:  # forgotten when its driver stopped; where a ring is, memory is
            note_regions(vid, guest)
        if not lies_within(guest, address, length):
            return False
    return True


@called
def rings_within(vid: int, guest: int, message: int, features: int) -> bool:
    """After a message by which rte_vhost looks for rings in the guest's memory: they are there."""
    request, body = load32(message + REQUEST), message + PAYLOAD
    if request in (SET_VRING_ADDR, SET_VRING_KICK):
        return ring_within(vid, guest, ring_of(request, body), features)
    if request == SET_MEM_TABLE:
        for ring in range(RINGS):
            if not ring_within(vid, guest, ring, features):
                return False
    return True


@called
def forget_rings(guest: int, message: int) -> None:
    """Before a message that takes a ring's size away, or may."""
    request = load32(message + REQUEST)
    if request in (GET_VRING_BASE, SET_VRING_NUM):
        rings = load_acquire(guest + at.GUEST_RINGS)
        store_release(guest + at.GUEST_RINGS, rings & ~(1 << load32(message + PAYLOAD)))


@called
def note_ring(guest: int, message: int) -> None:
    """After a message that was acted on: a ring has a size now."""
    if load32(message + REQUEST) == SET_VRING_NUM:
        rings = load_acquire(guest + at.GUEST_RINGS)
        store_release(guest + at.GUEST_RINGS, rings | (1 << load32(message + PAYLOAD)))


@called
def mark_seen(message: int) -> None:
    """The descriptors of a message are known; what rte_vhost fails with before is not (`count_lost`)."""
    for index in range(min(load32(message + FD_COUNT), MAX_REGIONS)):
        fcntl(_i32(load32(message + FDS + 4 * index)), F_SETFD, FD_CLOEXEC)


@called
def end_after(message: int) -> None:
    """rte_vhost, which has acted on the message and has its descriptors, ends the connection instead of answering."""
    store32(message + FLAGS, load32(message + FLAGS) & ~NEED_REPLY)


@called
def turn_away(message: int) -> None:
    """Nothing of the message stays, its descriptors included, and rte_vhost ends the connection."""
    for index in range(min(load32(message + FD_COUNT), MAX_REGIONS)):
        close(_i32(load32(message + FDS + 4 * index)))
    store32(message + FD_COUNT, 0)
    end_after(message)
