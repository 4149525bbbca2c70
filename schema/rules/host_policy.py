"""What specs may ask of a host, whoever wrote them: the host's policy, and what a spec says against it.

The policy is a file of root's (or of the user that vio4wd runs as) which no source can bring. Without it the defaults
hold, which tell the host's own file (the one that a command is given) from everybody else: sources that it names, and
frontends.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from schema.model import Port
from schema.nodes import Path, Problem, SpecError, plain, shorten
from schema.paths import OwnDirectories, normal_path, own_directories
from schema.rules.check import check
from schema.rules.virtual_devices import KINDS, Value, is_virtual, paths, refusal
from schema.spec import IpcSpec, OvsdbSpec, Spec, VhostUserSpec, endpoints
from schema.yaml12 import read_document

DEFAULT_POLICY = FilePath("/etc/vio4wd/host.policy")
SCHEMA_NAME = "host.policy.schema.json"
MAX_BYTES = 64 * 1024

_TEMPORARY = ("/tmp", "/run", "/var/run")
BY_DEFAULT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"sockets": _TEMPORARY, "endpoints": _TEMPORARY, "mounts": (*_TEMPORARY, "/dev/hugepages")}
)
"""Where others than the host's own file may have what, if the policy says nothing. systemd mounts /dev/hugepages."""

NONE: Mapping[str, Mapping[str, Value]] = MappingProxyType({})


@dataclass(frozen=True, eq=False, slots=True)
class Policy:
    """A host's policy. None stands for what it does not say. Two readings are never equal."""

    devices: Mapping[str, Mapping[str, Value]] = field(default_factory=lambda: NONE)
    """Drivers and arguments beyond the table."""
    sockets: tuple[str, ...] | None = None
    endpoints: tuple[str, ...] | None = None
    mounts: tuple[str, ...] | None = None
    open_to_all: bool = False
    pfs: tuple[str, ...] | None = None
    """Physical functions that may be bound, by PCI address or interface."""
    file: str = ""
    """Where it stands; empty: there is none."""
    own: OwnDirectories = field(default_factory=OwnDirectories)
    """Where vio4wd's own files are."""
    problems: tuple[Problem, ...] = ()
    """Why what is there was not used, so that everything is held to what others may."""

    @property
    def words(self) -> str:
        """Which one it is, at the end of a sentence that says no."""
        if self.problems:
            why = "; ".join(map(str, self.problems))
            return f"the strictest rules hold until the host's policy is set right: {why}"
        if self.file:
            return f"the host's policy {self.file} may allow more"
        return f"a host's policy may allow more, and there is none at {policy_file()}"


Whose = Callable[[Path], bool]
"""Whether what stands at this path is the host's own file's."""


def all_own(_: Path) -> bool:
    """Everything is the host's own file's."""
    return True


PolicyRefusal = tuple[Path, str]
"""Where, and a sentence."""


# ---- what a spec may say ---------------------------------------------------------------------------------------------


def refusals(spec: Spec, policy: Policy, whose: Whose = all_own) -> tuple[PolicyRefusal, ...]:
    """What the policy has against the spec. Pure."""
    made = (*_sockets(spec, policy), *_endpoints(spec), *_mounts(spec))
    allowable = ((path, f"{sentence}; {policy.words}") for path, sentence in _allowable(spec, policy, made, whose))
    return (*allowable, *_among_own_files(made, policy))


def _allowable(spec: Spec, policy: Policy, made: Sequence[_Made], whose: Whose) -> Iterator[PolicyRefusal]:
    """What another policy would allow."""
    yield from _devices(spec, policy)
    if policy.problems:
        whose = _nobodys
    for what in ("sockets", "endpoints", "mounts"):
        yield from _misplaced([each for each in made if each.what == what], getattr(policy, what), whose)
    if not policy.open_to_all:
        yield from _open_to_all(spec, whose)


