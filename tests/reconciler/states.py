"""Random states for hypothesis, and the shortest plan's length counted in another way than the planner's."""

from __future__ import annotations

from itertools import chain, combinations

from hypothesis import strategies as st

from schema.model import Engine, Pin, Port, Relay, Resource, Socket, State, Worker

CPUS = (0, 1, 2, 3)
PORTS = tuple(f"net_null{i}" for i in range(7))
SOCKETS = tuple(f"/tmp/{i}.sock" for i in range(7))


@st.composite
def states(draw: st.DrawFn, observed: bool = False, max_relays: int = 6) -> State:
    """A state without contradictions; an observed one has a pin for every relay."""
    cpus = draw(st.lists(st.sampled_from(CPUS), min_size=1, unique=True))
    ids = sorted(draw(st.sets(st.integers(0, 6), max_size=max_relays)))
    ports = draw(st.permutations(PORTS))[: len(ids)]
    sockets = draw(st.permutations(SOCKETS))[: len(ids)]
    resources: list[Resource] = [Engine(log_level=draw(st.sampled_from(("info", "debug"))))]
    resources += [Worker(cpu) for cpu in cpus]
    for id_, port, socket in zip(ids, ports, sockets, strict=True):
        resources += [Port(port, draw(st.sampled_from(("", "size=64")))), draw(_sockets(socket))]
        resources.append(Relay(id_, port, socket))
        if observed or draw(st.booleans()):
            resources.append(Pin(id_, draw(st.sampled_from(cpus)), draw(st.sampled_from(cpus))))
    return State.of(resources)


@st.composite
def _sockets(draw: st.DrawFn, path: str) -> Socket:
    mode = draw(st.sampled_from(("server", "server", "client")))
    return Socket(path, mode, uid=draw(st.sampled_from((0, 64055))), permissions=draw(st.sampled_from((0o600, 0o660))))


def shortest(desired: State, observed: State) -> int:
    """How many actions at least lead from `observed` to `desired`: one per difference, and one more for each relay
    that has to let go first although it costs (found by trying all subsets)."""
    count = int(desired.engine != observed.engine) + len(desired.workers ^ observed.workers)
    for wanted, live in ((desired.ports, observed.ports), (desired.sockets, observed.sockets)):
        count += sum(wanted.get(key) != live.get(key) for key in wanted.keys() | live.keys())
    return count + _relay_actions(desired, observed)


def _relay_actions(desired: State, observed: State) -> int:
    both = desired.relays.keys() & observed.relays.keys()
    only_one = len(desired.relays.keys() ^ observed.relays.keys())
    changed = {r for r in both if desired.relays[r] != observed.relays[r]}
    repinned = {r for r in both if _must_move(r, desired, observed)}
    subsets = chain.from_iterable(combinations(sorted(changed), size) for size in range(len(changed) + 1))
    costs = (
        2 * len(cut) + len(changed - set(cut)) + len(repinned - set(cut))
        for cut in subsets
        if _orderable(changed - set(cut), desired, observed)
    )
    return only_one + min(costs)


def _must_move(relay: int, desired: State, observed: State) -> bool:
    pin = observed.pins[relay]
    if relay in desired.pins:
        return desired.pins[relay] != pin
    return not {Worker(pin.vf_to_vm), Worker(pin.vm_to_vf)} <= desired.workers


def _orderable(movers: set[int], desired: State, observed: State) -> bool:
    """Whether these relays can be updated one after the other, each when what it wants is free."""
    place = {r: observed.relays[r] for r in movers}
    waiting = set(movers)
    while waiting:
        able = {r for r in waiting if _can_move(desired.relays[r], place)}
        if not able:
            return False
        place |= {r: desired.relays[r] for r in able}
        waiting -= able
    return True


def _can_move(after: Relay, place: dict[int, Relay]) -> bool:
    return all(o.id == after.id or (o.port != after.port and o.socket != after.socket) for o in place.values())
