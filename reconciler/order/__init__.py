"""What has to come before what: which action needs which one first, and what changes hands in a circle.

May import `resources` and `schema`; pure. All is read from one relation, `prerequisites.needs` and `brings`. Apart from
it stand the usual order in `planning/plan.py`, a choice where nothing is needed, and that `planning/host_plan.py` gives
back VFs, mounts and pages last of all, since they are the host's, and no state says who uses its memory.
Open `prerequisites.py` first, then `handover.py`: what has to be taken away and added again.
"""
