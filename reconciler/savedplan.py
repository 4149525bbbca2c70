"""A plan as a document: to be read by people and programs, kept, and applied later to the very state that it is for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reconciler.errands import Errand
from reconciler.guards import Guarded, Held, Policy
from reconciler.hostplan import HostPlan
from reconciler.moment import Moment
from reconciler.sighting import Sighting
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
class SavedPlan:
    """A plan, the moments it was made for, and the spec that it came from."""

    moments: tuple[Moment, ...]
    errands: tuple[Errand, ...]
    file: str
    sha256: str
    held: tuple[Held, ...] = ()
    """What the spec wants and the plan leaves as it is."""
    policy: Policy = field(default_factory=Policy)
    """By which that was decided."""
    revisions: Mapping[str, str] = field(default_factory=dict)
    """Of the sources that the spec was read from, where they have some."""

    def to_json(self) -> dict[str, Any]:
        """As schema/plan.schema.json describes it."""
        return {
            "format_version": FORMAT_VERSION,
            "spec": {"file": self.file, "sha256": self.sha256, "revisions": dict(self.revisions)},
            "engine": [asdict(moment) for moment in self.moments],
            "changes": [_change(errand) for errand in self.errands],
            "policy": {"protected": sorted(self.policy.protected), "allowed": sorted(self.policy.allowed)},
            "held": [each.to_json() for each in self.held],
            "summary": asdict(summary(errand.action for errand in self.errands)),
        }


def save(
    todo: HostPlan,
    sighting: Sighting,
    file: str,
    sha256: str,
    guarded: Guarded,
    policy: Policy,
    revisions: Mapping[str, str],
) -> SavedPlan:
    """The document of a plan that was made for what was seen, and for what the guards let through."""
    moments = tuple(_moment(shard, sighting) for shard in todo.targets if shard not in sighting.silent)
    return SavedPlan(moments, todo.errands, file, sha256, guarded.held, policy, dict(revisions))


def _moment(shard: int, sighting: Sighting) -> Moment:
    seen = sighting.seen.get(shard)
    return Moment(shard, seen.boot_id, seen.generation) if seen is not None else Moment(shard, None, 0)


def _change(errand: Errand) -> dict[str, Any]:
    pin = asdict(errand.pin) if errand.pin is not None else None
    return {"shard": errand.shard, **errand.action.to_json(), "pin": pin}


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
    pins = [Pin(**change["pin"]) if change["pin"] is not None else None for change in value["changes"]]
    errands = tuple(Errand(c.get("shard", 0), a, p) for c, a, p in zip(value["changes"], actions, pins, strict=True))
    if not all(_has_its_pin(errand) for errand in errands):
        raise ValueError("an added relay has no pin, or a pin has no relay")
    moments = tuple(Moment(**moment) for moment in value["engine"])
    if not {errand.shard for errand in errands} <= {moment.shard for moment in moments}:
        raise ValueError("a change is for an engine whose state is not given")
    spec = value["spec"]
    held = tuple(Held(**each) for each in value["held"])
    policy = Policy(**{name: frozenset(map(int, ids)) for name, ids in value["policy"].items()})
    revisions = {str(name): str(revision) for name, revision in spec.get("revisions", {}).items()}
    return SavedPlan(moments, errands, str(spec["file"]), str(spec["sha256"]), held, policy, revisions)


def _has_its_pin(errand: Errand) -> bool:
    added = errand.action.kind is Kind.RELAY and errand.action.verb is Verb.ADD
    return (errand.pin.relay if errand.pin is not None else None) == (errand.action.key if added else None)


def read_plan(path: Path) -> SavedPlan:
    """Raises PlanError, or OSError when the file can't be read."""
    return parse_plan(path.read_text(encoding="utf-8"), str(path))
