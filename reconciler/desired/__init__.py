"""From a file, its sources and the requests of other owners to the state that is desired of this host.

May import the rooms up to `sources`, `schema` and `state`.
Open `from_spec.py` first: a spec as a state; then `spec_in_force.py`, the last one that was valid and fits the host.
"""
