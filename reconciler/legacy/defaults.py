"""/etc/default/virtioforwarder as a spec: every variable becomes a key, or a line that says why it does not.

What each variable means, and its default, is virtio-forwarder's user's guide; to the start script that it shipped an
empty variable was as good as none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import schema
from reconciler.host.host import ThisHost
from reconciler.legacy import inherited
from reconciler.legacy.draft import Draft, written
from reconciler.legacy.shell import Fragment, Value, read_fragment
from reconciler.legacy.variables import FRONTEND_VARIABLES, IGNORED, PRECEDENCE, SAID_BY, TAKEN
from schema import Problem, SpecError, Text, Tree
from schema.loading.loader import read_file, refused
from schema.spec import STATIC

OURS = ("VIRTIOFWD_", "VIO4WD_")
"""How the names of virtio-forwarder's variables begin."""
MAX_BYTES = 64 * 1024
"""The file that virtio-forwarder shipped has 8 KiB."""


UNFIT = (
    ("\0", "zero byte", "save the file as text"),  # as after a power cut; bash would drop it
    ("\r", "carriage return", "bash takes it for a part of the value: save the file with the line ends of Unix"),
)


@dataclass(frozen=True, slots=True)
class Imported:
    """A spec made of a configuration file, and what of the file is not in it."""

    text: str
    remarks: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """The file that is read, for saying where something stands."""

    name: str
    fragment: Fragment

    def problem(self, variable: str, sentence: str) -> Problem:
        value = self.fragment.values.get(variable)
        return Problem(self.name, value.line if value is not None else 1, 1, variable, sentence)

    def translated(self, problem: Problem) -> Problem:
        """What is wrong with the spec, as a fault of the variable that says so."""
        for key, variable in SAID_BY.items():
            if problem.path.startswith(key):
                return self.problem(variable, problem.message)
        return Problem(self.name, 1, 1, problem.path, problem.message)


def read_imported(path: Path) -> Imported:
    """As `imported`, of a file."""
    return imported(_text(read_file(path), str(path)), str(path))


def imported(text: str, name: str) -> Imported:
    """The spec that says what the file says, which has to be whole: what only a shell could tell must not look as if it
    were not wanted. Raises SpecError with everything in the file that can't be."""
    source = Source(name, _fragment(text, name))
    draft = Draft()
    wrong: list[Problem] = []
    remarks = [Problem(name, line, 1, "", sentence) for line, sentence in source.fragment.remarks]
    remarks += _taken(draft, source, wrong)
    wrong += _conflicts(draft, source)
    if wrong:
        raise SpecError(wrong)
    remarks += _conclude(draft, source)
    found = Imported(written(draft, name, remarks), tuple(remarks))
    try:
        schema.parse(found.text, name)
    except SpecError as error:
        raise SpecError(map(source.translated, error.problems)) from None
    return found


def _text(content: bytes, name: str) -> str:
    """Raises SpecError."""
    if len(content) > MAX_BYTES:
        raise refused(name, f"has {len(content):,} bytes, and {MAX_BYTES:,} are read; is it virtio-forwarder's file?")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError([Problem(name, line, 1, "", "what stands here is no UTF-8; save the file as such")]) from None


def _fragment(text: str, name: str) -> Fragment:
    """Raises SpecError for what is no such configuration file, or more than one."""
    for character, what, mend in UNFIT:
        if character in text:
            line = text.count("\n", 0, text.index(character)) + 1
            raise SpecError([Problem(name, line, 1, "", f"a {what} stands here; {mend}")])
    fragment = read_fragment(text)
    if fragment.foreign:
        why = "only bash can tell what this file sets then: write out what is meant, as NAME=value"
        raise SpecError(Problem(name, line, 1, "", f"{each}; {why}") for line, each in fragment.foreign)
    if not any(variable.startswith(OURS) for variable in fragment.values):
        why = "no variable of virtio-forwarder's is set here; to relay nothing, write VIRTIOFWD_STATIC_VFS="
        raise refused(name, why)
    return fragment


def read_defaults(path: Path) -> Tree:
    """The spec that this file says. Raises SpecError."""
    found = read_imported(path)
    return Tree((Text(str(path), found.text.encode()),), owner=STATIC, remarks=found.remarks)


def in_its_words(path: Path, reason: str) -> str:
    """Why this host can't have the spec that the file is, as a fault of the variable that says so, if one does."""
    key, colon, rest = reason.partition(": ")
    if not colon or key not in SAID_BY:
        return reason
    try:
        fragment = _fragment(_text(read_file(path), str(path)), str(path))
    except SpecError:
        fragment = Fragment()
    rest = rest.replace("leave the key out", "set it to nothing")
    return str(Source(str(path), fragment).problem(SAID_BY[key], rest))


