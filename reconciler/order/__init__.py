"""What has to come before what: relays that exchange sockets, devices that change hands, actions that need others.

May import `resources` and `schema`; pure.
Open `graph.py` first: who waits for whom, and what to take out where they wait in a circle.
"""
