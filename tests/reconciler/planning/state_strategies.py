"""Random states for hypothesis: relays on VFs and bonds, sockets with features, pins, and a host's VFs, hugepages and
mounts, some of which are others'."""

from __future__ import annotations

from hypothesis import strategies as st

from schema.model import Engine, Mount, Pages, Pin, Port, Relay, Resource, Socket, State, Vf, Worker
from schema.vf import pci_functions

CPUS = (0, 1, 2, 3)
DEVICES = (*(f"net_null{i}" for i in range(4)), *(f"0000:05:08.{i}" for i in range(4)))
"""Hardly more than are needed, so that they change hands."""
BONDS = tuple(f"net_bonding{i}" for i in range(3))
SOCKETS = tuple(f"/tmp/{i}.sock" for i in range(7))
FEATURES = ((), (), ("csum",), ("csum", "mrgbuf"), ("packed",))
PATHS = ("/mnt/a", "/mnt/b", "/mnt/c")
SIZES = ("2M", "1G")

# Made once: hypothesis looks each strategy over when it is first drawn from, which took longer than the drawing.
CHANCE = st.booleans()
SOME_CPUS = st.lists(st.sampled_from(CPUS), min_size=1, unique=True)
ALL_DEVICES, ALL_BONDS, ALL_SOCKETS = st.permutations(DEVICES), st.permutations(BONDS), st.permutations(SOCKETS)
SOME_SIZES, SOME_PATHS = st.sets(st.sampled_from(SIZES)), st.sets(st.sampled_from(PATHS))
LEVEL = st.sampled_from(("info", "debug"))
MODE = st.sampled_from(("server", "server", "client"))
BOND_MODE = st.sampled_from(("active-backup", "active-backup", "802.3ad"))
ARGUMENTS = st.sampled_from(("", "size=64"))
UID, UID_OR_NONE = st.sampled_from((0, 64055)), st.sampled_from((None, 0, 64055))
PERMISSIONS, OF_DIRECTORIES = st.sampled_from((0o600, 0o660)), st.sampled_from((0o755, 0o770))
OFFERED = st.sampled_from(FEATURES)
LIVE_DRIVER, WANTED_DRIVER = st.sampled_from(("vfio-pci", "vfio-pci", "igbvf")), st.sampled_from(("vfio-pci", ""))
SIZE, MAX_MAPS = st.sampled_from(SIZES), st.sampled_from((4, 65530))
UP_TO = [st.integers(0, most) for most in range(4)]
FROM = [st.integers(least, 3) for least in range(2)]
ONE_OR_TWO = st.integers(1, 2)
IDS = {most: st.sets(st.integers(0, 6), max_size=most) for most in range(8)}


@st.composite
def states(draw: st.DrawFn, observed: bool = False, max_relays: int = 6, bonds: bool = False) -> State:
    """A state without contradictions; an observed one has a pin for every relay, and a host with what others made."""
    cpus = draw(SOME_CPUS)
    ids = sorted(draw(IDS[max_relays]))
    ports = draw(_ports(len(ids), bonds))
    sockets = draw(ALL_SOCKETS)[: len(ids)]
    resources: list[Resource] = [Engine(log_level=draw(LEVEL))]
    resources += [Worker(cpu) for cpu in cpus]
    for id_, port, socket in zip(ids, ports, sockets, strict=True):
        resources += [port, draw(_sockets(socket)), Relay(id_, port.name, socket)]
        if observed or draw(CHANCE):
            resources.append(Pin(id_, draw(st.sampled_from(cpus)), draw(st.sampled_from(cpus))))
    return State.of([*resources, *draw(_vfs(ports, observed)), *draw(_memory(observed))])


@st.composite
def _ports(draw: st.DrawFn, count: int, bonds: bool) -> list[Port]:
    """No two have one device."""
    devices, names = list(draw(ALL_DEVICES)), list(draw(ALL_BONDS))
    ports = []
    for _ in range(count):
        if bonds and names and len(devices) > count and draw(CHANCE):
            members = tuple(devices.pop() for _ in range(draw(ONE_OR_TWO)))
            mode = draw(BOND_MODE)
            ports.append(Port(names.pop(), bond_mode=mode, members=members))
        else:
            name = devices.pop()
            ports.append(Port(name, "" if ":" in name else draw(ARGUMENTS)))
    return ports


@st.composite
def _sockets(draw: st.DrawFn, path: str) -> Socket:
    mode = draw(MODE)
    uid, permissions = draw(UID), draw(PERMISSIONS)
    return Socket(path, mode, uid=uid, permissions=permissions, features=draw(OFFERED))


@st.composite
def _vfs(draw: st.DrawFn, ports: list[Port], observed: bool) -> list[Vf]:
    """Observed: those that vio4wd has bound, of which somebody may have taken some; desired: all that are polled."""
    polled = [address for port in ports for address in pci_functions(port)]
    if observed:
        others = [name for name in DEVICES if ":" in name and name not in polled]
        bound = draw(st.sets(st.sampled_from([*polled, *others]))) if polled or others else set()
        return [Vf(address, draw(LIVE_DRIVER)) for address in sorted(bound)]
    return [Vf(address, draw(WANTED_DRIVER)) for address in polled]


@st.composite
def _memory(draw: st.DrawFn, observed: bool) -> list[Resource]:
    sizes = draw(SOME_SIZES)
    paths = draw(SOME_PATHS)
    mounts: list[Resource] = [draw(_mounts(path, observed)) for path in sorted(paths)]
    return [*(draw(_pages(size, observed)) for size in sorted(sizes)), *mounts]


@st.composite
def _pages(draw: st.DrawFn, size: str, observed: bool) -> Pages:
    """On two nodes; observed, up to all of them were there before vio4wd."""
    nodes = (draw(UP_TO[3]), draw(FROM[observed]))
    if observed:
        found = tuple(draw(UP_TO[pages]) for pages in nodes)
        return Pages(size, sum(nodes), nodes, found, draw(MAX_MAPS))
    return Pages(size, sum(nodes), nodes if draw(CHANCE) else (), max_maps=2 * sum(nodes))


@st.composite
def _mounts(draw: st.DrawFn, path: str, observed: bool) -> Mount:
    size, ours = draw(SIZE), not observed or draw(CHANCE)
    uid = draw(UID_OR_NONE)
    return Mount(path, size, uid, uid, None if uid is None else draw(OF_DIRECTORIES), ours)
