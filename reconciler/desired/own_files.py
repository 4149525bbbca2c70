"""The files under `hosts/` that are this host's own, and by what name of it: that may come late, or change."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.sources.files import HOSTS, host_names
from schema import Tree
from schema.document.problem import shown

FILE = "file"
"""The place that is no source."""


def found_by(before: Mapping[str, str], trees: Mapping[str, Tree]) -> dict[str, str]:
    """The names by which the own files of all places were found. Of what was kept from another time that is not known,
    and stays as it was `before`."""
    names = {place: tree.host or before.get(place, "") for place, tree in trees.items() if tree.over is not None}
    return {place: name for place, name in names.items() if name}


def outdated(hostname: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Where a file counts that is not that of the name which the host has now, as sentences."""
    now = host_names(hostname)
    return tuple(
        f"this host's name is {shown(hostname)} now, for which {'the directory' if place == FILE else place} has no "
        f"{HOSTS}/{shown(hostname)}.yaml: its {HOSTS}/{shown(name)}.yaml goes on counting until it has one"
        for place, name in sorted(names.items())
        if name not in now
    )