def _taken(draft: Draft, source: Source, wrong: list[Problem]) -> Iterator[Problem]:
    """The remarks on each variable; what can't be is added to `wrong`."""
    for variable, value in source.fragment.values.items():
        try:
            for sentence in _take(draft, variable, value):
                yield source.problem(variable, sentence)
        except ValueError as error:
            wrong.append(source.problem(variable, str(error)))


def _take(draft: Draft, variable: str, value: Value) -> Iterable[str]:
    """Raises ValueError with a sentence."""
    if not variable.startswith(OURS):
        return []  # the fragment's own, for others to refer to
    if variable in IGNORED:
        return [IGNORED[variable]] if value.text else []
    if variable not in TAKEN:
        return [f"is no variable of virtio-forwarder's; nothing is made of it{_meant(variable)}"]
    return TAKEN[variable](draft, value) or ()


def _meant(variable: str) -> str:
    import difflib

    near = difflib.get_close_matches(variable, TAKEN, n=1)
    return f"; is {near[0]} meant?" if near else ""


def _conclude(draft: Draft, source: Source) -> Iterator[Problem]:
    """Fills in what nothing was said of; gives remarks."""
    draft.vhost_user["template_sockets"] = not draft.vhost_user.get("dynamic_sockets", False)
    yield from _one_frontend(draft, source)
    if draft.services.get("core_sched") and not draft.balance.get("override"):
        del draft.services["core_sched"]
        why = "without VIO4WD_CORE_SCHED_ENABLE=true there is no such service"
        yield source.problem("VIRTIOFWD_ZMQ_CORE_SCHED_EP", why)
    if draft.vhost_user.get("dynamic_sockets") and "zmq" not in draft.frontends:
        why = "only VIRTIOFWD_ZMQ_PORT_CONTROL_EP can add sockets, and it is not set"
        yield source.problem("VIRTIOFWD_DYNAMIC_SOCKETS", why)
    for variable, why in (*inherited.services(draft), *inherited.owners(draft, ThisHost())):
        yield source.problem(variable, why)


def _conflicts(draft: Draft, source: Source) -> Iterator[Problem]:
    """What does not fit together. virtio-forwarder kept its main CPU apart, and took pins on CPUs that had no worker,
    which then did nothing."""
    workers = draft.engine.setdefault("worker_cpus", [1, 2])
    assert isinstance(workers, list)
    main = draft.engine.setdefault("main_cpu", 0)
    if main in workers:
        variable = "VIRTIOFWD_CPU_MASK" if "VIRTIOFWD_CPU_MASK" in source.fragment.values else "VIRTIOFWD_MASTER_LCORE"
        why = f"CPU {main} is VIRTIOFWD_MASTER_LCORE and in VIRTIOFWD_CPU_MASK; give one of them another"
        yield source.problem(variable, why)
    for relay, cpus in draft.pins.items():
        for cpu in cpus:
            if cpu not in workers:
                allowed = ", ".join(map(str, workers))
                why = f"CPU {cpu} of relay {relay} is not in VIRTIOFWD_CPU_MASK ({allowed})"
                yield source.problem("VIRTIOFWD_CPU_PINS", why)
    endpoints = {f"VIRTIOFWD_ZMQ_{name.upper()}_EP": endpoint for name, endpoint in draft.services.items()}
    first: dict[str, str] = {draft.frontends["zmq"]: FRONTEND_VARIABLES["zmq"]} if "zmq" in draft.frontends else {}
    for variable, endpoint in endpoints.items():
        if first.setdefault(endpoint, variable) != variable:
            yield source.problem(variable, f"{endpoint} is the endpoint of {first[endpoint]} too; give each its own")


def _one_frontend(draft: Draft, source: Source) -> Iterator[Problem]:
    """Leaves one in the draft: OVSDB where none is set."""
    if not draft.frontends:
        why = "is not set, nor is any other port control; as virtio-forwarder did, OVSDB's usual socket is waited for"
        yield source.problem(FRONTEND_VARIABLES["ovsdb"], why)
    first, *others = [name for name in PRECEDENCE if name in draft.frontends] or ["ovsdb"]
    for other in others:
        why = f"{FRONTEND_VARIABLES[first]} comes first, and there is one port control only"
        yield source.problem(FRONTEND_VARIABLES[other], why)
    draft.frontends = {first: draft.frontends.get(first, "")}
