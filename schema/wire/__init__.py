"""Sockets that this project serves by itself: ZeroMQ's protocol without libzmq, unix listeners, sd_notify.

May import `schema.system` only. Knows bytes and connections, and nothing of relays.
Open `zmtp.py` first, the protocol without input and output; then `serving.py`, which serves many clients at once.
"""
