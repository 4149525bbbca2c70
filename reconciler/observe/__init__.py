"""What is live: the clients of all engine processes, the snapshot that they give at one moment, their events.

May import the rooms up to `resources`, `engine.api` and `schema`. Reads; the one thing that it changes is an engine or
its host, by an action of a plan (`engines.py`).
Open `engines.py` first, then `snapshot.py`.
"""
