"""From what is desired and what is live to a plan: which actions, on which engine process, in which order.

May import `observe`, `engine.api` and `schema`. Pure: the same states give the same plan. What comes before what is
read from one relation, `prerequisites.py`; apart from it stand the usual order in `plan.py`, a choice where nothing
is needed, and that `host_plan.py` gives back VFs, mounts and pages last, since they are the host's.
Open `plan.py` first, one engine's plan; then `host_plan.py`, which puts those of all engines in one order.
"""
