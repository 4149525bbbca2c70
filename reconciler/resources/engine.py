"""The engine process: some parameters change while it runs, what the EAL takes only at its start needs a new one."""

from __future__ import annotations

from dataclasses import fields

from schema.model import STARTED_WITH, Action, Engine, Impact, Kind, Verb


def needs_new_process(before: Engine, after: Engine) -> bool:
    """Whether the engine must be started anew."""
    return any(getattr(before, name) != getattr(after, name) for name in STARTED_WITH)


def change(before: Engine, after: Engine) -> Action:
    """Update in place, or replace where that can't be."""
    if needs_new_process(before, after):
        reason = f"{_what_changes(before, after)}, which takes a new process"
        return Action(Verb.REPLACE, Kind.ENGINE, 0, None, before, after, Impact.HOST, reason)
    names = [f.name for f in fields(Engine) if getattr(before, f.name) != getattr(after, f.name)]
    reason = f"{' and '.join(names)} {'changes' if len(names) == 1 else 'change'}"
    return Action(Verb.UPDATE, Kind.ENGINE, 0, None, before, after, Impact.NONE, reason)


def _what_changes(before: Engine, after: Engine) -> str:
    name = next(name for name in STARTED_WITH if getattr(before, name) != getattr(after, name))
    values = "" if name == "vfio_vf_token" else f" from {getattr(before, name)} to {getattr(after, name)}"
    return f"{name} changes{values}"
