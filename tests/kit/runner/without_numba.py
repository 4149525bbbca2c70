"""pytest plugin of `scripts/test --quick`: whatever imports Numba there fails, and says who did.

python -m pytest -p tests.kit.runner.without_numba ...
"""

from __future__ import annotations

import sys

BARRED = ("numba", "llvmlite")


class Barred:
    """Finds nothing, and refuses to."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name.partition(".")[0] in BARRED:
            raise ImportError(f"{name} is imported, which what --quick runs must do without")


sys.meta_path.insert(0, Barred())
