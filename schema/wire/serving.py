"""An endpoint that speaks ZeroMQ to many clients at once, each of which may be slow, hasty or hostile.

A client is read from only while it is owed nothing: whoever asks a hundred thousand times waits in a buffer of its own,
and costs one request at a time. Descriptors are counted: at the limit the clients that have been idle longest are
disconnected (ZeroMQ's connect again when they have something to say), and while none is idle newcomers wait in the
kernel's queue. Nothing here waits, and no call fails because of a client.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from schema.wire.descriptors import slots
from schema.wire.listening import Access, EndpointError, Listening, listen
from schema.wire.zmtp import Frame, Manner, NotSpoken, Wire

LOG = logging.getLogger("vio4wd.endpoints")
AT_ONCE = 64
"""Clients that are served before other endpoints have their turn."""
READ_BYTES = 8192
IDLE_S = 1.0
"""Who has said and got nothing for so long may have to make room, and who has not finished greeting."""
SHORTLY_S, TOGETHER = 0.1, 8
"""As `IDLE_S`, while newcomers wait, and how many make room at a time then."""
SHARE = 0.75
"""Of the places, at most so many are one user's, unless it is root: others find room at all times."""
LOOK_EVERY_S = 2.0
"""How often it is looked whether the socket's file is still there."""
HOLD_S = 0.1
"""How long nobody is let in when there was no place or descriptor."""
MAX_TOPICS = 64
MAX_UNREAD_BYTES = 256 * 1024
"""Of what is published: who reads slower misses some of it."""


def user_of(connection: socket.socket) -> int:
    """Whose process has connected (unix(7), SO_PEERCRED)."""
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


class Client:
    """One connection. `reply` to it; it may be gone by then."""

    def __init__(self, endpoint: Endpoint, connection: socket.socket, uid: int) -> None:
        self.uid = uid
        self.alive = True
        self.owed = False
        """Whether it waits for a reply."""
        self.active_at = time.monotonic()
        self.topics: set[bytes] = set()
        """What a subscriber wants to hear."""
        self._endpoint = endpoint
        self._socket = connection
        self._wire = Wire(endpoint.manner)
        self._mask = -1

    def fileno(self) -> int:
        return self._socket.fileno()

    def reply(self, *frames: bytes) -> None:
        """Answers what it asked last."""
        if self.alive:
            self.owed = False
            self._wire.send(frames)
            self._go_on()

    def subscribe(self, message: tuple[Frame, ...]) -> None:
        """Notes what it wants to hear, or no more."""
        self.owed = False
        subscription = message[0]
        if isinstance(subscription, bytes) and subscription[:1] == b"\1" and len(self.topics) < MAX_TOPICS:
            self.topics.add(subscription[1:])
        elif isinstance(subscription, bytes) and subscription[:1] == b"\0":
            self.topics.discard(subscription[1:])
        self._go_on()

    def publish(self, message: bytes) -> None:
        if self.alive and len(self._wire.out) < MAX_UNREAD_BYTES and any(map(message.startswith, self.topics)):
            self._wire.send([message])
            self._go_on()

    def ready(self, events: int) -> tuple[Frame, ...] | None:
        """Sends and reads what can be; gives a message that came, which is owed a reply from now on."""
        try:
            message = self._message(events)
        except (OSError, NotSpoken):
            self.close()
            return None
        if message is not None:
            self.active_at, self.owed = time.monotonic(), True
        self._go_on()
        return message

    def _message(self, events: int) -> tuple[Frame, ...] | None:
        if self.owed and not self._wire.out:  # it is polled for its end only
            raise ConnectionResetError
        self._flush()
        if self._wire.out:
            return None
        message = self._wire.next()
        if message is not None or not events & (select.EPOLLIN | select.EPOLLHUP):
            return message
        with contextlib.suppress(BlockingIOError):  # the event was that of an earlier one with its descriptor
            received = self._socket.recv(READ_BYTES)
            if not received:
                raise ConnectionResetError
            self._wire.feed(received)
        return self._wire.next()

    def _go_on(self) -> None:
        """Sends what can be sent now, and asks to be told of what comes next."""
        try:
            self._flush()
        except OSError:
            self.close()
        if not self.alive:
            return
        mask = select.EPOLLOUT if self._wire.out or not self._wire.starved else select.EPOLLIN
        if self.owed and not self._wire.out:
            mask = 0  # its end is told all the same
        if mask != self._mask:
            self._mask = mask
            self._endpoint.poller.modify(self, mask)

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wire.out:
                del self._wire.out[: self._socket.send(self._wire.out, socket.MSG_NOSIGNAL)]

    def quiet(self) -> bool:
        """Whether nothing that it said is still to be read; of who does not take its reply nothing is."""
        if self._wire.out:
            return True
        try:
            return not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self._wire.starved
        except OSError:
            return True

    def close(self) -> None:
        if self.alive:
            self.alive = False
            self._endpoint.left(self)
            self._socket.close()


