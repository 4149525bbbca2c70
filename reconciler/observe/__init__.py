"""What is live, how it differs from what is desired, and the action for each difference with what that costs.

May import `host`, `engine.api`, `schema` and `state`. Reads; the one thing that it changes is an engine or its host,
by an action of a plan (`engines.py`).
Open `engines.py` first: clients of all engines, and the snapshot that they give; then `diff.py` and `actions.py`.
"""
