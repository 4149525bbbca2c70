"""Guests: testpmd, QEMU, and peers that speak vhost-user message by message."""
