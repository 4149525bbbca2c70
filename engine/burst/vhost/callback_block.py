"""The block that vhost's callbacks find by name: they are given nothing but a device id.

One per process, because a symbol is. It must exist before the callbacks' machine code is loaded.
"""

from __future__ import annotations

from typing import Final

from llvmlite import binding

from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block

DOORS: Final = Block(at.DOORS_SIZE)
binding.add_symbol(at.DOORS_SYMBOL, DOORS.address)
