"""From a file or text to a spec, or to everything that is wrong with it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

from schema.document.nodes import Document, Problem, SpecError, plain, shown
from schema.document.yaml12 import read_document
from schema.loading.build import build
from schema.loading.kept import Kept
from schema.rules import spec_rules as rules
from schema.rules.check import check
from schema.rules.host_policy import Policy, Whose, all_own, in_force, objections
from schema.spec import Spec

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
    return tuple(document.problem(path, sentence) for path, sentence in objections(spec, policy, whose))


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
