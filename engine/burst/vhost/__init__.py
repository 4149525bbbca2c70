"""vhost-user's callbacks, compiled, and the gate that looks at a guest's messages before rte_vhost does.

May import `engine.burst.compiled` and `engine.dpdk`. All of it runs while a guest waits, and none of it takes the GIL.
Open `callbacks.py` first: what happens when a guest comes and goes; then `gate.py`.
"""
