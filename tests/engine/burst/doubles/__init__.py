"""Fakes and spies for DPDK's functions, and slow, obvious reference implementations of compiled code."""
