"""What forwards packets: one process with one DPDK environment, which carries out one action after the other.

May import `schema`, never `state` or `reconciler`. In itself, from the ground up: `dpdk`, `burst`, `api`, `dataplane`,
and the two files here. The reconciler imports `api` only, and so needs neither Numba nor DPDK.
Open `engine.py` first: one method for each action; `process.py` starts and ends it.
"""
