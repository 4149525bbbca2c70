"""One engine's socket: what can be asked of it, by whom it is answered, and how it says no.

May import `schema`; the server also `engine.burst.compiled` and `engine.dpdk`, the client neither. Its messages are
those of docs/engine-api.md; older and newer releases speak to each other.
Open `client.py` first, which the reconciler uses; then `server.py`.
"""
