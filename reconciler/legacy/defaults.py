"""/etc/default/virtioforwarder as a spec: every variable becomes a key, or a line that says why it does not.

What each variable means, and its default, is virtio-forwarder's user's guide; the start script that it shipped tells
an unset variable from an empty one where that matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from reconciler.legacy.shell import Fragment, Value, read_fragment
from schema.model import MAX_RELAYS
from schema.vf import is_pci, parse_vf

LOG_LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""By syslog's numbers, 0 to 7."""
DEFAULT_TOKEN = "14d63f20-8445-11ea-8900-1f9ce7d5650d"
"""DPDK's example, which virtio-forwarder took for `0`."""
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PATTERN = re.compile(r"[^/%]*%u(?![0-9])[^/%]*")


class UnusableError(ValueError):
    """A value that virtio-forwarder would have refused, or that can't be had; the message is a sentence."""


@dataclass(slots=True)
class Draft:
    """What the variables say, as the spec is to say it."""

    engine: dict[str, object] = field(default_factory=dict)
    vhost_user: dict[str, object] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    doors: dict[str, str] = field(default_factory=dict)
    relays: dict[int, str] = field(default_factory=dict)
    """Static VFs by relay."""
    pins: dict[int, tuple[int, ...]] = field(default_factory=dict)
    bind: list[str] = field(default_factory=list)
    balance: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Imported:
    """A spec made of a configuration file, and what of the file is not in it."""

    text: str
    remarks: tuple[str, ...]
    """Each begins with the file and line."""


def imported(text: str, name: str) -> Imported:
    """The spec that says what the file says. Raises UnusableError when the file says what can't be."""
    fragment = read_fragment(text)
    draft = Draft()
    remarks = [f"{name}:{line}: {sentence}" for line, sentence in fragment.remarks]
    for variable, value in fragment.values.items():
        remarks += (f"{name}:{value.line}: {variable}: {why}" for why in _take(draft, variable, value, name))
    try:
        remarks += (f"{name}: {why}" for why in _conclude(draft, fragment))
    except UnusableError as error:
        raise UnusableError(f"{name}: {error}") from None
    return Imported(_written(draft, name, remarks), tuple(remarks))


def _take(draft: Draft, variable: str, value: Value, name: str) -> Iterable[str]:
    if not variable.startswith(("VIRTIOFWD_", "VIO4WD_")):
        return []  # the fragment's own, for others to refer to
    if variable in IGNORED:
        return [IGNORED[variable]] if value.text else []
    if variable not in TAKEN:
        return [f"is no variable of virtio-forwarder's; nothing is made of it{_meant(variable)}"]
    try:
        return TAKEN[variable](draft, value) or ()
    except ValueError as error:
        raise UnusableError(f"{name}:{value.line}: {variable}: {error}") from None


def _meant(variable: str) -> str:
    import difflib

    near = difflib.get_close_matches(variable, TAKEN, n=1)
    return f"; is {near[0]} meant?" if near else ""


# ---- one function for each variable: it changes the draft and gives remarks, or raises ValueError --------------------


def _cpu_mask(draft: Draft, value: Value) -> None:
    text = value.text
    if not text:
        return
    try:
        cpus = _bits(int(text, 16)) if text.lower().startswith("0x") else [int(part) for part in text.split(",")]
    except ValueError:
        why = f"'{text}' is neither a list of CPUs, such as 1,2, nor a hexadecimal mask, such as 0x6"
        raise ValueError(why) from None
    if not cpus or min(cpus) < 0:
        raise ValueError(f"'{text}' names no CPU")
    draft.engine["worker_cpus"] = sorted(set(cpus))


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def _main_cpu(draft: Draft, value: Value) -> None:
    if value.text:
        draft.engine["main_cpu"] = _number(value.text, "a CPU")


def _log_level(draft: Draft, value: Value) -> None:
    if value.text:
        level = _number(value.text, "a level from 0 to 7")
        if level >= len(LOG_LEVELS):
            raise ValueError(f"{level} is no level from 0 to 7")
        draft.engine["log_level"] = LOG_LEVELS[level]


def _token(draft: Draft, value: Value) -> None:
    text = DEFAULT_TOKEN if value.text == "0" else value.text
    if text and not _UUID.fullmatch(text):
        raise ValueError(f"'{text}' is no UUID, such as {DEFAULT_TOKEN}")
    if text:
        draft.engine["vfio_vf_token"] = text.lower()


