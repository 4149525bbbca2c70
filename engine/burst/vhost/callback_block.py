"""The block that vhost's callbacks find by name: they are given nothing but a device id.

One per process, because a symbol is. It must exist before the callbacks' machine code is loaded.
"""

from __future__ import annotations

from typing import Final

from llvmlite import binding

from engine.burst.compiled import layout as at
from engine.burst.compiled.memory import Block

CALLBACK_CONTEXT: Final = Block(at.CONTEXT_SIZE)
binding.add_symbol(at.CONTEXT_SYMBOL, CALLBACK_CONTEXT.address)
