"""What the spec chooses before the loops are compiled: Numba binds it as a constant, so that it costs nothing."""

from __future__ import annotations

burst = 32
"""Packets a call: DPDK's own default, and its vector drivers' unit. Set before layout.py is imported."""
