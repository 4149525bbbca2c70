"""From what is desired and what is live to a plan: which actions, on which engine process, in which order.

May import the rooms up to `order`, `engine.api` and `schema`. Pure: the same states give the same plan.
Open `plan.py` first, one engine's plan; then `host_plan.py`, which puts those of all engines in one order.
"""
