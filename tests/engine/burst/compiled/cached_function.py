"""The smallest function that Numba keeps on disk."""

from __future__ import annotations

from numba import njit


@njit("int64(int64)", cache=True)  # type: ignore[untyped-decorator]
def twice_and_one(number: int) -> int:
    return 2 * number + 1
