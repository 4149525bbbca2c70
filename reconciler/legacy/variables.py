"""What each variable of virtio-forwarder's configuration file becomes: one function for each, which changes the draft
and gives remarks, or raises ValueError with a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from reconciler.legacy.draft import Draft
from reconciler.legacy.shell import Value
from schema.model import MAX_RELAYS
from schema.system.logs import LEVELS
from schema.vf import is_pci, parse_vf

DEFAULT_TOKEN = "14d63f20-8445-11ea-8900-1f9ce7d5650d"
"""DPDK's example, which virtio-forwarder took for `0`."""
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PATTERN = re.compile(r"[^/%]*%u(?![0-9])[^/%]*")


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
        if level >= len(LEVELS):
            raise ValueError(f"{level} is no level from 0 to 7")
        draft.engine["log_level"] = LEVELS[level]


def _token(draft: Draft, value: Value) -> None:
    text = DEFAULT_TOKEN if value.text == "0" else value.text
    if text and not _UUID.fullmatch(text):
        raise ValueError(f"'{text}' is no UUID, such as {DEFAULT_TOKEN}")
    if text:
        draft.engine["vfio_vf_token"] = text.lower()


def _owner(key: str) -> Callable[[Draft, Value], None]:
    def take(draft: Draft, value: Value) -> None:
        if value.text:
            draft.vhost_user[key] = value.text

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


def _dynamic_sockets(draft: Draft, value: Value) -> Iterable[str]:
    if value.text.lower() == "false":
        yield f"'{value.text}' leaves it off, as its guide says; virtio-forwarder itself took any text as on"
    elif value.text:
        draft.vhost_user["dynamic_sockets"] = True


def _tso(draft: Draft, value: Value) -> None:
    if value.text:
        draft.vhost_user |= {"csum": True, "tso": True}


def _static_vfs(draft: Draft, value: Value) -> None:
    for word in value.words:
        for entry in word.split():
            address, equals, relay = entry.rpartition("=")  # a virtual device has '=' in its arguments
            if not equals:
                raise ValueError(f"'{entry}' is no <PCI>=<virtio_id>, such as 0000:05:08.1=1")
            id_, port = _relay(relay), parse_vf(address)
            vf = f"{port.name},{port.args}" if port.args else port.name
            if draft.relays.setdefault(id_, vf) != vf:
                raise ValueError(f"relay {id_} is given {draft.relays[id_]} and {vf}; one of them is too many")
            if [other.partition(",")[0] for other in draft.relays.values()].count(port.name) > 1:
                raise ValueError(f"{port.name} is given to two relays; one of them is too many")


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


def _frontend(name: str) -> Callable[[Draft, Value], None]:
    def take(draft: Draft, value: Value) -> None:
        if value.text:
            draft.frontends[name] = value.text

    return take


def _ovsdb(draft: Draft, value: Value) -> None:
    path = value.text.removeprefix("unix:")
    if path and not path.startswith("/"):
        raise ValueError(f"'{value.text}' is no absolute path")
    if path:
        draft.frontends["ovsdb"] = path


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
        "VIRTIOFWD_ZMQ_PORT_CONTROL_EP": _frontend("zmq"),
        "VIRTIOFWD_IPC_PORT_CONTROL": _frontend("ipc"),
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


SAID_BY: Mapping[str, str] = MappingProxyType(
    {
        "engine.main_cpu": "VIRTIOFWD_MASTER_LCORE",
        "engine.worker_cpus": "VIRTIOFWD_CPU_MASK",
        "vhost_user.owner": "VIRTIOFWD_SOCKET_OWNER",
        "vhost_user.group": "VIRTIOFWD_SOCKET_GROUP",
        "vhost_user.directory": "VIRTIOFWD_SOCKET_DIR",
        "vhost_user.name": "VIRTIOFWD_SOCKET_FNAME_PATTERN",
        "port_control.zmq": "VIRTIOFWD_ZMQ_PORT_CONTROL_EP",
        "port_control.ovsdb": "VIRTIOFWD_OVSDB_SOCK_PATH",
        "services.stats": "VIRTIOFWD_ZMQ_STATS_EP",
        "services.config": "VIRTIOFWD_ZMQ_CONFIG_EP",
        "services.core_sched": "VIRTIOFWD_ZMQ_CORE_SCHED_EP",
        "bind_vfs": "VIRTIOFWD_BIND_VFIO_PCI",
        "pins": "VIRTIOFWD_CPU_PINS",
        "relays": "VIRTIOFWD_STATIC_VFS",
    }
)
"""Where it is to be put right what is wrong with a key."""

PRECEDENCE = ("zmq", "ipc", "ovsdb")
"""The first that is set wins, as in virtio-forwarder; OVSDB serves where none is."""
FRONTEND_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "zmq": "VIRTIOFWD_ZMQ_PORT_CONTROL_EP",
        "ipc": "VIRTIOFWD_IPC_PORT_CONTROL",
        "ovsdb": "VIRTIOFWD_OVSDB_SOCK_PATH",
    }
)
