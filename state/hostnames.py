"""By what name of this host its own file was found last: a name that changes must not take its relays away."""

from __future__ import annotations

import json
from collections.abc import Mapping

from state.store import Store

NAME = "hosts"


def keep_names(store: Store, names: Mapping[str, str]) -> None:
    """By place: the file, or the name of a source. Instead of all that were kept before."""
    row = (NAME, json.dumps(dict(sorted(names.items()))))
    if dict(names) != kept_names(store):
        store.run(lambda connection: connection.execute("INSERT OR REPLACE INTO intent VALUES (?, ?)", row))


def kept_names(store: Store) -> dict[str, str]:
    """What is no such thing counts as nothing."""
    query = "SELECT value FROM intent WHERE name = ?"
    row = store.run(lambda connection: connection.execute(query, (NAME,)).fetchone())
    try:
        value = json.loads(row[0]) if row is not None else {}
    except ValueError:
        return {}
    return {str(place): str(name) for place, name in value.items()} if isinstance(value, dict) else {}
