"""What a plan may not do although a spec says so: claims of several owners, protected removals, capacity, pauses.

May import the rooms up to `planning`, `schema` and `state`.
Open `removal_guards.py` first: what is kept until somebody allows its removal by name; then `claims.py`.
"""
