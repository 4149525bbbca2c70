"""What sites that run virtio-forwarder bring with them: its configuration file, its wire, its clients."""
