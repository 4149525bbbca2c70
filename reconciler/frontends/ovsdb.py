"""Port control by Open vSwitch's database: whoever marks an interface there has its VF relayed.

The IDL of the `ovs` package copies the database, on a thread of its own, which compares it with what was asked for on
its behalf until now. So what changed while either side was away is made up for, and while the database is away nothing
changes.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import ovs.db.idl
import ovs.jsonrpc
import ovs.poller

from reconciler.frontends.backend import Tickets
from reconciler.frontends.ovs_marks import Change, Marked, decide, read_marks
from reconciler.host.netdev import Netdevs
from schema.system.threads import Threads, one_line
from schema.wire.descriptors import Wakeup
from state import relay_requests
from state.store import Store

LOG = logging.getLogger("vio4wd.ovsdb")

OWNER = "ovsdb"
SCHEMA = {
    "name": "Open_vSwitch",
    "version": "8.0.0",
    "tables": {
        "Interface": {
            "columns": {
                "name": {"type": "string"},
                "external_ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
            }
        }
    },
}
"""What is read of the database's own schema (ovs-vswitchd.conf.db(5)), so that no file of Open vSwitch's is needed."""
LOOK_AGAIN_S = 1.0
"""How often a network device is looked for that is not there, or not a VF's, yet."""
BACKOFF_MS = 1000, 2000
"""Between tries to connect, which costs next to nothing on a unix socket; the IDL's own is up to 8 s."""
SILENCE_S = 10.0
"""A server that sends nothing for so long, asked for the database, is asked anew."""
PROBE_MS = 15_000
"""A server that is stopped, or hangs, is noticed after one to two of these. Of itself the IDL probes no unix socket."""
MAX_MESSAGE_BYTES, MAX_MESSAGE_S = 64 * 1024 * 1024, 300.0
"""More than ten times what is to be known of 10,000 interfaces, in 300 bytes each: a server whose message is longer, or
takes longer to be read, is not listened to."""
LONG_S = 10.0
"""A message that takes longer is said."""
SAY_AFTER_S = 2.0
"""A database that is away for less is not worth a word."""
STOP_S = 5.0
"""A database that takes longer to be read keeps nobody from ending."""
MAX_FAULTS = 20
"""So many are shown, with how many more there are."""


class _Strict:
    """In place of the IDL's log: of an update that it can't read it only logs that, and goes on with a copy that is
    wrong. So it is left, and the database asked anew."""

    def warn(self, words: str) -> None:
        raise ValueError(words)

    err = warn

    def info(self, words: str) -> None:
        LOG.debug("%s", words)

    dbg = info


class _Bounded(ovs.jsonrpc.Connection):  # type: ignore[misc]
    """The package's own reads a message of any length, and does not return before its end."""

    _message_bytes, _begun_at = 0, 0.0

    def __setattr__(self, name: str, value: object) -> None:
        if name == "received_bytes" and isinstance(value, int) and value:
            if self.parser is None:
                self._message_bytes, self._begun_at = 0, time.monotonic()
            self._message_bytes += value - self.received_bytes
            long = time.monotonic() - self._begun_at > MAX_MESSAGE_S
            if self._message_bytes > MAX_MESSAGE_BYTES or long:
                raise ValueError(f"it sends a message of more than {MAX_MESSAGE_BYTES >> 20} MiB, or a very slow one")
        super().__setattr__(name, value)


class _Unreadable(Exception):  # noqa: N818 - a fact about the server
    """What it sends can't be made sense of."""


ovs.db.idl.vlog = _Strict()
ovs.jsonrpc.Connection = _Bounded


