"""Compiles the burst loops as an engine's start does and leaves on disk what came out, for tests to read.

    python -m tests.engine.burst.compiled.compile_loops DIRECTORY      with VIO4WD_CACHE_DIR set

The optimised LLVM IR is only known to the process that compiled it, so the cache must be empty for that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine.burst.compiled.cache import numba_cache
from engine.dpdk import library
from schema.paths import cache_dir


def compiled() -> dict[str, Any]:
    """Everything whose machine code runs in an engine, by name."""
    from engine.burst import loops
    from engine.burst.compiled import quiesce
    from engine.burst.vhost.bus_error import on_missing_memory
    from engine.burst.vhost.callbacks import CALLBACKS, after_message, before_message

    own = {name: getattr(loops, name) for name in ("work", "drop_waiting", "read_tsc")}
    own |= {"on_missing_memory": on_missing_memory, "before_message": before_message, "after_message": after_message}
    return {**own, **{name: getattr(quiesce, name) for name in ("publish_table", "publish_anywhere")}, **CALLBACKS}


def main(directory: Path) -> None:
    with numba_cache(cache_dir(), library.load().version):
        functions = compiled()
    hits = {name: function.cache_hits for name, function in functions.items()}
    for name, function in functions.items():
        if not hits[name]:
            (directory / f"{name}.ll").write_text(function.inspect_llvm())
            (directory / f"{name}.s").write_text(function._library.get_asm_str())
    print(json.dumps(hits))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
