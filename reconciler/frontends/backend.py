"""What the services see and change: the spec in force, the durable requests and pins beside it; and the tickets by
which they hear what became of a request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reconciler.desired.desired_state import pins_of
from reconciler.frontends.port_control import OWNER, ClaimedRelay, RelayTable
from reconciler.policy.claims import device_name, merge_requests, unfit, vf_name
from schema import Spec
from schema.model import MAX_RELAYS
from schema.rules import claims
from schema.spec import FILE, RelaySpec, VhostUserSpec, template_path
from schema.wire.descriptors import Wakeup
from state import relay_requests
from state.store import Store


class PortControlBackend:
    """Keeps a connection to the state of its own: it is used by the services' thread only."""

    def __init__(self, state_dir: Path, spec: Callable[[], Spec | None]) -> None:
        """`spec` gives the one in force; None where there is none yet."""
        self._store = Store(state_dir)
        self._spec = spec

    def relays(self) -> RelayTable:
        spec = self._spec() or Spec()
        asked = relay_requests.requests(self._store)
        whole = merge_requests(spec, asked, relay_requests.claimed_since(self._store))
        claimed = {r.id: _granted(r, whole.owners.get(r.id, FILE), spec.vhost_user) for r in whole.spec.relays}
        for request in asked:  # those that are left out are still wanted, and can be taken back
            if request.relay not in claimed:
                claimed[request.relay] = _left_out(request, spec.vhost_user)
        sockets = tuple(template_path(spec.vhost_user, id_) for id_ in range(MAX_RELAYS))
        return RelayTable(claimed, sockets, spec.vhost_user.dynamic_sockets, spec.vhost_user.template_sockets)

    def idle_sockets(self) -> tuple[str, ...]:
        vhost_user = (self._spec() or Spec()).vhost_user
        return tuple(template_path(vhost_user, id_) for id_ in range(MAX_RELAYS) if vhost_user.template_sockets)

    def put(self, relay: int, wanted: Mapping[str, Any]) -> str:
        if against := unfit(OWNER, relay, wanted, self._spec() or Spec()):
            return against
        relay_requests.put(self._store, OWNER, relay, wanted)
        return self._kept(lambda: relay_requests.remove(self._store, OWNER, relay))

    def take(self, relay: int) -> str:
        store = self._store
        was = next((w for w in relay_requests.requests(store) if (w.owner, w.relay) == (OWNER, relay)), None)
        relay_requests.remove(store, OWNER, relay)
        return self._kept(
            lambda: relay_requests.put(store, OWNER, relay, was.wanted, was.since) if was is not None else None
        )

    def workers(self) -> tuple[int, ...]:
        return (self._spec() or Spec()).engine.worker_cpus

    def pins(self) -> dict[int, tuple[int, int]]:
        return pins_of(self._spec() or Spec(), relay_requests.kept_pins(self._store))

    def pin(self, cpus: Mapping[int, tuple[int, int]]) -> str:
        spec = self._spec() or Spec()
        fixed = {relay.id for relay in spec.relays if relay.cpus is not None} if not spec.balance.override else set()
        there = self.relays().relays
        for relay, pair in sorted(cpus.items()):
            if relay not in there:
                return f"relay {relay} is wanted by nobody"
            if relay in fixed:
                return f"relay {relay} has CPUs in the spec; take them out there, or set balance.override: true"
            for cpu in pair:
                if cpu not in spec.engine.worker_cpus:
                    return f"CPU {cpu} is no worker's; there are {', '.join(map(str, spec.engine.worker_cpus))}"
        before = relay_requests.kept_pins(self._store)
        relay_requests.keep_pins(self._store, cpus)
        return self._kept(lambda: self._put_back(before, cpus))

    def _put_back(self, before: Mapping[int, tuple[int, int]], changed: Iterable[int]) -> None:
        relay_requests.forget_pins(self._store, changed)
        relay_requests.keep_pins(self._store, {relay: before[relay] for relay in changed if relay in before})

    def _kept(self, undo: Callable[[], object]) -> str:
        """Why what was recorded just now is not on the disk, where alone the loop finds it; it is undone then."""
        if self._store.fault is None:
            return ""
        undo()
        return self._store.fault

    def close(self) -> None:
        self._store.close()


def _granted(relay: RelaySpec, owner: str, vhost_user: VhostUserSpec) -> ClaimedRelay:
    name = relay.bond.name if relay.bond is not None else next((port.name for port in relay.ports), "")
    return ClaimedRelay(relay.id, owner, name, claims.of_spec(vhost_user, relay))


def _left_out(request: relay_requests.RelayRequest, vhost_user: VhostUserSpec) -> ClaimedRelay:
    """Read as far as its names go: no spec may be able to have it."""
    bond = request.wanted.get("bond")
    members = bond["members"] if bond else [request.wanted.get("vf")]
    path = request.wanted.get("socket") or template_path(vhost_user, request.relay)
    own = {claims.socket(path), *(claims.vf(vf_name(member)) for member in members)}
    name = device_name(request.wanted)
    return ClaimedRelay(request.relay, request.owner, name, frozenset(own | ({claims.bond(name)} if bond else set())))


@dataclass(frozen=True, slots=True)
class Completed:
    """What became of everything that was asked for up to a ticket."""

    ticket: int = 0
    failed: Mapping[int, str] = field(default_factory=dict)
    """Relay to why it can't be made; one that merely waits for something is not in here."""


class Tickets:
    """Tickets for what was asked for, in order. Its methods may be called from any thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` has the loop read what is wanted, soon."""
        self._wake = wake
        self._lock = threading.Lock()
        self._asked = 0
        self._completed = Completed()
        self._news = Wakeup()

    def ask(self) -> int:
        """A ticket for what was recorded just now; it is completed once the loop has seen to it."""
        with self._lock:
            self._asked += 1
            ticket = self._asked
        self._wake()
        return ticket

    def rouse(self) -> None:
        """Has the loop look at what is new here, a fault for example."""
        self._wake()

    def asked(self) -> int:
        """The latest ticket: the loop asks before it reads what is wanted."""
        with self._lock:
            return self._asked

    def complete(self, ticket: int, failed: Mapping[int, str]) -> None:
        """The loop has seen to everything up to this ticket."""
        with self._lock:
            self._completed = Completed(ticket, MappingProxyType(dict(failed)))
        self._news.rouse()

    def latest(self) -> Completed:
        with self._lock:
            return self._completed

    def fileno(self) -> int:
        """Readable when something was completed."""
        return self._news.fileno()

    def heard(self) -> None:
        """Not readable any more, until there is more."""
        self._news.taken()

    def close(self) -> None:
        self._news.close()