def _owner(key: str) -> Callable[[Draft, Value], None]:
    """Set but empty is the process's own; unset is what _conclude fills in."""

    def take(draft: Draft, value: Value) -> None:
        draft.vhost_user[key] = value.text or None

    return take


def _directory(draft: Draft, value: Value) -> None:
    if value.text and not value.text.startswith("/"):
        raise ValueError(f"'{value.text}' is no absolute path")
    if value.text:
        draft.vhost_user["directory"] = value.text


def _file_name(draft: Draft, value: Value) -> None:
    if value.text and not _PATTERN.fullmatch(value.text):
        raise ValueError(f"'{value.text}' must hold %u exactly once, no digit right after it, and no '/'")
    if value.text:
        draft.vhost_user["name"] = value.text


def _switch(section: str, key: str, on: object = True) -> Callable[[Draft, Value], None]:
    def take(draft: Draft, value: Value) -> None:
        if value.text:
            getattr(draft, section)[key] = on

    return take


def _dynamic_sockets(draft: Draft, value: Value) -> None:
    if value.text and value.text.lower() != "false":
        draft.vhost_user["dynamic_sockets"] = True


def _tso(draft: Draft, value: Value) -> None:
    if value.text:
        draft.vhost_user |= {"csum": True, "tso": True}


def _static_vfs(draft: Draft, value: Value) -> None:
    for word in value.words:
        for entry in word.split():
            address, equals, relay = entry.partition("=")
            if not equals:
                raise ValueError(f"'{entry}' is no <PCI>=<virtio_id>, such as 0000:05:08.1=1")
            id_, port = _relay(relay), parse_vf(address)
            if id_ in draft.relays and draft.relays[id_] != port.name:
                raise ValueError(f"relay {id_} is given {draft.relays[id_]} and {port.name}; one of them is too many")
            if port.name in draft.relays.values() and draft.relays.get(id_) != port.name:
                raise ValueError(f"{port.name} is given to two relays; one of them is too many")
            draft.relays[id_] = port.name


def _cpu_pins(draft: Draft, value: Value) -> None:
    for entry in (part for word in value.words for part in re.split(r"[;\s]+", word) if part):
        relay, colon, cpus = entry.partition(":")
        found = [_number(cpu, "a CPU") for cpu in cpus.split(",")] if colon else []
        if not 1 <= len(found) <= 2:
            raise ValueError(f"'{entry}' is no <id>:<cpu>[,<cpu>], such as 1:1,2")
        draft.pins[_relay(relay)] = tuple(found)


def _bind(draft: Draft, value: Value) -> None:
    for entry in (part.strip() for part in value.text.split(",")):
        if entry:
            draft.bind.append(_device(entry))


def _device(text: str) -> str:
    """A PCI address in its canonical form, or a netdev with or without a count."""
    try:
        port = parse_vf(text)
        if is_pci(port):
            return port.name
    except ValueError:
        pass
    if not re.fullmatch(r"[^\s/:]{1,15}(:\d{1,4})?", text):
        raise ValueError(f"'{text}' is no PCI address, netdev or netdev:count")
    return text


def _service(name: str) -> Callable[[Draft, Value], None]:
    def take(draft: Draft, value: Value) -> None:
        if value.text:
            draft.services[name] = value.text

    return take


def _door(name: str) -> Callable[[Draft, Value], None]:
    def take(draft: Draft, value: Value) -> None:
        if value.text:
            draft.doors[name] = value.text

    return take


def _ovsdb(draft: Draft, value: Value) -> None:
    path = value.text.removeprefix("unix:")
    if path and not path.startswith("/"):
        raise ValueError(f"'{value.text}' is no absolute path")
    if path:
        draft.doors["ovsdb"] = path


def _balance(draft: Draft, value: Value) -> Iterable[str]:
    if value.text == "true":
        draft.balance["override"] = True
    elif value.text:
        yield f"'{value.text}' is not exactly true, which leaves it off, as virtio-forwarder did"


def _number(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f"'{text}' is not {what}")
    return int(text)


def _relay(text: str) -> int:
    id_ = _number(text, "the number of a relay")
    if id_ >= MAX_RELAYS:
        raise ValueError(f"relay {id_} is beyond the last one, {MAX_RELAYS - 1}")
    return id_


