"""Frontends: what virtio-forwarder's clients, OVS and a command file ask for becomes requests, each with its owner.

None of them calls an engine. They change what is desired, and the reconcile loop does the rest.
May import the rooms up to `status`, `engine.api`, `schema` and `state`.
Open `port_control.py` first: what a request means, without any socket; then `services.py`, which answers it.
"""
