"""What the burst loops need of the machine and Python has no word for: memory, atomics, the clock, calls by address.

Every value is a 64-bit signed integer, addresses included: Numba turns a sum of signed and unsigned into a float.
Words that another thread writes are read by `load_acquire` only; LLVM hoists a plain load out of a loop.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

I64 = ir.IntType(64)


def _pointer(builder: Any, address: Any, bits: int) -> Any:
    return builder.inttoptr(address, ir.IntType(bits).as_pointer())


def _loader(bits: int) -> Any:
    @intrinsic
    def load(typingctx: Any, address: Any) -> Any:  # noqa: ARG001 - Numba passes it by this name
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            value = builder.load(_pointer(builder, args[0], bits))
            return value if bits == 64 else builder.zext(value, I64)

        return types.int64(types.int64), generate

    return load


def _storer(bits: int) -> Any:
    @intrinsic
    def store(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
        def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            value = args[1] if bits == 64 else builder.trunc(args[1], ir.IntType(bits))
            builder.store(value, _pointer(builder, args[0], bits))

        return types.void(types.int64, types.int64), generate

    return store


load8, load16, load32, load64 = _loader(8), _loader(16), _loader(32), _loader(64)
store8, store16, store32, store64 = _storer(8), _storer(16), _storer(32), _storer(64)


@intrinsic
def load_acquire(typingctx: Any, address: Any) -> Any:  # noqa: ARG001
    """The 64-bit word at `address`; nothing that follows is read before it."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(builder, args[0], 64), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def store_release(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
    """Writes the 64-bit word; everything before it is visible to whoever reads it with `load_acquire`."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _pointer(builder, args[0], 64), "release", 8)

    return types.void(types.int64, types.int64), generate


@intrinsic
def exchange(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
    """Writes the 64-bit word and gives the old one; a full barrier, so later loads see what came before it."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("xchg", _pointer(builder, args[0], 64), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def fetch_add(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
    """Adds to the 64-bit word atomically and gives the old one; a full barrier."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(builder, args[0], 64), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def compare_exchange(typingctx: Any, address: Any, expected: Any, value: Any) -> Any:  # noqa: ARG001
    """Writes `value` if the word is `expected`; 1 if it did, else 0. A full barrier."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        pair = builder.cmpxchg(_pointer(builder, args[0], 64), args[1], args[2], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(pair, 1), I64)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic
def rdtsc(typingctx: Any) -> Any:  # noqa: ARG001
    """The CPU's time stamp counter."""

    def generate(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(I64, [])), [])

    return types.int64(), generate


@intrinsic
def pause(typingctx: Any) -> Any:  # noqa: ARG001
    """Tells the CPU that this is a spin loop (SSE2 PAUSE)."""

    def generate(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        function = ir.FunctionType(ir.VoidType(), [])
        builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), function), [])

    return types.void(), generate


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:  # noqa: ARG001
    """Starts fetching the cache line at `address` for reading."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        function = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        prefetcher = builder.module.declare_intrinsic("llvm.prefetch.p0", (), function)
        builder.call(prefetcher, [pointer, i32(0), i32(3), i32(1)])

    return types.void(types.int64), generate


@intrinsic
def call_burst(typingctx: Any, function: Any, queue: Any, mbufs: Any, count: Any) -> Any:  # noqa: ARG001
    """`function(queue, mbufs, count)` of type eth_rx_burst_t or eth_tx_burst_t: how many mbufs it gave or took."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        # The count travels as 32 bits with its upper half clear, which is how a C compiler passes an uint16_t.
        burst = ir.FunctionType(ir.IntType(16), [I64, I64, ir.IntType(32)])
        pointer = builder.inttoptr(args[0], burst.as_pointer())
        taken = builder.call(pointer, [args[1], args[2], builder.trunc(args[3], ir.IntType(32))])
        return builder.zext(taken, I64)

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


def symbol_address(name: str) -> Any:
    """A compiled function without arguments that gives the address of the external symbol `name`.

    The symbol is resolved when the machine code is loaded, from the cache too, so the code holds no address of
    the process that compiled it (`llvmlite.binding.add_symbol`).
    """

    @intrinsic
    def address(typingctx: Any) -> Any:  # noqa: ARG001
        def generate(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
            module = builder.module
            symbol = module.globals.get(name) or ir.GlobalVariable(module, ir.IntType(8), name)
            return builder.ptrtoint(symbol, I64)

        return types.int64(), generate

    return address


def stack_space(size: int) -> Any:
    """A compiled function that gives the address of `size` bytes in its caller's frame, on an 8-byte boundary."""

    @intrinsic
    def address(typingctx: Any) -> Any:  # noqa: ARG001
        def generate(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
            return builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(I64, (size + 7) // 8)), I64)

        return types.int64(), generate

    return address
