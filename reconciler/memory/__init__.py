"""Hugepages and mounts of hugetlbfs on this host: reserved and mounted, looked at, and given back.

May import `host` and what that may, `schema` and `state`.
Open `memory.py` first: a host's hugepages as resources, as plans see them; then `checks.py`.
"""
