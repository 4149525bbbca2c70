"""Reads optimised LLVM IR: which words a function loads, how, and whether in a loop.

A value's *origin* says where it comes from, as far as the layout of the poll table tells it: the worker block, a table
that was loaded from it, an entry that was loaded from that, and so on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from llvmlite import binding

MOST_ROUNDS = 100
SAME_ADDRESS = ("inttoptr", "ptrtoint", "freeze", "bitcast")


@dataclass(frozen=True, slots=True)
class Operand:
    key: int
    """The same for the same value."""
    name: str
    number: int | None
    """Its value if it is an integer constant."""

    @classmethod
    def of(cls, value: Any) -> Operand:
        is_number = value.value_kind == binding.ValueKind.constant_int
        return cls(key(value), value.name, value.get_constant_value(signed_int=True) if is_number else None)


@dataclass(frozen=True, slots=True)
class Instruction:
    key: int
    opcode: str
    operands: tuple[Operand, ...]
    text: str

    @classmethod
    def of(cls, value: Any) -> Instruction:
        return cls(key(value), value.opcode, tuple(Operand.of(each) for each in value.operands), str(value).strip())


def key(value: Any) -> int:
    return int(ctypes.cast(value._ptr, ctypes.c_void_p).value or 0)


@dataclass(slots=True)
class Function:
    """A function of the module with its graph of blocks."""

    name: str
    arguments: tuple[int, ...]
    blocks: dict[int, list[Instruction]]
    """The instructions of each block, by the block's key."""
    next: dict[int, set[int]] = field(default_factory=dict)
    by_key: dict[int, Instruction] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any) -> Function:
        blocks = {key(block): [Instruction.of(each) for each in block.instructions] for block in value.blocks}
        self = cls(value.name, tuple(key(each) for each in value.arguments), blocks)
        for block, instructions in blocks.items():
            self.next[block] = {each.key for each in instructions[-1].operands} & blocks.keys()
            self.by_key |= {each.key: each for each in instructions}
        return self

    def on_a_cycle(self, block: int, without: Set[int] = frozenset()) -> bool:
        """Whether control can come back to the block, without passing through any of some others."""
        seen, ahead = set(without), [] if block in without else list(self.next[block])
        while ahead:
            here = ahead.pop()
            if here == block:
                return True
            if here not in seen:
                seen.add(here)
                ahead += self.next[here]
        return False

    def returned_numbers(self) -> set[int]:
        """What it may return on its own account, not handed on from what it called."""
        found, seen = set[int](), set[int]()
        ahead = [value for each in self.by_key.values() if each.opcode == "ret" for value in each.operands]
        while ahead:
            value = ahead.pop()
            source = self.by_key.get(value.key)
            if value.number is not None:
                found.add(value.number)
            elif source and source.opcode in ("phi", "select") and source.key not in seen:
                seen.add(source.key)
                ahead += source.operands
        return found


class Module:
    """One function's optimised IR, with all that was inlined into it or is called by it."""

    def __init__(self, text: str) -> None:
        self.text = text
        module = binding.parse_assembly(text)
        self._names = {each.name for each in module.functions}
        self.functions = {each.name: Function.of(each) for each in module.functions if not each.is_declaration}
        self.globals = {str(each.name) for each in module.global_variables}

    def entry_point(self) -> Function:
        """What C calls."""
        (found,) = [each for name, each in self.functions.items() if name.startswith("cfunc.")]
        return found

    def body(self) -> Function:
        """The function as it was written, which the entry point wraps."""
        return self.functions[self.entry_point().name.removeprefix("cfunc.")]

    def callee(self, call: Instruction) -> str:
        """What is called; empty if it is an address."""
        name = call.operands[-1].name
        return name if name in self._names else ""

    def called(self, function: Function) -> set[str]:
        calls = (each for each in function.by_key.values() if each.opcode in ("call", "invoke"))
        return {self.callee(each) for each in calls} - {""}


