"""Whether the rooms of the code stand in order: each imports only from those before it, and no files in a circle.

usage: scripts/house.py [TREE]. An import counts wherever it stands: in a function and for types alone, too. Not by
import-linter, which finds circles of folders but not of files, and knows no room that lies in one and stands above it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ORDER = """
schema.system schema schema.rules schema.loading schema.__init__ schema.wire
state
engine.dpdk engine.burst.compiled engine.burst.vhost engine.burst engine.api engine.dataplane engine
reconciler.host reconciler.observe reconciler.planning reconciler.policy reconciler.legacy reconciler.sources
reconciler.desired reconciler.apply reconciler.status reconciler.frontends reconciler.watch reconciler.terminal
reconciler.legacy.clients reconciler.commands reconciler
"""
"""From the ground up. A room is a package; one file that all others of its package stand below is a room by itself."""
ROOMS = {room: height for height, room in enumerate(ORDER.split())}
NEVER = {"engine": ("state",), "reconciler": ("engine.dpdk", "engine.burst", "engine.dataplane", "engine.engine")}
"""Not even from above: an engine keeps no state, and of an engine the reconciler needs what needs no DPDK."""


def modules(tree: Path) -> dict[str, Path]:
    """Every file of the rooms by its dotted name; a package's own file as `package.__init__`."""
    tops = sorted({room.partition(".")[0] for room in ROOMS})
    files = (path for top in tops for path in sorted((tree / top).rglob("*.py")))
    return {".".join(path.relative_to(tree).with_suffix("").parts): path for path in files}


def room(module: str) -> str:
    return module if module in ROOMS else module.rpartition(".")[0]


def imports(path: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Which of the known modules a file imports, and on which line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        within = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for name in (within + alias.name for alias in node.names):
            module = name.rpartition(".")[0]
            candidates = (name, f"{name}.__init__", module, f"{module}.__init__")
            yield from [(node.lineno, each) for each in candidates if each in known][:1]


def against_order(module: str, imported: str) -> str:
    """Why one may not import the other; empty if it may."""
    forbidden = NEVER.get(module.partition(".")[0], ())
    if any(f"{imported}.".startswith(f"{each}.") for each in forbidden):
        return f"{module.partition('.')[0]} may not use it"
    if ROOMS[room(imported)] > ROOMS[room(module)]:
        return f"{room(imported)} comes after {room(module)}"
    return ""


def faults(tree: Path) -> list[str]:
    """Everything that is out of order, a sentence each."""
    known = modules(tree)
    nowhere = [
        f"{path.relative_to(tree)}: no room of scripts/house.py" for m, path in known.items() if room(m) not in ROOMS
    ]
    if nowhere:
        return nowhere
    found: list[str] = []
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        for line, imported in imports(path, known):
            graph.setdefault(module, set()).add(imported)
            why = against_order(module, imported)
            found += [f"{path.relative_to(tree)}:{line}: imports {imported}, but {why}"] if why else []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        found.append(f"files import each other in a circle: {' -> '.join(circle.args[1][::-1])}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(faults(Path(sys.argv[1] if len(sys.argv) > 1 else "."))) or 0)
