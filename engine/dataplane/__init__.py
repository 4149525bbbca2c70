"""Ports, bonds, sockets, relays, workers and captures of a running engine, as Python objects that own what C made.

May import all of the engine but its two top files. Each registry has one owner of each DPDK object, and frees it only
after the workers have passed a grace period.
Open `relays.py` first: two entries for each relay, one a direction; then `workers.py`, which publishes them.
"""