def _among_own_files(made: Sequence[_Made], policy: Policy) -> Iterator[PolicyRefusal]:
    for each in made:
        if policy.own.holds(each.path):
            yield each.at, f"{shorten(each.path, 110)} lies among vio4wd's own files; choose another path"


def _nobodys(_: Path) -> bool:
    return False


def _devices(spec: Spec, policy: Policy) -> Iterator[PolicyRefusal]:
    for path, port in _ports(spec):
        sentence = device_refusal(port, policy)
        if sentence and not port.name.startswith("net_bonding"):  # a rule says that better
            yield path, sentence


def device_refusal(port: Port, policy: Policy) -> str:
    """Why DPDK must not be given this device, as a sentence without its end; empty: it may."""
    if is_virtual(port):
        return refusal(port, policy.devices)
    return "a PCI function takes no arguments" if port.args else ""


def _ports(spec: Spec) -> Iterator[tuple[Path, Port]]:
    for index, relay in enumerate(spec.relays):
        if relay.vf is not None:
            yield ("relays", index, "vf"), relay.vf
        for place, member in enumerate(relay.bond.members if relay.bond is not None else ()):
            yield ("relays", index, "bond", "members", place), member


@dataclass(frozen=True, slots=True)
class _Made:
    """Something that is to be made on the host's file system."""

    at: Path
    what: str
    """Of the policy's lists of directories."""
    path: str
    explicit: bool = True
    """Whether it was written, not taken by default."""

    @property
    def directory(self) -> str:
        """That is needed for it."""
        return self.path if self.what == "mounts" else os.path.dirname(self.path)


def _sockets(spec: Spec, policy: Policy) -> Iterator[_Made]:
    directory, default = spec.vhost_user.directory, VhostUserSpec().directory
    used = spec.vhost_user.template_sockets or any(relay.socket is None for relay in spec.relays)
    if used or directory != default:
        yield _Made(("vhost_user", "directory"), "sockets", f"{directory}/", directory != default)
    for index, relay in enumerate(spec.relays):
        if relay.socket is not None:
            yield _Made(("relays", index, "socket"), "sockets", relay.socket)
    for at, port in _ports(spec):
        for path in paths(port, policy.devices):
            yield _Made(at, "sockets", path)


def _endpoints(spec: Spec) -> Iterator[_Made]:
    for path, endpoint in endpoints(spec):
        yield _Made(path, "endpoints", endpoint.path)
    ovsdb, ipc = spec.port_control.ovsdb, spec.port_control.ipc
    if ovsdb is not None:
        yield _Made(("port_control", "ovsdb", "socket"), "endpoints", ovsdb.socket, ovsdb != OvsdbSpec())
    if ipc is not None:
        yield _Made(("port_control", "ipc", "file"), "endpoints", ipc.file, ipc != IpcSpec())


def _mounts(spec: Spec) -> Iterator[_Made]:
    for index, entry in enumerate(spec.hugepages):
        yield _Made(("hugepages", index, "mount"), "mounts", entry.mount)


def _misplaced(made: Sequence[_Made], listed: Sequence[str] | None, whose: Whose) -> Iterator[PolicyRefusal]:
    """What of one kind lies where it must not. Without a list, others have the defaults, and the directories that the
    host's own file names itself."""
    named = [each.directory for each in made if each.explicit and whose(each.at) and each.directory != "/"]
    for each in made:
        if listed is None and (whose(each.at) or not each.explicit):
            continue
        allowed = listed if listed is not None else (*BY_DEFAULT[each.what], *named)
        if not any(_below(each.path, directory) for directory in allowed):
            where = ", ".join(dict.fromkeys(allowed)) or "no directory at all"
            who = "" if listed is not None else " unless the host's own file says so"
            yield each.at, f"{shorten(each.path, 110)} must lie below {where}{who} (directories.{each.what})"


