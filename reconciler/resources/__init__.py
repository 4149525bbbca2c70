"""One file per kind of resource: which action adds it, removes it and changes it, what that costs, and why it is done.

All have the same shape, as far as the kind allows it: `add(after, ...)`, `remove(before, ...)`,
`change(before, after, ...)`, each giving one action. When they are needed, and in which order, is the plan's business.
"""
