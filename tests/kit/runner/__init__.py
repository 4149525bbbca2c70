"""How tests are run: skipped by the name of what is missing, repeated, in a process of their own, without Numba."""
