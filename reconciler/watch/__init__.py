"""The processes that stay: the reconcile loop, and the supervisor that `vio4wd run` starts it and the engines by.

May import the rooms up to `frontends`, `engine.api`, `schema` and `state`. Only this outermost loop waits.
Open `schedule.py` first: when the loop does what, without a clock of its own; then `controller.py`, which does it.
"""
