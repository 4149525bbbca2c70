"""What sites that run virtio-forwarder bring with them: its configuration file and its protobuf messages.

May import `host` and `schema`. Its command-line clients are `legacy.clients`, a room far above this one.
Open `defaults.py` first: /etc/default/virtioforwarder as a spec.
"""
