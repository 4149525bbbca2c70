"""A plan as a document: to be read by people and programs, kept, and applied later to the very state that it is for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.client import Observation
from reconciler.plan import Plan
from schema.model import Action, Impact, Kind, Pin, Verb

FORMAT_VERSION = "1"
MAX_BYTES = 4 * 1024 * 1024
"""A plan of 64 relays has some 100 KiB."""


class PlanError(Exception):
    """A file that was to be a plan is none; the text says why."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A plan in five words."""

    add: int
    change: int
    remove: int
    migrate: int
    impact: Impact

    def __str__(self) -> str:
        return (
            f"{self.add} to add, {self.change} to change, {self.remove} to remove, {self.migrate} to migrate "
            f"(impact: {self.impact})"
        )


def summary(actions: Iterable[Action]) -> Summary:
    """How many actions of which sort, and what the dearest of them costs."""
    todo = list(actions)
    verbs = [action.verb for action in todo]
    rank = list(Impact)
    worst = max((rank.index(action.impact) for action in todo), default=0)
    return Summary(
        add=verbs.count(Verb.ADD),
        change=verbs.count(Verb.UPDATE) + verbs.count(Verb.REPLACE),
        remove=verbs.count(Verb.REMOVE),
        migrate=verbs.count(Verb.MIGRATE),
        impact=rank[worst],
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of an engine that a plan was made for."""

    shard: int
    boot_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan, the moment it was made for, and the spec that it came from."""

    moment: Moment
    plan: Plan
    file: str
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """As schema/plan.schema.json describes it."""
        return {
            "format_version": FORMAT_VERSION,
            "spec": {"file": self.file, "sha256": self.sha256},
            "engine": [asdict(self.moment)],
            "changes": [_change(action, self.plan.pin_of(action)) for action in self.plan.actions],
            "summary": asdict(summary(self.plan.actions)),
        }


def save(todo: Plan, seen: Observation, file: str, sha256: str, shard: int = 0) -> SavedPlan:
    """The document of a plan that was made for what was seen."""
    return SavedPlan(Moment(shard, seen.boot_id, seen.generation), todo, file, sha256)


def _change(action: Action, pin: Pin | None) -> dict[str, Any]:
    return {**action.to_json(), "pin": asdict(pin) if pin is not None else None}


def is_plan(text: str) -> bool:
    """Whether a file's text is meant to be a plan rather than a spec: JSON with a `format_version`."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and "format_version" in value


def parse_plan(text: str, name: str) -> SavedPlan:
    """The inverse of `to_json`. Raises PlanError with a sentence."""
    value = json.loads(text)
    version = value["format_version"]
    if version != FORMAT_VERSION:
        raise PlanError(
            f"{name}: this is a plan of format version {version}, and this release reads version {FORMAT_VERSION}; "
            "make a new one with: vio4wd plan -o FILE"
        )
    try:
        return _parsed(value)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise PlanError(
            f"{name}: this is no whole plan ({type(error).__name__}: {error}); make a new one with: vio4wd plan -o FILE"
        ) from error


def _parsed(value: Mapping[str, Any]) -> SavedPlan:
    actions = tuple(Action.from_json(change) for change in value["changes"])
    for action, change in zip(actions, value["changes"], strict=True):
        if action.resource != change["resource"]:
            raise ValueError(f"{change['resource']} is not {action.resource}")
    pins = {int(c["pin"]["relay"]): Pin(**c["pin"]) for c in value["changes"] if c["pin"] is not None}
    placed = {int(a.key) for a in actions if a.kind is Kind.RELAY and a.verb is Verb.ADD}
    if placed != pins.keys():
        raise ValueError("an added relay has no pin, or a pin has no relay")
    (moment,) = value["engine"]
    spec = value["spec"]
    return SavedPlan(Moment(**moment), Plan(actions, pins), str(spec["file"]), str(spec["sha256"]))


def read_plan(path: Path) -> SavedPlan:
    """Raises PlanError, or OSError when the file can't be read."""
    return parse_plan(path.read_text(encoding="utf-8"), str(path))
