"""From a file or text to a spec, or to everything that is wrong with it."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from collections.abc import Mapping as AnyMapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from schema.loading.build import build
from schema.nodes import Document, Mapping, Node, Place, Problem, Scalar, Sequence, SpecError, plain, shown
from schema.rules import spec_rules as rules
from schema.rules.check import check
from schema.rules.host_policy import Policy, Whose, all_own, in_force, refusals
from schema.spec import (
    RelaySpec,
    Spec,
    VhostUserSpec,
)
from schema.yaml12 import MAX_DEPTH, UNSEEN, read_document

MAX_VALUES = 40_000
"""Of all that is kept; a value of a document takes some 300 bytes."""
MAX_BYTES = 8 * 1024 * 1024

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """By key; what was used longest ago goes first. May be used from any thread."""

    def __init__(self) -> None:
        self._entries: OrderedDict[K, tuple[V, int, int]] = OrderedDict()
        self._values = self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: K, value: V, values: int, size_bytes: int) -> None:
        """With the size that it has."""
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = value, values, size_bytes
            self._values += values
            self._bytes += size_bytes
            while self._values > MAX_VALUES or self._bytes > MAX_BYTES:
                _, (_, values, size_bytes) = self._entries.popitem(last=False)
                self._values -= values
                self._bytes -= size_bytes


_REQUEST, _SPEC = Place(0, 0, "the request"), Place(0, 0, "the spec in force")

MAX_FILE_BYTES = 1024 * 1024
MAX_STREAM_BYTES = 4 * MAX_FILE_BYTES
"""A kept plan, which has the spec's limit not, may come through a pipe too."""
_KEPT: Kept[tuple[bytes, str, str | None], tuple[str, Document] | SpecError] = Kept()
"""What was read lately: the watch loop asks for the same text several times, and what is large was read on another
thread before."""

_WHY_UNREADABLE = {
    errno.ENOENT: "does not exist; check the path",
    errno.ENOTDIR: "does not exist; check the path",
    errno.EACCES: "may not be read by this user; check its permissions",
    errno.ELOOP: "is a chain of links that never ends; check the links",
}


def load(path: Path) -> Spec:
    """The spec in this file. Raises SpecError with all problems found, also when the file cannot be read."""
    return parse(read_file(path), str(path))


def read_file(path: Path) -> bytes:
    """What stands in this file, at most one byte more than is allowed. Raises SpecError with the reason."""
    try:
        return _read(path)
    except OSError as error:
        why = _WHY_UNREADABLE.get(error.errno or 0) or f"cannot be read: {os.strerror(error.errno or 0)}"
        raise refused(shown(str(path)), f"the file {why}") from None
    except ValueError:
        raise refused(shown(str(path)), "no file has a zero byte in its name; check the path") from None


def read_stream(source: Path | int) -> bytes:
    """What comes through a pipe, or an open descriptor, up to its end; waits for it. At most one byte more than is
    allowed. Raises SpecError with the reason."""
    try:
        with open(source, "rb", closefd=not isinstance(source, int)) as stream:
            return stream.read(MAX_STREAM_BYTES + 1)
    except OSError as error:
        name = "<stdin>" if source == 0 else str(source)
        raise refused(name, f"cannot be read: {os.strerror(error.errno or 0)}") from None


def parse(text: str | bytes, name: str, whose: Whose = all_own, policy: Policy | None = None) -> Spec:
    """The spec in this text; `name` stands in messages, `whose` and `policy` are those of `conclude`. Raises SpecError
    with all problems found.

    What the schema refuses is reported together; the rules that span several keys are asked once the schema holds.
    """
    # A lone surrogate has no UTF-8; it is refused below, with its place.
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    decoded, document = read(content, name, text if isinstance(text, str) else None)
    return conclude(document, decoded, hashlib.sha256(content).hexdigest(), whose, policy)


def read(content: bytes, name: str, text: str | None = None) -> tuple[str, Document]:
    """The text (unless it is given) and the document in it, which holds against the schema; not to be changed, since
    the same is given to the next who asks. Raises SpecError."""
    key = (content, name, text)
    found = _KEPT.get(key)
    if found is None:
        try:
            found = _read_anew(content, name, text)
        except SpecError as error:
            _KEPT.put(key, error, len(error.problems), len(content))
            raise
        _KEPT.put(key, found, found[1].values, len(content))
    if isinstance(found, SpecError):
        raise SpecError(found.problems)
    return found