@dataclass(frozen=True, slots=True)
class Origin:
    """A block, and the offset in it, None when it is not known."""

    block: str
    offset: int | None = 0

    def moved(self, by: int | None) -> Origin:
        return Origin(self.block, None if self.offset is None or by is None else self.offset + by)


UNKNOWN = Origin("?", None)


@dataclass(frozen=True, slots=True)
class Access:
    """An instruction that reads or writes memory."""

    opcode: str
    at: Origin
    text: str
    looping: bool
    """Whether it is executed again and again."""
    block: int


Pointers = Mapping[tuple[str, int | None], str]
"""The block that a pointer loaded from there points to; offset None stands for any."""


class Walk:
    """Follows a function and what it calls, once for each place that it is called from."""

    def __init__(self, module: Module, pointers: Pointers) -> None:
        self._module = module
        self._pointers = pointers

    def accesses(self, function: Function, arguments: Mapping[int, Origin], looping: bool = False) -> Iterator[Access]:
        """All reads and writes; `arguments` are origins by position."""
        origins = Origins(function, arguments, self._pointers)
        for block, instructions in function.blocks.items():
            again = looping or function.on_a_cycle(block)
            for instruction in instructions:
                yield from self._access(instruction, origins, again, block)

    def _access(self, instruction: Instruction, origins: Origins, again: bool, block: int) -> Iterator[Access]:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode in ("load", "atomicrmw", "cmpxchg"):
            yield Access(opcode, origins.of(operands[0]), instruction.text, again, block)
        elif opcode == "store":
            yield Access(opcode, origins.of(operands[1]), instruction.text, again, block)
        elif opcode in ("call", "invoke"):
            callee = self._module.functions.get(self._module.callee(instruction))
            if callee is not None:
                given = {index: origins.of(operand) for index, operand in enumerate(operands[:-1])}
                yield from self.accesses(callee, given, again)


class Origins:
    """The origins of one function's values, for one call of it."""

    def __init__(self, function: Function, arguments: Mapping[int, Origin], pointers: Pointers) -> None:
        self._pointers = pointers
        self._known = {each: arguments.get(i, UNKNOWN) for i, each in enumerate(function.arguments)}
        # Values of a loop come from each other: what is found out about one is used for the others, until all is.
        for self._settled in (False, True):
            for _ in range(MOST_ROUNDS):
                found = {key: self._find(each) for key, each in function.by_key.items()}
                if all(self._known.get(key) == origin for key, origin in found.items()):
                    break
                self._known |= found
            else:
                raise AssertionError(f"{function.name}: origins are not settled after {MOST_ROUNDS} rounds")

    def of(self, value: Operand) -> Origin:
        return self._known.get(value.key, UNKNOWN)

    def _find(self, source: Instruction) -> Origin:
        if source.opcode in SAME_ADDRESS:
            return self.of(source.operands[0])
        if source.opcode == "load":
            at = self.of(source.operands[0])
            block = self._pointers.get((at.block, at.offset)) or self._pointers.get((at.block, None))
            return Origin(block) if block else UNKNOWN
        if source.opcode in ("add", "or", "getelementptr") and len(source.operands) == 2:
            return self._sum(source.operands)
        if source.opcode in ("phi", "select"):
            return self._either(source.operands)
        return UNKNOWN

    def _sum(self, operands: tuple[Operand, ...]) -> Origin:
        """A known block plus a number, or plus an index."""
        for one, other in (operands, operands[::-1]):
            base = self.of(one)
            if base.block != "?":
                return base.moved(other.number)
        return UNKNOWN

    def _either(self, operands: Iterable[Operand]) -> Origin:
        """The block if all that is known agrees; at an unknown offset if they do not agree on that, or one is unknown
        for good: an index may have moved it."""
        origins = {self.of(each) for each in operands if each.number != 0}
        known = {origin for origin in origins if origin.block != "?"}
        blocks = {origin.block for origin in known}
        if len(known) == 1 and (origins == known or not self._settled):
            return known.pop()
        return Origin(blocks.pop(), None) if len(blocks) == 1 else UNKNOWN
