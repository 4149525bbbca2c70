"""virtio-forwarder's command-line clients, under their old names and with their old options, output and exit codes.

May import `legacy`, `observe`, `terminal`, `engine.api` and `schema`; nothing imports them but their entry points.
Open `wire.py` first: one request and its reply; then any client, one file each.
"""
