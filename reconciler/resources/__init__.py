"""One file for each kind of resource: which action adds, removes and changes it, what that costs, and why.

All have the same shape, as far as the kind allows it: `add(after, ...)`, `remove(before, ...)`,
`change(before, after, ...)`, each giving one action. When they are needed, and in which order, is the plan's business.
May import `schema` only; pure.
Open `relay.py` first, then `diff.py`: when what is live matches what is desired.
"""
