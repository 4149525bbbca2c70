"""How the reconciler's processes wait, lock, log and keep going: threads that restart, wake-ups, inotify.

May import `schema`; no other room of the reconciler. Knows nothing of relays.
Open `threads.py` first: how everything that goes on for ever is run.
"""
