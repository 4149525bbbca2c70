"""The engine process: some parameters change while it runs, what the EAL takes only at its start needs a new one."""

from __future__ import annotations

from dataclasses import fields

from schema.model import Action, Engine, Impact, Kind, Verb


def needs_new_process(before: Engine, after: Engine) -> bool:
    """Whether the engine must be started anew: the EAL binds its main thread, and takes the VFs' token, once."""
    return (before.main_cpu, before.vfio_vf_token) != (after.main_cpu, after.vfio_vf_token)


def change(before: Engine, after: Engine) -> Action:
    """Update in place, or replace where that can't be."""
    if needs_new_process(before, after):
        reason = f"{_what_changes(before, after)}, which takes a new process"
        return Action(Verb.REPLACE, Kind.ENGINE, 0, None, before, after, Impact.HOST, reason)
    names = [f.name for f in fields(Engine) if getattr(before, f.name) != getattr(after, f.name)]
    reason = f"{' and '.join(names)} {'changes' if len(names) == 1 else 'change'}"
    return Action(Verb.UPDATE, Kind.ENGINE, 0, None, before, after, Impact.NONE, reason)


def _what_changes(before: Engine, after: Engine) -> str:
    if before.main_cpu != after.main_cpu:
        return f"main_cpu changes from {before.main_cpu} to {after.main_cpu}"
    return "vfio_vf_token changes"
