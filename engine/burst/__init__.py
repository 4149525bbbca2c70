"""The compiled loops through which every packet goes: Numba, integers and addresses, no object and no lock.

May import `compiled`, `vhost` and `engine.dpdk`. Nothing here raises; what can't be forwarded is counted and dropped.
Open `loops.py` first: one worker's passes over its table; then `to_guest.py` and `to_vf.py`, one for each direction.
"""
