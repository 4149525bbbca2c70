"""What compiled code stands on: atomics, calls by address, shared memory and its layout, the cache.

May import `schema.system` and `engine.dpdk`. A change here changes the machine code of every loop and callback.
Open `layout.py` first: who writes which word that Python, the workers and DPDK's thread share.
"""
