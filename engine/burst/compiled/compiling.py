"""How the functions of the loops are compiled: into their callers, or to be called.

A call costs more here than in C: results and exceptions are handed back through memory, which a caller clears when it
begins, even for calls that it seldom makes. In turns that find nothing that was half of the instructions.

Numba hands a function's choices down to whatever is first compiled on its behalf, so each decorator says all of them.
"""

from __future__ import annotations

from numba import njit

inlined = njit(cache=True, forceinline=True, error_model="python")
"""For what runs in every turn; each use is a copy."""
called = njit(cache=True, forceinline=False, error_model="python")
"""For the rest; LLVM may still choose to inline it."""
dividing = njit(cache=True, forceinline=False, error_model="numpy")
"""For what divides: n // 0 is 0 with Numpy's rules; with Python's it could raise, which would take the GIL."""
