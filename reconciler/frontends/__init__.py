"""Other ways in: what virtio-forwarder's clients, OVS and a command file ask for becomes wishes of owners of their own.

None of them calls an engine. They change what is desired, and the reconcile loop does the rest.
"""