Take = Callable[[Draft, Value], Iterable[str] | None]

TAKEN: Mapping[str, Take] = MappingProxyType(
    {
        "VIRTIOFWD_CPU_MASK": _cpu_mask,
        "VIRTIOFWD_MASTER_LCORE": _main_cpu,
        "VIRTIOFWD_LOG_LEVEL": _log_level,
        "VIRTIOFWD_VFIO_VF_TOKEN": _token,
        "VIRTIOFWD_SOCKET_OWNER": _owner("owner"),
        "VIRTIOFWD_SOCKET_GROUP": _owner("group"),
        "VIRTIOFWD_SOCKET_DIR": _directory,
        "VIRTIOFWD_SOCKET_FNAME_PATTERN": _file_name,
        "VIRTIOFWD_DYNAMIC_SOCKETS": _dynamic_sockets,
        "VIRTIOFWD_VHOST_CLIENT": _switch("vhost_user", "mode", "client"),
        "VIRTIOFWD_JUMBO": _switch("vhost_user", "jumbo"),
        "VIRTIOFWD_MRGBUF": _switch("vhost_user", "mrgbuf"),
        "VIRTIOFWD_TSO": _tso,
        "VIRTIOFWD_STATIC_VFS": _static_vfs,
        "VIRTIOFWD_CPU_PINS": _cpu_pins,
        "VIRTIOFWD_BIND_VFIO_PCI": _bind,
        "VIRTIOFWD_ZMQ_PORT_CONTROL_EP": _door("zmq"),
        "VIRTIOFWD_IPC_PORT_CONTROL": _door("ipc"),
        "VIRTIOFWD_OVSDB_SOCK_PATH": _ovsdb,
        "VIRTIOFWD_ZMQ_STATS_EP": _service("stats"),
        "VIRTIOFWD_ZMQ_CONFIG_EP": _service("config"),
        "VIRTIOFWD_ZMQ_CORE_SCHED_EP": _service("core_sched"),
        "VIO4WD_CORE_SCHED_ENABLE": _balance,
    }
)

IGNORED: Mapping[str, str] = MappingProxyType(
    {
        "VIRTIOFWD_PID_DIR": "no PID file is written: systemd, and vio4wd status, know the process",
        "VIRTIOFWD_HUGETLBFS_MOUNT_POINT": "vio4wd itself needs no mount; for QEMU's write one under the key hugepages",
        "VIRTIOFWD_ZERO_COPY": "has no effect, since DPDK has dropped it",
        "VIRTIOFWD_CPU_NIC_SAME_NUMA": "memory is reserved only where relays need it, always",
        "VIRTIOFWD_BINARY": "vio4wd starts by its own unit",
        "VIO4WD_CORE_SCHED_SENSITIVITY": "the balancer is started by itself and takes this as an option",
        "VIO4WD_CORE_SCHED_LOG_LEVEL": "the balancer is started by itself and takes this as an option",
        "VIO4WD_CORE_SCHED_POLL_INTERVAL": "the balancer is started by itself and takes this as an option",
        "VIO4WD_CORE_SCHED_GLOBAL_NUMA_OPT": "the balancer is started by itself and takes this as an option",
    }
)
"""Why nothing is made of it."""


# ---- what follows from all of them together --------------------------------------------------------------------------

PRECEDENCE = ("zmq", "ipc", "ovsdb")
"""The first that is set wins, as in virtio-forwarder; OVSDB serves where none is."""
DOOR_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "zmq": "VIRTIOFWD_ZMQ_PORT_CONTROL_EP",
        "ipc": "VIRTIOFWD_IPC_PORT_CONTROL",
        "ovsdb": "VIRTIOFWD_OVSDB_SOCK_PATH",
    }
)


