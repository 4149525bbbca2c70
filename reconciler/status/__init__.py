"""What a person or a service manager is told: a condition for each relay, the watch loop's report, plan problems.

May import the rooms up to `apply`, `engine.api`, `schema` and `state`. Changes nothing but its own report file.
Open `conditions.py` first: whether a relay works, in one word and one sentence; then `report.py`.
"""
