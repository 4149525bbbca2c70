"""From a plan to engines that match it: carried out, waited for, observed again, written down, undone if need be.

May import the rooms up to `desired`, `engine.api`, `schema` and `state`.
Open `executor.py` first: it runs a plan and compares what is live afterwards; then `transaction.py`, one apply from
guard to history.
"""