def _below(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{normal_path(directory).rstrip('/')}/")


def _open_to_all(spec: Spec, whose: Whose) -> Iterator[PolicyRefusal]:
    given: list[tuple[Path, int]] = [(("vhost_user", "permissions"), spec.vhost_user.permissions)]
    given += [((*path[:-1], "permissions"), endpoint.permissions) for path, endpoint in endpoints(spec)]
    for index, entry in enumerate(spec.hugepages):
        if entry.libvirt is not None:
            given.append((("hugepages", index, "libvirt", "permissions"), entry.libvirt.permissions))
    for path, permissions in given:
        if permissions & stat.S_IWOTH and not whose(path):
            yield (
                path,
                f"{permissions:04o} lets every user of this host in, which only the host's own file may; "
                "take the last digit's 2 away, or see open_to_all",
            )


# ---- the file --------------------------------------------------------------------------------------------------------


def policy_file() -> FilePath:
    """`$VIO4WD_POLICY`, or /etc/vio4wd/host.policy."""
    return FilePath(os.environ.get("VIO4WD_POLICY") or DEFAULT_POLICY)


_seen: tuple[object, Policy] | None = None


def in_force() -> Policy:
    """The policy of this host as it is now: read again when its file has changed, which costs one system call to tell.
    Never raises: a policy that can't be used says so itself."""
    global _seen
    path = policy_file()
    own = own_directories()
    facts = (str(path), _facts(path), os.geteuid(), own)
    if _seen is None or _seen[0] != facts:
        _seen = facts, replace(read_policy(path), own=own)
    return _seen[1]


def _facts(path: FilePath) -> object:
    try:
        about = os.lstat(path)
    except (OSError, ValueError) as error:
        return str(error)
    return about.st_ino, about.st_dev, about.st_mtime_ns, about.st_ctime_ns, about.st_size


def read_policy(path: FilePath) -> Policy:
    """The policy in this file; the defaults, with the reason, when it can't be used."""
    try:
        content = _content(path)
        return Policy(file=str(path), **_parsed(content, str(path))) if content is not None else Policy()
    except SpecError as error:
        return Policy(file=str(path), problems=error.problems)


def _content(path: FilePath) -> str | None:
    """None: there is none. Raises SpecError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        link = isinstance(error, OSError) and error.errno == errno.ELOOP
        why = "a link" if link else f"not to be read: {getattr(error, 'strerror', None) or error}"
        raise _refused(path, f"this is {why}; make it a file of root's") from None
    try:
        if why := _distrusted(os.fstat(descriptor)):
            raise _refused(path, why)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(path, f"this can't be read: {error}") from None
    finally:
        os.close(descriptor)


def _distrusted(about: os.stat_result) -> str:
    """Why a file of this kind is not believed; empty: it is."""
    if not stat.S_ISREG(about.st_mode):
        return "this is no regular file; make it one of root's"
    if about.st_uid not in (0, os.geteuid()):
        return f"this belongs to user {about.st_uid}; give it to root: chown root"
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others than its owner may write this; take that away: chmod go-w"
    if about.st_size > MAX_BYTES:
        return f"this has more than {MAX_BYTES:,} bytes; no policy needs that"
    return ""


def _refused(path: FilePath, why: str) -> SpecError:
    return SpecError([Problem(shorten(str(path), 200), 1, 1, "", f"it is not used: {why}")])


def _parsed(text: str, name: str) -> dict[str, Any]:
    """The fields of Policy. Raises SpecError."""
    document, problems = read_document(text, name)
    problems += check(document, SCHEMA_NAME)
    if problems:
        raise SpecError(problems)
    value = plain(document.root)
    lists = {
        key: tuple(normal_path(path) for path in value.get("directories", {})[key])
        for key in ("sockets", "endpoints", "mounts")
        if key in value.get("directories", {})
    }
    devices = {
        driver: {key: KINDS[kind] for key, kind in arguments.items()}
        for driver, arguments in value.get("devices", {}).items()
    }
    pfs = tuple(value["pfs"]) if "pfs" in value else None
    return {**lists, "devices": MappingProxyType(devices), "open_to_all": value.get("open_to_all", False), "pfs": pfs}
