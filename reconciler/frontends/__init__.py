"""Frontends: what virtio-forwarder's clients, OVS and a command file ask for becomes requests, each with its owner.

None of them calls an engine. They change what is desired, and the reconcile loop does the rest.
"""
