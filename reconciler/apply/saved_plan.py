"""A plan as a document: to be read by people and programs, kept, and applied later to the very state that it is for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reconciler.host.refusal import PlanProblem
from reconciler.observe.engines import EngineVersion
from reconciler.planning.describe import Summary, summary
from reconciler.planning.planned_action import PlannedAction
from reconciler.policy.removal_guards import HeldBack, Policy
from schema.model import Action, Kind, Pin, State, Verb
from schema.system.logs import lacks_token

FORMAT_VERSION = "1"
MAX_BYTES = 4 * 1024 * 1024
"""A plan of 64 relays has some 100 KiB."""


class PlanError(Exception):
    """A file that was to be a plan is none; the text says why."""


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """A plan, the moments it was made for, and the spec that it came from. Times are in seconds since 1970."""

    versions: tuple[EngineVersion, ...]
    planned_actions: tuple[PlannedAction, ...]
    file: str
    sha256: str
    held_back: tuple[HeldBack, ...] = ()
    """What the spec wants and the plan leaves as it is."""
    policy: Policy = field(default_factory=Policy)
    """By which that was decided."""
    revisions: Mapping[str, str] = field(default_factory=dict)
    """Of the sources that the spec was read from, where they have some."""
    states: Mapping[int, State] = field(default_factory=dict)
    """What was live on each shard that ran."""
    drift: frozenset[int] = frozenset()
    """The positions among `planned_actions` of those that only set right what somebody changed."""
    follows: tuple[PlannedAction, ...] = ()
    """What is done once processes that it replaces are there again."""
    problems: tuple[PlanProblem, ...] = ()
    """What of it would not work as the host was when it was made."""
    path: str = ""
    """The file's, absolute; empty where it has none."""
    made: float = 0.0
    expires: float = 0.0
    """It is not carried out after that: who wanted it then may not want it any more."""

    def to_json(self) -> dict[str, Any]:
        """As schema/plan.schema.json describes it."""
        return {
            "format_version": FORMAT_VERSION,
            "spec": {"file": self.file, "path": self.path, "sha256": self.sha256, "revisions": dict(self.revisions)},
            "made": self.made,
            "expires": self.expires,
            "engine": [{**asdict(version), "observed": self._observed(version.shard)} for version in self.versions],
            "changes": [_change(planned, place in self.drift) for place, planned in enumerate(self.planned_actions)],
            "follows": [_change(planned, False) for planned in self.follows],
            "problems": [asdict(each) for each in self.problems],
            "policy": {"protected": sorted(self.policy.protected), "allowed": sorted(self.policy.allowed)},
            "held": [each.to_json() for each in self.held_back],
            "summary": asdict(self.summary),
        }

    @property
    def summary(self) -> Summary:
        """Of all that it does, at once or later."""
        return summary(planned.action for planned in (*self.planned_actions, *self.follows))

    @property
    def several(self) -> bool:
        """Whether shards are worth a word: one alone is not."""
        return len(self.versions) > 1 or any(planned.shard for planned in self.planned_actions)

    def _observed(self, shard: int) -> Any:
        return self.states[shard].to_json() if shard in self.states else None


def _change(planned: PlannedAction, drift: bool) -> dict[str, Any]:
    pin = asdict(planned.pin) if planned.pin is not None else None
    return {"shard": planned.shard, **planned.action.to_json(), "pin": pin, "drift": drift}


def is_plan(text: str) -> bool:
    """Whether a file's text is meant to be a plan rather than a spec: JSON with a `format_version`."""
    if not text.lstrip().startswith("{"):
        return False
    try:
        return "format_version" in json.loads(text)
    except ValueError:
        return False


def parse_plan(text: str, name: str) -> SavedPlan:
    """The inverse of `to_json`. Raises PlanError with a sentence."""
    value = json.loads(text) if is_plan(text) else {}
    _refuse_other(value, name)
    if lacks_token(text):
        raise PlanError(f"{name}: when this plan was printed, its VF token was left out; keep it with: vio4wd plan -o")
    return plan_of(value, name)


def plan_of(value: Mapping[str, Any], name: str) -> SavedPlan:
    """As `parse_plan`, of what the text says: the history has it so."""
    _refuse_other(value, name)
    try:
        return _parsed(value)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise PlanError(
            f"{name}: this is no whole plan ({type(error).__name__}: {error}); make a new one with: vio4wd plan -o FILE"
        ) from error


def _refuse_other(value: Mapping[str, Any], name: str) -> None:
    if "format_version" not in value:
        raise PlanError(f"{name}: this is no plan; make one with: vio4wd plan -o FILE")
    version = value["format_version"]
    if version != FORMAT_VERSION:
        raise PlanError(
            f"{name}: this is a plan of format version {version}, and this release reads version {FORMAT_VERSION}; "
            "make a new one with: vio4wd plan -o FILE"
        )


def _parsed(value: Mapping[str, Any]) -> SavedPlan:
    planned_actions, follows = (
        tuple(map(_planned_action, value["changes"])),
        tuple(map(_planned_action, value.get("follows", ()))),
    )
    versions = tuple(EngineVersion(each["shard"], each["boot_id"], each["generation"]) for each in value["engine"])
    if not {planned.shard for planned in (*planned_actions, *follows)} <= {version.shard for version in versions}:
        raise ValueError("a change is for an engine whose state is not given")
    spec = value["spec"]
    return SavedPlan(
        versions=versions,
        planned_actions=planned_actions,
        file=str(spec["file"]),
        sha256=str(spec["sha256"]),
        held_back=tuple(HeldBack(**each) for each in value["held"]),
        policy=Policy(**{name: frozenset(map(int, ids)) for name, ids in value["policy"].items()}),
        states={m["shard"]: State.from_json(m["observed"]) for m in value["engine"] if m["observed"] is not None},
        drift=frozenset(place for place, change in enumerate(value["changes"]) if change["drift"]),
        revisions={str(name): str(revision) for name, revision in spec.get("revisions", {}).items()},
        follows=follows,
        problems=tuple(PlanProblem(**each) for each in value.get("problems", ())),
        path=str(spec.get("path", "")),
        made=float(value["made"]),
        expires=float(value["expires"]),
    )


def _planned_action(change: Mapping[str, Any]) -> PlannedAction:
    action = Action.from_json(change)
    if action.resource != change["resource"]:
        raise ValueError(f"{change['resource']} is not {action.resource}")
    pin = Pin(**change["pin"]) if change["pin"] is not None else None
    planned = PlannedAction(change.get("shard", 0), action, pin)
    if not _has_its_pin(planned):
        raise ValueError("an added relay has no pin, or a pin has no relay")
    return planned


def _has_its_pin(planned: PlannedAction) -> bool:
    added = planned.action.kind is Kind.RELAY and planned.action.verb is Verb.ADD
    return (planned.pin.relay if planned.pin is not None else None) == (planned.action.key if added else None)


def read_plan(path: Path) -> SavedPlan:
    """Raises PlanError, or OSError when the file can't be read."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise PlanError(f"{path}: it is larger than {MAX_BYTES:,} bytes; no plan needs that")
    return parse_plan(content.decode(errors="replace"), str(path))