def _read_anew(content: bytes, name: str, text: str | None) -> tuple[str, Document]:
    if len(content) > MAX_FILE_BYTES:
        raise refused(name, f"the file is larger than {MAX_FILE_BYTES:,} bytes; no spec needs that")
    decoded = text if text is not None else _decode(content, name)
    document, problems = read_document(decoded, name)
    problems += check(document)
    if problems:
        raise SpecError(problems)
    return decoded, document


def conclude(document: Document, text: str, sha256: str, whose: Whose = all_own, policy: Policy | None = None) -> Spec:
    """The spec that a document is, once the rules hold and the host's policy allows it: the one in force, unless
    another is given. `whose` tells what the host's own file said. Raises SpecError."""
    spec = build(plain(document.root), text, sha256)
    policy = policy if policy is not None else in_force()
    if errors := (*rules.errors(spec, document), *against(spec, document, whose, policy)):
        raise SpecError(errors)
    return replace(spec, warnings=(*policy.problems, *rules.warnings(spec, document)))


def against(
    spec: Spec, document: Document, whose: Whose = all_own, policy: Policy | None = None
) -> tuple[Problem, ...]:
    """What the host's policy has against the spec that a document is; the arguments as in `conclude`."""
    policy = policy if policy is not None else in_force()
    return tuple(document.problem(path, sentence) for path, sentence in refusals(spec, policy, whose))


def _read(path: Path) -> bytes:
    """Raises OSError."""
    # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise refused(shown(str(path)), "this is no regular file; give the path of one")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise SpecError([Problem(name, line, column, "", message)]) from None


def refused(name: str, message: str) -> SpecError:
    return SpecError([Problem(name, 1, 1, "", message)])


def requested_relay(id_: int, wanted: AnyMapping[str, Any], owner: str, spec: Spec) -> RelaySpec:
    """The relay that somebody asks for beside those of `spec`; `wanted` is an entry of `relays` without its id. Raises
    SpecError with everything that no spec could have, and what this host's policy does not allow others."""
    # Of vhost_user what makes a socket's path: whether the rest is allowed was asked when the spec was read.
    vhost_user = VhostUserSpec(directory=spec.vhost_user.directory, name=spec.vhost_user.name)
    relay = json.dumps({"id": id_, **wanted})
    return _allowed(relay, owner, replace(Spec(), engine=spec.engine, vhost_user=vhost_user), in_force())


@functools.lru_cache(maxsize=256)
def _allowed(relay: str, owner: str, around: Spec, policy: Policy) -> RelaySpec:
    """`relay` is JSON."""
    value = {"apiVersion": "vio4wd/v1", "relays": [json.loads(relay)]}
    root = _node(value, _REQUEST)
    assert isinstance(root, Mapping)
    document = Document(owner, root)
    if problems := (*_unseen(root, document), *check(document)):
        raise SpecError(problems)
    workers = _node({"worker_cpus": list(around.engine.worker_cpus)}, _SPEC)
    root.entries["engine"] = workers
    spec = replace(around, relays=build(value, "", "").relays)
    if problems := (*rules.errors(spec, document), *against(spec, document, lambda path: path[0] != "relays", policy)):
        raise SpecError(problems)
    return spec.relays[0]


def _node(value: Any, place: Place, depth: int = 1) -> Node:
    """A value of JSON as a document has it. Raises SpecError where it is nested deeper than a document may be."""
    if depth > MAX_DEPTH:
        raise refused(place.file, f"nested more than {MAX_DEPTH} deep")
    if isinstance(value, dict):
        entries = {key: _node(each, place, depth + 1) for key, each in value.items()}
        return Mapping(place, entries, dict.fromkeys(value, place))
    if isinstance(value, list):
        return Sequence(place, [_node(each, place, depth + 1) for each in value])
    text = value if isinstance(value, str) else json.dumps(value)
    return Scalar(place, value, text, isinstance(value, str))


def _unseen(node: Node, document: Document) -> Iterator[Problem]:
    if isinstance(node, Scalar):
        if not node.text.isprintable():
            yield document.problem((), UNSEEN, node.place)
        return
    for child in node.entries.values() if isinstance(node, Mapping) else node.items:
        yield from _unseen(child, document)
