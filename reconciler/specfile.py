"""The file, and which spec of it is in force: the last one that was valid and that this host can have."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import schema
from reconciler.desired import SpecUnfit, desired
from reconciler.host import Host
from reconciler.hostplan import plan_host
from reconciler.report import InForce, RefusedSpec
from reconciler.sighting import Sighting
from schema import Spec, SpecError
from schema.model import State
from state.lastgood import keep, last_good
from state.store import Store

READ_BYTES = 2 * 1024 * 1024
"""More than the loader accepts, so that it is the loader that says that a file is too large."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A spec in force, and what it wants."""

    spec: Spec
    target: State
    shown: InForce


class SpecFile:
    """Reads the file again and again. `accepted` changes only to another good spec: never because of a file that is
    invalid, empty, truncated, unreadable or gone."""

    def __init__(self, path: Path, host: Host, store: Store) -> None:
        self.path = Path(os.path.abspath(path))
        self.accepted: Accepted | None = None
        self.refused: RefusedSpec | None = None
        self._host = host
        self._store = store
        self._seen: str | None = None

    def read(self) -> bool:
        """Reads the file; whether another spec is in force than before."""
        content = self._content()
        seen = hashlib.sha256(content).hexdigest() if content is not None else None
        if seen is not None and seen == self._seen:
            return False
        self._seen = seen
        try:
            spec = schema.parse(content, str(self.path)) if content is not None else schema.load(self.path)
            return self._accept(spec, self._wanted(spec))
        except SpecError as error:
            self._refuse(tuple(str(problem) for problem in error.problems))
        except SpecUnfit as error:
            if error.may_heal:
                self._seen = None  # a user or a CPU may appear without the file changing
            self._refuse(error.reasons)
        return self.accepted is None and self._fall_back()

    def _content(self) -> bytes | None:
        try:
            with self.path.open("rb") as file:
                return file.read(READ_BYTES)
        except OSError:
            return None

    def _wanted(self, spec: Spec) -> State:
        """Raises SpecUnfit when this host can't have it: also when no engines, however empty, could."""
        target = desired(spec, self._host)
        plan_host(target, Sighting())
        return target

    def _accept(self, spec: Spec, target: State) -> bool:
        self.refused = None
        if self.accepted is not None and self.accepted.spec.sha256 == spec.sha256:
            same = self.accepted.target == target
            if same and self.accepted.shown.origin == "file":
                return False
        since = keep(self._store, str(self.path), spec.sha256, spec.text).since
        before = self.accepted
        self.accepted = Accepted(spec, target, self._shown(spec, target, since, "file"))
        return before is None or (before.spec.sha256, before.target) != (spec.sha256, target)

    def _refuse(self, problems: tuple[str, ...]) -> None:
        if self.refused is None or self.refused.problems != problems:
            self.refused = RefusedSpec(time.time(), problems)

    def _fall_back(self) -> bool:
        """At the start: what was in force before the last end of this process."""
        kept = last_good(self._store, str(self.path))
        if kept is None:
            return False
        try:
            spec = schema.parse(kept.text, str(self.path))
            target = self._wanted(spec)
        except (SpecError, SpecUnfit):
            return False
        self.accepted = Accepted(spec, target, self._shown(spec, target, kept.since, "last-good"))
        return True

    def _shown(self, spec: Spec, target: State, since: float, origin: str) -> InForce:
        relays = {str(r.id): {"port": r.port, "socket": r.socket} for r in target.relays.values()}
        return InForce(str(self.path), spec.sha256, since, origin, relays)