class Endpoint:
    """To be polled for reading; then take what `receive` gives. For one thread."""

    def __init__(self, path: Path, access: Access, manner: Manner) -> None:
        """Raises EndpointError."""
        self.manner = manner
        self.fault = ""
        """A sentence while new clients can't come in."""
        self._access = access
        self._listening: Listening | None = listen(path, access)
        self._path = path
        self._clients: dict[int, Client] = {}
        self._of_user: Counter[int] = Counter()
        self._hold_until = 0.0
        """Nobody is let in before."""
        self._waited = False
        """Whether newcomers have had to, and may still do so."""
        self._spare: int | None = None
        """A descriptor that is given up for a client when there is no other."""
        self._look_at = time.monotonic() + LOOK_EVERY_S
        try:
            self.poller = select.epoll()
            self.poller.register(self._listening.socket, select.EPOLLIN)
        except OSError as error:
            self._listening.close()
            raise EndpointError(f"{path} can't be opened: {error.strerror}; raise the limit of open files") from None

    def fileno(self) -> int:
        return self.poller.fileno()

    def __len__(self) -> int:
        return len(self._clients)

    def due(self) -> float:
        """When `step` has something to do next, in seconds of the steady clock."""
        return min(self._look_at, self._hold_until or self._look_at)

    def step(self) -> None:
        """Lets clients in again, and looks whether they still find the way."""
        now = time.monotonic()
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if self._hold_until and now >= self._hold_until:
            self._hold_until = 0.0
            self._let_in(True)
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._look()

    def receive(self) -> Iterator[tuple[Client, tuple[Frame, ...]]]:
        """What came, each message with who said it. Another call gives the next ones, whoever has much to say."""
        for fileno, events in self.poller.poll(0, AT_ONCE):
            client = self._clients.get(fileno)
            if client is None:
                self._accept(fileno)
                continue
            message = client.ready(events)
            if message is not None and self.manner.kind == b"PUB":
                client.subscribe(message)
            elif message is not None:
                yield client, message

    def publish(self, message: bytes) -> None:
        for client in list(self._clients.values()):
            client.publish(message)

    def left(self, client: Client) -> None:
        """It is closed just now."""
        with contextlib.suppress(OSError):
            self.poller.unregister(client)
        self._clients.pop(client.fileno(), None)
        self._hold_until = min(self._hold_until, time.monotonic())  # there is a place again
        self._of_user[client.uid] -= 1
        if not self._of_user[client.uid]:
            del self._of_user[client.uid]

    def close(self) -> None:
        for client in list(self._clients.values()):
            client.close()
        if self._listening is not None:
            self._listening.close()
        self._give_up_spare()
        self.poller.close()

    # ---- who comes in ------------------------------------------------------------------------------------------------

    def _accept(self, fileno: int) -> None:
        if self._listening is None or fileno != self._listening.socket.fileno():
            return
        for _ in range(AT_ONCE):
            if len(self._clients) >= slots() and not self._make_room(None):
                self._hold("")
                return
            try:
                connection, _ = self._listening.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                self._waited = False
                return
            except OSError as error:
                none_left = error.errno in (errno.EMFILE, errno.ENFILE)
                if not (none_left and (self._make_room(None) or self._give_up_spare())):
                    advice = "; raise the limit of open files" if none_left else ""
                    self._hold(f"clients can't be let in: {error.strerror}{advice}")
                    return
                continue
            self._welcome(connection)

    def _welcome(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        uid = user_of(connection)
        if uid and self._of_user[uid] >= SHARE * slots() and not self._make_room(uid):
            self._waited = True
            connection.close()  # ZeroMQ's try again
            return
        client = Client(self, connection, uid)
        try:
            self.poller.register(connection, select.EPOLLOUT)
        except OSError:  # no memory, or too many are watched
            connection.close()
            return
        self._clients[connection.fileno()] = client
        self._of_user[uid] += 1

    def _make_room(self, uid: int | None) -> bool:
        """Disconnects who has been idle longest, of this user, or of whoever has most."""
        idle_since = time.monotonic() - (SHORTLY_S if self._waited else IDLE_S)
        idle = [c for c in self._clients.values() if not c.owed and c.active_at < idle_since and uid in (None, c.uid)]
        most = TOGETHER if self._waited else 1
        idle.sort(key=lambda client: (-self._of_user[client.uid], client.active_at))
        going = list(itertools.islice((client for client in idle if client.quiet()), most))
        for client in going:
            client.close()
        return bool(going)

    def _give_up_spare(self) -> bool:
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        return True

    def _hold(self, fault: str) -> None:
        self._say(fault)
        self._waited = True
        self._hold_until = time.monotonic() + HOLD_S
        self._let_in(False)

    def _let_in(self, now: bool) -> None:
        if self._listening is not None:
            self.poller.modify(self._listening.socket, select.EPOLLIN if now else 0)

    # ---- the way in --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Makes the socket's file again where it is gone. Who is connected stays so."""
        if self._listening is not None and self._listening.present():
            if not self._hold_until:
                self._say("")
            return
        if self._listening is not None:
            LOG.warning("%s was removed; it is made again", self._path)
            self._listening.close()
            self._listening = None
        try:
            made = listen(self._path, self._access)
        except EndpointError as error:
            self._say(f"it was removed, and {error}")
            return
        try:
            self.poller.register(made.socket, select.EPOLLIN)
        except OSError as error:  # nobody would ever be let in
            made.close()
            self._say(f"{self._path} was removed, and can't be made again: {error.strerror}; it is tried again")
            return
        self._listening = made
        self._say("")

    def _say(self, fault: str) -> None:
        if fault and fault != self.fault:
            LOG.error("%s", fault)
        self.fault = fault
