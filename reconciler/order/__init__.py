"""What has to come before what: which action needs which one first, and what changes hands in a circle.

May import `resources` and `schema`; pure. All of it is read from one relation, `prerequisites.needs` and `brings`; the
usual order in `planning/plan.py` stands apart, since what comes first where nothing is needed is a choice.
Open `prerequisites.py` first, then `handover.py`: what has to be taken away and added again.
"""