class Ovsdb:
    """The frontend, open until `stop`."""

    def __init__(self, path: str, state_dir: Path, tickets: Tickets, threads: Threads | None = None) -> None:
        """`path` is the database server's socket."""
        self.path = path
        self._state_dir = state_dir
        self._tickets = tickets
        self._away_since: float | None = time.monotonic()
        self._reading_since: float | None = None
        """When the package was last asked to read; None when it has come back."""
        self._why = ""
        """What it said that can't be read."""
        self._marked: Marked | None = None
        """None: it has not been read since this frontend was opened."""
        self._unmet: tuple[str, ...] = ()
        self._faults: tuple[str, ...] = ()
        self._stopping = False
        self._poke = Wakeup()
        self._threads = threads or Threads()
        self._thread = self._threads.start(f"the reading of {path}", self._run, tickets.rouse)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is marked and can't be relayed, and that the database is away, each with a sentence."""
        since = self._reading_since
        if since is None or time.monotonic() - since < LONG_S:
            return self._faults
        return (f"ovsdb: what {self.path} sends has been read for more than {LONG_S:g} s", *self._faults)

    def stop(self) -> None:
        """What was asked for stays."""
        self._threads.forget(self._thread)
        self._thread.stop()
        self._stopping = True
        self._poke.rouse()
        if self._thread.join(STOP_S):
            self._poke.close()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.closing(Store(self._state_dir)) as self._store:
            self._netdevs = Netdevs(self._store)
            LOG.info("marked interfaces are read from %s", self.path)
            while not self._stopping:
                idl = self._opened()
                try:
                    self._follow(idl)
                except _Unreadable as error:
                    self._why = f" ({error})"
                finally:
                    idl.close()
                self._lost()
                self._tell()
                self._wait(None)

    def _opened(self) -> ovs.db.idl.Idl:
        schema = ovs.db.idl.SchemaHelper(schema_json=SCHEMA)
        schema.register_columns("Interface", ["name", "external_ids"])
        idl = ovs.db.idl.Idl(f"unix:{self.path}", schema, leader_only=False)
        idl._session.reconnect.set_backoff(*BACKOFF_MS)
        idl._session.reconnect.set_probe_interval(PROBE_MS)
        return idl

    def _follow(self, idl: ovs.db.idl.Idl) -> None:
        """Carries out what the database says. Returns when the frontend is closed, or the server says nothing."""
        heard, heard_at = 0, time.monotonic()
        while not self._stopping:
            self._reading_since = time.monotonic()
            try:
                changed = _run(idl)
            finally:
                self._reading_since = None
            connected, received = _connection(idl)
            if connected and idl.state == idl.IDL_S_MONITORING:
                self._read(idl, changed)
            else:  # it may hold anything now
                self._lost()
                if not connected or received != heard:
                    heard, heard_at = received, time.monotonic()
                elif time.monotonic() - heard_at > SILENCE_S:
                    return
            self._tell()
            self._wait(idl)

    def _read(self, idl: ovs.db.idl.Idl, changed: bool) -> None:
        if changed or self._away_since is not None or self._marked is None:
            self._marked = read_marks(_interfaces(idl))
        elif not self._unmet:
            return
        self._carry_out(self._marked)
        if self._away_since is not None:
            LOG.info("the database on %s is read, %d interfaces are marked", self.path, len(self._marked.netdevs))
        self._away_since, self._why = None, ""

    def _lost(self) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()

    def _carry_out(self, marked: Marked) -> None:
        """Remembers what is asked for from now on, and has the loop see to it."""
        had = {
            request.relay: str(request.wanted.get("vf"))
            for request in relay_requests.requests(self._store)
            if request.owner == OWNER
        }
        change = decide(marked.netdevs, self._netdevs.find, self._netdevs.remembered, had)
        for relay in change.take:
            relay_requests.remove(self._store, OWNER, relay)
        for relay, found in change.put.items():
            relay_requests.put(self._store, OWNER, relay, {"vf": found.vf})
        self._unmet = change.faults
        if change.take or change.put:
            _log(change)
            self._tickets.ask()

    def _tell(self) -> None:
        """Says what is new among what can't be relayed."""
        away = self._away_since is not None and time.monotonic() - self._away_since >= SAY_AFTER_S
        where = f"{self.path}{self._why}"
        words = f"no database of Open vSwitch can be read from {where}; it is waited for, and its relays stay"
        found = ((words,) if away else ()) + (self._marked.faults if self._marked is not None else ()) + self._unmet
        shown = tuple(f"ovsdb: {fault}" for fault in _at_most(found))
        if shown == self._faults:
            return
        for fault in shown:
            if fault not in self._faults:
                LOG.warning("%s", fault.removeprefix("ovsdb: "))
        self._faults = shown
        self._tickets.ask()

    def _wait(self, idl: ovs.db.idl.Idl | None) -> None:
        """Until the database, the frontend or a clock has something new; a second where there is no connection."""
        poller = ovs.poller.Poller()
        poller.fd_wait(self._poke.fileno(), ovs.poller.POLLIN)
        if idl is not None:
            idl.wait(poller)
        if idl is None or self._unmet or self._away_since is not None:
            poller.timer_wait(int(LOOK_AGAIN_S * 1000))
        poller.block()


def _run(idl: ovs.db.idl.Idl) -> bool:
    """Whether something changed. Raises _Unreadable, whatever a server sends."""
    try:
        return bool(idl.run())
    except Exception as error:
        LOG.debug("%s", error, exc_info=True)
        raise _Unreadable(one_line(error)) from error


def _interfaces(idl: ovs.db.idl.Idl) -> Iterator[tuple[str, dict[str, str]]]:
    for row in idl.tables["Interface"].rows.values():
        yield row.name, row.external_ids


def _connection(idl: ovs.db.idl.Idl) -> tuple[bool, int]:
    """Whether there is one, and how many bytes it has brought; the IDL has no words of its own for that."""
    connection = idl._session.rpc
    return connection is not None, connection.get_received_bytes() if connection is not None else 0


def _at_most(faults: tuple[str, ...]) -> tuple[str, ...]:
    more = len(faults) - MAX_FAULTS
    return faults if more <= 0 else (*faults[:MAX_FAULTS], f"and {more} more marks that can't be carried out")


def _log(change: Change) -> None:
    for relay in sorted(change.take):
        LOG.info("relay %d is wanted no more", relay)
    for relay, found in sorted(change.put.items()):
        LOG.info("relay %d is wanted as %s, which is %s", relay, found.vf, found.netdev)
