"""What a plan is made of: the action that adds, removes or changes each kind of resource, what that costs, and why.

Pure: from resources to actions. When actions are needed, and in which order, is the plan's business.
May import `schema` only.
Open `actions.py` first, then `diff.py`: when what is live matches what is desired.
"""
