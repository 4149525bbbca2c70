"""The descriptor behind a vhost-user connection, which rte_vhost keeps to itself."""

from __future__ import annotations

from numba import types

from engine.burst.compiled import layout as at
from engine.burst.compiled.compiling import called
from engine.burst.compiled.intrinsics import load8, load64, load_acquire, stack_space, store64
from engine.burst.vhost.gate import never_wait

SOCKADDR_BYTES, SOCKADDR_PATH = 110, 2
"""struct sockaddr_un."""
FDS_BEYOND = 1024
"""A new descriptor gets the lowest number that is free; another thread may have closed lower ones since."""
SHUT_RDWR = 2
F_GETFD, F_SETFD, FD_CLOEXEC = 1, 2, 1
FIRST_FD = 3
"""Those below are not marked: whatever is run inherits them."""
MOST_LOST_AT_ONCE = 8
"""A message brings so many descriptors at most, and the message that rte_vhost fails with ends the connection."""

_i32, _i64 = types.int32, types.int64
dup = types.ExternalFunction("dup", _i32(_i32))
close = types.ExternalFunction("close", _i32(_i32))
shutdown = types.ExternalFunction("shutdown", _i32(_i32, _i32))
fcntl = types.ExternalFunction("fcntl", _i32(_i32, _i32, _i64))
getsockname = types.ExternalFunction("getsockname", _i32(_i32, _i64, _i64))
getpeername = types.ExternalFunction("getpeername", _i32(_i32, _i64, _i64))
address_space = stack_space(at.GUEST_PATH_BYTES + 8)
length_space = stack_space(8)


@called
def same_path(left: int, right: int) -> bool:
    for index in range(at.GUEST_PATH_BYTES):
        if load8(left + index) != load8(right + index):
            return False
        if load8(left + index) == 0:
            return True
    return False


@called
def is_connection(fd: int, path: int) -> bool:
    """Whether a descriptor is a socket connected to this name, or accepted by the one that listens there."""
    address, length = address_space(), length_space()
    store64(length, SOCKADDR_BYTES)
    if getpeername(_i32(fd), address, length) != 0:
        return False
    if load64(length) > SOCKADDR_PATH and same_path(address + SOCKADDR_PATH, path):
        return True
    store64(length, SOCKADDR_BYTES)
    if getsockname(_i32(fd), address, length) != 0 or load64(length) <= SOCKADDR_PATH:
        return False
    return same_path(address + SOCKADDR_PATH, path)


@called
def lowest_free(context: int) -> int:
    """The lowest number that no descriptor has, or that none can have any more."""
    fd = dup(_i32(load_acquire(context + at.CONTEXT_EVENT_FD)))
    if fd < 0:
        return load_acquire(context + at.CONTEXT_MOST_FDS)
    close(fd)
    return _i64(fd)


@called
def take_connection(context: int, path: int, known: int) -> int:
    """The descriptor of a socket's newest connection, -1 if it is not found; `known` is that of the one before.

    From now on rte_vhost gives up on a peer that sends half a message or reads no answers, instead of waiting for it on
    the thread that all sockets share.
    """
    found = -1
    for fd in range(lowest_free(context) + FDS_BEYOND):
        if fd != known and is_connection(fd, path):
            never_wait(fd)
            fcntl(_i32(fd), F_SETFD, FD_CLOEXEC)
            found = fd
    return found


@called
def hang_up(fd: int, path: int) -> None:
    """Ends a connection of a socket. The descriptor may be another's already."""
    if fd >= 0 and is_connection(fd, path):
        shutdown(_i32(fd), SHUT_RDWR)


@called
def count_lost(context: int) -> int:
    """How many descriptors rte_vhost has received and forgotten with the message that it has just failed with.

    It receives them without close-on-exec. What the gate has seen is marked with that, and so is all that the engine
    opens: so what is not marked was never seen. It is marked by being counted.
    """
    lost = 0
    for fd in range(FIRST_FD, lowest_free(context) + FDS_BEYOND):
        if fcntl(_i32(fd), F_GETFD, 0) == 0:
            fcntl(_i32(fd), F_SETFD, FD_CLOEXEC)
            lost += 1
    return min(lost, MOST_LOST_AT_ONCE)
