"""The DPDK of this process, loaded on first import: compiled code binds its offsets and symbols as constants.

Imported only by what runs in an engine; a host without DPDK gets DpdkMissingError here, by name.
"""

from __future__ import annotations

from typing import Final

from llvmlite import binding

from engine.dpdk import library

DPDK: Final = library.load()
LAYOUT: Final = DPDK.layout
for _path in DPDK.paths:
    binding.load_library_permanently(_path)
