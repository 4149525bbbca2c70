"""How the reconciler keeps going: threads that are started again, calls that may hang, news of changed files.

May import `schema`; no other room of the reconciler. Knows nothing of relays.
Open `threads.py` first: how everything that goes on for ever is run.
"""
