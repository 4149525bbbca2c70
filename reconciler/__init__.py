"""What decides: from files, sources and requests to a plan, and from a plan to engines that match it; the command line.

May import `schema`, `state` and, of the engine, `engine.api`. Its rooms from the ground up: runtime, host, memory,
resources, observe, order, planning, policy, legacy, sources, desired, apply, status, frontends, watch, terminal,
legacy.clients, commands; each imports from those before it (`scripts/house.py` checks that).
Open `planning/plan.py` first: how two states become the shortest list of actions.
"""