def _conclude(draft: Draft, fragment: Fragment) -> Iterable[str]:
    draft.vhost_user = {"owner": "libvirt-qemu", "group": "kvm"} | draft.vhost_user
    draft.vhost_user["template_sockets"] = not draft.vhost_user.get("dynamic_sockets", False)
    _check_cpus(draft)
    yield from _one_door(draft)
    if draft.services.get("core_sched") and not draft.balance.get("override"):
        del draft.services["core_sched"]
        yield "VIRTIOFWD_ZMQ_CORE_SCHED_EP: without VIO4WD_CORE_SCHED_ENABLE=true there is no such service"
    if draft.vhost_user.get("dynamic_sockets") and "zmq" not in draft.doors:
        yield "VIRTIOFWD_DYNAMIC_SOCKETS: only VIRTIOFWD_ZMQ_PORT_CONTROL_EP can add sockets, and it is not set"
    if "VIRTIOFWD_SOCKET_OWNER" not in fragment.values:
        yield "VIRTIOFWD_SOCKET_OWNER is not set, so the sockets are libvirt-qemu's, as virtio-forwarder had it"


def _check_cpus(draft: Draft) -> None:
    """virtio-forwarder kept its main CPU apart, and took pins on CPUs that had no worker, which then did nothing."""
    workers = draft.engine.setdefault("worker_cpus", [1, 2])
    assert isinstance(workers, list)
    main = draft.engine.setdefault("main_cpu", 0)
    if main in workers:
        raise UnusableError(f"CPU {main} is VIRTIOFWD_MASTER_LCORE and in VIRTIOFWD_CPU_MASK; give one of them another")
    for relay, cpus in draft.pins.items():
        for cpu in cpus:
            if cpu not in workers:
                allowed = ", ".join(map(str, workers))
                why = f"CPU {cpu} of relay {relay} is not in VIRTIOFWD_CPU_MASK ({allowed})"
                raise UnusableError(f"VIRTIOFWD_CPU_PINS: {why}")


def _one_door(draft: Draft) -> Iterable[str]:
    """Leaves one in the draft: OVSDB where none is set."""
    first, *others = [door for door in PRECEDENCE if door in draft.doors] or ["ovsdb"]
    for other in others:
        yield f"{DOOR_VARIABLES[other]}: {DOOR_VARIABLES[first]} comes first, and there is one port control only"
    draft.doors = {first: draft.doors.get(first, "")}


def _port_control(door: str, given: str) -> dict[str, object]:
    if door == "zmq":
        return {"zmq": {"endpoint": given}}
    return {"ovsdb": {"socket": given} if given else {}} if door == "ovsdb" else {"ipc": {}}


def _written(draft: Draft, name: str, remarks: Iterable[str]) -> str:
    """The spec as text, with comments."""
    import yaml

    def section(key: str, value: object, comment: str) -> str:
        dumped = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=None, width=100)
        return f"# {comment}\n{dumped}\n"

    parts = [f"# Made by vio4wd import from {name}. Check it with: vio4wd validate\n"]
    parts += [f"# Not in here: {remark}\n" for remark in remarks]
    parts.append("\napiVersion: vio4wd/v1\n\n")
    parts.append(section("engine", draft.engine, "CPUs, log level and VF token"))
    parts.append(section("vhost_user", draft.vhost_user, "The guests' sockets, and what guests are offered"))
    for door, given in draft.doors.items():
        comment = "How VFs are added and removed from outside"
        parts.append(section("port_control", _port_control(door, given), comment))
    if draft.services:
        services = {key: {"endpoint": endpoint} for key, endpoint in draft.services.items()}
        parts.append(section("services", services, "virtio-forwarder's other ZeroMQ services"))
    if draft.balance:
        parts.append(section("balance", draft.balance, "The core scheduler may move relays that have CPUs below"))
    loose = {relay: cpus for relay, cpus in draft.pins.items() if relay not in draft.relays}
    if loose:
        pins = [{"relay": relay, "cpus": list(cpus)} for relay, cpus in sorted(loose.items())]
        parts.append(section("pins", pins, "CPUs of relays that port control adds, VF to VM first"))
    others = [device for device in draft.bind if device not in draft.relays.values()]
    if others:
        parts.append(section("bind_vfs", others, "Bound to vfio-pci from the start, relay or not"))
    relays = [_relay_of(draft, id_) for id_ in sorted(draft.relays)]
    parts.append(section("relays", relays, "Static VFs"))
    return "".join(parts)


def _relay_of(draft: Draft, id_: int) -> dict[str, object]:
    relay: dict[str, object] = {"id": id_, "vf": draft.relays[id_]}
    if id_ in draft.pins:
        relay["cpus"] = list(draft.pins[id_])
    if draft.relays[id_] in draft.bind:
        relay["bind"] = True
    return relay
