"""virtio-forwarder's command-line clients, under their old names and with their old options, output and exit codes."""
