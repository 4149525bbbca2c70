"""What of a plan will not work on this host as it is now: it is in the plan, before anything is tried.

Estimates and looks, nothing is changed: a host that changes meanwhile may prove them wrong either way. Sockets and
interfaces are looked for where the engine sees them, whose file systems and network may be other than ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.host.refusal import PlanProblem
from reconciler.observe.engines import HostSnapshot, refusals
from reconciler.planning.host_plan import HostPlan
from reconciler.planning.planned_action import PlannedAction
from reconciler.status.namespace_view import View
from reconciler.status.report import read_report
from schema.model import Action, Kind, Port, Socket
from schema.spec import EndpointSpec, Spec
from schema.system.locks import WATCH, is_held

if TYPE_CHECKING:
    from reconciler.observe.engines import Engines


def problems_of(todo: HostPlan, snapshot: HostSnapshot, engines: Engines) -> tuple[PlanProblem, ...]:
    """Everything that will not work, beside what the host has too little of, each once, in the order of the plan."""
    views = {shard: View(hello.pid) for shard, hello in engines.heard.items()}
    whole = _whole(todo)
    found = [
        *engines.mounts.refusals(todo.all_actions),
        *refusals(whole, _new(todo, snapshot), engines.vfs),
        *_places(todo, snapshot, views),
        *broken(todo, snapshot),
    ]
    return tuple(dict.fromkeys(found))


def _whole(todo: HostPlan) -> Mapping[str, int]:
    """Which relay has which port, on all shards."""
    return {relay.port: id_ for target in todo.targets.values() for id_, relay in target.relays.items()}


def _new(todo: HostPlan, snapshot: HostSnapshot) -> list[Action]:
    """Without what a new process only has again: that works now."""
    live = snapshot.states.values()
    again = {(Kind.PORT, name): port for state in live for name, port in state.ports.items()}
    known: Mapping[object, object] = again | {
        (Kind.SOCKET, path): socket for state in live for path, socket in state.sockets.items()
    }
    follows = [e.action for e in todo.follows if known.get((e.action.kind, e.action.key)) != e.action.after]
    return [*todo.actions, *follows]


def _places(todo: HostPlan, snapshot: HostSnapshot, views: Mapping[int, View]) -> Iterator[PlanProblem]:
    ours = frozenset(path for state in snapshot.states.values() for path in state.sockets)
    holders = _whole(todo)
    fallback = View(None)
    new = set(map(id, _new(todo, snapshot)))
    for planned in (e for e in (*todo.planned_actions, *todo.follows) if id(e.action) in new):
        view = views.get(planned.shard, fallback)
        yield from _of_action(planned, view, ours, holders)


def _of_action(
    planned: PlannedAction, view: View, ours: frozenset[str], holders: Mapping[str, int]
) -> Iterator[PlanProblem]:
    action, after = planned.action, planned.action.after
    if isinstance(after, Socket) and action.before is None:
        why = view.socket_refused(after, after.path in ours)
    elif isinstance(after, Port):
        why = view.interface_missing(after)
    else:
        return
    relay = action.relay if action.relay is not None else holders.get(str(action.key))
    if why:
        yield PlanProblem(f"relay:{relay}" if relay is not None else action.resource, why)


def broken(todo: HostPlan, snapshot: HostSnapshot) -> Iterator[PlanProblem]:
    """What is live as it is wanted, to which the plan does nothing, and which does not work all the same."""
    touched = {action.relay for action in todo.all_actions}
    for observation in snapshot.observations.values():
        for id_, relay in sorted(observation.state.relays.items()):
            if id_ in touched:
                continue
            if not observation.live.port(relay.port).present:
                yield PlanProblem(f"relay:{id_}", f"{relay.port} is gone; it is used again when it is back")
            if not observation.live.socket(relay.socket).reachable:
                words = f"{relay.socket} was removed or replaced: a guest that is connected goes on, no other finds it"
                yield PlanProblem(f"relay:{id_}", words)


def frontends_refused(spec: Spec, run_dir: Path) -> Iterator[PlanProblem]:
    """Which ways in beside the file can't be opened by a watch."""
    report = read_report(run_dir) if is_held(run_dir / WATCH) else None
    view = View(report.pid if report is not None else None)
    for name, endpoint in endpoints(spec).items():
        why = view.endpoint_refused(endpoint.path)
        if why:
            yield PlanProblem(name, why)


def endpoints(spec: Spec) -> dict[str, EndpointSpec]:
    """Those that are sockets of the watch's own, by their keys."""
    named = {"port_control.zmq": spec.port_control.zmq}
    named |= {f"services.{field.name}": getattr(spec.services, field.name) for field in fields(spec.services)}
    return {name: endpoint for name, endpoint in named.items() if endpoint is not None}
