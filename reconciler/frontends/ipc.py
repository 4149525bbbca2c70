"""Port control by a file: `add_port NETDEV` or `del_port NETDEV` is carried out, and the file removed.

What is at the path and is no command stays where it is: it may be somebody's file, and the path a mistake.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
from collections.abc import Callable
from pathlib import Path

from inotify_simple import flags

from reconciler.frontends.backend import PortControlBackend, Tickets
from reconciler.frontends.command_file import CommandFile, StillWritten, Untrusted, command_file
from reconciler.frontends.port_control import RelayTable
from reconciler.host.netdev import Netdevs, NetdevVf, NoNetdev, NotAVf
from reconciler.sources.file_watch import Inotify
from schema import Spec
from schema.nodes import shorten
from schema.rules import claims
from schema.system.threads import Threads
from schema.vf import parse_vf
from schema.wire.descriptors import Wakeup
from state import relay_requests
from state.store import Store

LOG = logging.getLogger("vio4wd.ipc")

OWNER = "ipc"
LOOK_S = 2.0
"""How often it is looked without any event: a directory may appear, or be on a file system that tells nothing."""
CALM_S = 1.0
"""So long nothing is looked at after something was left: whoever may write there must not keep us and the log busy."""
MASK = (
    flags.CREATE
    | flags.CLOSE_WRITE
    | flags.ATTRIB
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)
FileIdentity = tuple[int, int, int]


class NoCommand(Exception):  # noqa: N818 - an answer
    """What stands in the file is none."""


class Ipc:
    """The frontend, open until `stop`."""

    def __init__(
        self,
        path: str,
        state_dir: Path,
        spec: Callable[[], Spec | None],
        tickets: Tickets,
        threads: Threads | None = None,
    ) -> None:
        """`spec` gives the one in force."""
        self.path = path
        self._file = Path(path)
        self._state_dir = state_dir
        self._spec = spec
        self._tickets = tickets
        self._left: FileIdentity | None = None
        """What was looked at and stays where it is."""
        self._fault = ""
        self._stopping = False
        self._poke = Wakeup()
        self._threads = threads or Threads()
        self._thread = self._threads.start(f"the reading of {path}", self._run, tickets.rouse)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the latest command was not carried out, as a sentence."""
        return (f"ipc: {self._fault}",) if self._fault else ()

    def stop(self) -> None:
        """What was asked for stays."""
        self._threads.forget(self._thread)
        self._thread.stop()
        self._stopping = True
        self._poke.rouse()
        self._thread.join()
        self._poke.close()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.ExitStack() as stack:
            self._store = stack.enter_context(contextlib.closing(Store(self._state_dir)))
            self._backend = stack.enter_context(contextlib.closing(PortControlBackend(self._state_dir, self._spec)))
            self._netdevs = Netdevs(self._store)
            LOG.info("commands are taken from %s", self.path)
            inotify = stack.enter_context(contextlib.closing(Inotify()))
            poller = select.poll()
            for source in (inotify, self._poke):
                poller.register(source.fileno(), select.POLLIN)
            ending = select.poll()
            ending.register(self._poke.fileno(), select.POLLIN)
            while not self._stopping:
                self._arm(inotify)
                if not self._carry_out_all():
                    ending.poll(CALM_S * 1000)
                self._sleep(poller, inotify)

    def _arm(self, inotify: Inotify) -> None:
        """Anew each time: the directory may be another one, and the same one twice is once."""
        inotify.add(self._file.parent, MASK)  # where that fails, it is looked for every now and then

    def _sleep(self, poller: select.poll, inotify: Inotify) -> None:
        """Until something happens to the file, or it is time to look anyway."""
        while poller.poll(LOOK_S * 1000):
            if self._stopping or any(event.name in ("", self._file.name) for event in inotify.read()):
                return

    def _carry_out_all(self) -> bool:
        """Carries out what is there, until nothing is, or it is to stay, which gives False."""
        while (identity := self._identity()) != self._left:
            if identity is None:
                self._left = None
                self._report("")  # what was in the way has gone
                return True
            try:
                with command_file(self._file) as command:
                    self._carry_out(command)
                self._left = None
            except FileNotFoundError:
                continue
            except StillWritten:
                return True
            except (Untrusted, NoCommand) as reason:
                self._leave(identity, str(reason))
                return False
            except OSError as error:
                self._leave(
                    identity, f"can't be read or removed: {error.strerror}; check its directory and permissions"
                )
                return False
        return True

    def _identity(self) -> FileIdentity | None:
        try:
            about = os.lstat(self._file)
        except OSError:
            return None
        return about.st_dev, about.st_ino, about.st_ctime_ns

    def _leave(self, identity: FileIdentity, reason: str) -> None:
        self._left = identity
        self._report(f"{self.path} {reason}; it is left where it is")

    def _carry_out(self, command: CommandFile) -> None:
        """Raises NoCommand, or OSError when the file can't be removed."""
        words = command.text.split()
        if len(words) != 2 or words[0] not in ("add_port", "del_port"):
            raise NoCommand("holds no command; write add_port or del_port, and the name of a network device")
        against = self._add(words[1]) if words[0] == "add_port" else self._remove(words[1])
        self._report(f"{words[0]} {shorten(words[1])} was not carried out: {against}" if against else "")
        command.remove()  # last of all: who sees it gone knows that it was answered

    def _report(self, fault: str) -> None:
        """In the log, and in status until a command is carried out, or what was in the way has gone."""
        if fault:
            LOG.warning("%s", fault)
        if fault != self._fault:
            self._fault = fault
            self._tickets.ask()

    # ---- the commands: each gives a sentence on what stands against it -----------------------------------------------

    def _add(self, netdev: str) -> str:
        try:
            found = self._netdevs.find(netdev)
        except NoNetdev:
            return f"this host has no network device {netdev}; give the command again when it has"
        except NotAVf as reason:
            return str(reason)
        if self._own().get(found.index) == found.vf:
            return ""
        against = _against(found, self._backend.relays())
        if not against:
            relay_requests.put(self._store, OWNER, found.index, {"vf": found.vf})
            LOG.info("relay %d is wanted as %s, which is %s", found.index, found.vf, netdev)
            self._tickets.ask()
        return against

    def _remove(self, netdev: str) -> str:
        """A name may stand for another VF by now: it is asked what it stood for when it was added, too."""
        try:
            known = [self._netdevs.remembered(netdev), self._netdevs.find(netdev)]
        except NotAVf as reason:
            known, against = [self._netdevs.remembered(netdev)], str(reason)
        else:
            against = f"no relay of {netdev} was asked for in this way"
        own = self._own()
        for each in known:
            if each is not None and own.get(each.index) == each.vf:
                relay_requests.remove(self._store, OWNER, each.index)
                LOG.info("relay %d is wanted no more", each.index)
                self._tickets.ask()
                return ""
        return against

    def _own(self) -> dict[int, str]:
        """VF by relay."""
        return {
            request.relay: request.wanted["vf"]
            for request in relay_requests.requests(self._store)
            if request.owner == OWNER
        }


def _against(found: NetdevVf, table: RelayTable) -> str:
    there, vf = table.relays.get(found.index), parse_vf(found.vf)
    if there is not None:
        return f"relay {found.index} has {there.device}, wanted by {there.owner}"
    return table.taken(frozenset({*claims.of_port(vf), claims.socket(table.sockets[found.index])}))
