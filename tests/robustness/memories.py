"""A family of random modules with three memories, one of them with 64-bit addresses, and atomic accesses to all."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .encoding import leb, signed_leb
from .families import Family, MakeExpression, MakeStatement, small
from .operators import I32, I64, LOADS, STORES, V128

if TYPE_CHECKING:
    from .generate import FunctionSource

__all__ = ["Memories"]

_WIDE = 2
"""The memory with 64-bit addresses."""
_ACCESSES = ((I32, 2), (I64, 3), (I32, 0), (I32, 1), (I64, 0), (I64, 1), (I64, 2))
"""(type, log2 of the size) of the atomic instructions that follow each other in every group."""
_ATOMIC_LOADS, _ATOMIC_STORES, _ATOMIC_GROUPS, _COMPARE = 0x10, 0x17, range(0x1E, 0x48, 7), 0x48
_FAR = (0xFFFF_FFFF, 1 << 32, 1 << 47, 1 << 63, (1 << 64) - 8, (1 << 64) - 1)


class Memories(Family):
    """Loads, stores, bulk and atomic instructions with memory indices, offsets up to the last one."""

    memories = [b"\x01\x01\x03", b"\x05\x01\x03"]

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def expressions(self) -> list[MakeExpression]:
        return [self.load, self.load, self.atomic_load, self.modify, self.exchange, self.size, self.wide_arithmetic]

    def statements(self) -> list[MakeStatement]:
        return [self.store, self.store, self.atomic_store, self.copy, self.fill, self.initialise, self.fence]

    def pick(self) -> int:
        return self.rng.randrange(len(self.memories) + 1)

    def address(self, function: FunctionSource, memory: int, depth: int, mask: int = 0x7FFF) -> bytes:
        near = self.rng.random() < 0.97
        if memory == _WIDE:
            code = function.expression(I64, depth)
            return code + (b"\x42" + signed_leb(mask) + b"\x83" if near else b"")
        code = function.expression(I32, depth)
        return code + (b"\x41" + signed_leb(mask) + b"\x71" if near else b"")

    def argument(self, memory: int, align: int, step: int = 1) -> bytes:
        offset = self.rng.choice((0, 0, 0, 1, 8, 104, 0x7000)) * step
        if self.rng.random() < 0.02:
            offset = self.rng.choice(_FAR) if memory == _WIDE else 0xFFFF_FFFF
        if memory == 0 and self.rng.random() < 0.5:
            return leb(align) + leb(offset)
        return leb(align | 0x40) + leb(memory) + leb(offset)

    def count(self, memory: int, most: int) -> bytes:
        return (b"\x42" if memory == _WIDE else b"\x41") + signed_leb(self.rng.randrange(most))

    # ---- expressions

    def load(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        memory = self.pick()
        place = self.address(function, memory, depth)
        if kind == V128:
            return place + b"\xfd\x00" + self.argument(memory, self.rng.randrange(5))
        code, natural = self.rng.choice(LOADS[kind])
        return place + bytes([code]) + self.argument(memory, self.rng.randrange(natural + 1))

    def _atomic(self, function: FunctionSource, kind: int, first: int, operands: int, depth: int) -> bytes | None:
        """One of the instructions of a group that give `kind`, with its operands."""
        fits = [n for n, access in enumerate(_ACCESSES) if access[0] == kind]
        if not fits:
            return None
        n = self.rng.choice(fits)
        memory, log2 = self.pick(), _ACCESSES[n][1]
        unaligned = self.rng.random() < 0.01
        code = self.address(function, memory, depth, 0x7FFF if unaligned else 0x7FFF >> log2 << log2)
        code += b"".join(function.expression(kind, depth) for _ in range(operands))
        return code + b"\xfe" + leb(first + n) + self.argument(memory, log2, 8)

    def atomic_load(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        return self._atomic(function, kind, _ATOMIC_LOADS, 0, depth)

    def modify(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        return self._atomic(function, kind, self.rng.choice(_ATOMIC_GROUPS), 1, depth)

    def exchange(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        return self._atomic(function, kind, _COMPARE, 2, depth)

    def size(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        memory = _WIDE if kind == I64 else self.rng.randrange(_WIDE)
        if kind not in (I32, I64):
            return None
        match self.rng.randrange(3):
            case 0:
                return b"\x3f" + leb(memory)
            case 1:
                return self.count(memory, 3) + b"\x40" + leb(memory)
        if kind != I32:
            return None
        place = self.address(function, memory, depth, 0x7FFC)
        return place + function.expression(I32, depth) + b"\xfe\x00" + self.argument(memory, 2, 8)  # notify nobody

    def wide_arithmetic(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        if kind != I64:
            return None
        code = self.rng.choice((0x13, 0x14, 0x15, 0x16))
        operands = b"".join(function.expression(I64, depth) for _ in range(4 if code < 0x15 else 2))
        return operands + b"\xfc" + bytes([code]) + self.rng.choice((b"\x1a", b"\x85", b"\x7c"))

    # ---- statements

    def store(self, function: FunctionSource, depth: int) -> bytes:
        memory = self.pick()
        kind = self.rng.choice(function.module.kinds)
        code = self.address(function, memory, depth) + function.expression(kind, depth)
        if kind == V128:
            return code + b"\xfd\x0b" + self.argument(memory, self.rng.randrange(5))
        opcode, natural = self.rng.choice(STORES[kind])
        return code + bytes([opcode]) + self.argument(memory, self.rng.randrange(natural + 1))

    def atomic_store(self, function: FunctionSource, depth: int) -> bytes:
        code = self._atomic(function, self.rng.choice((I32, I64)), _ATOMIC_STORES, 1, depth)
        assert code is not None
        return code

    def copy(self, function: FunctionSource, depth: int) -> bytes:
        to, source = self.pick(), self.pick()
        code = self.address(function, to, depth) + self.address(function, source, depth)
        return code + self.count(min(to, source), 100) + b"\xfc\x0a" + leb(to) + leb(source)

    def fill(self, function: FunctionSource, depth: int) -> bytes:
        memory = self.pick()
        code = self.address(function, memory, depth) + function.expression(I32, depth)
        return code + self.count(memory, 100) + b"\xfc\x0b" + leb(memory)

    def initialise(self, function: FunctionSource, depth: int) -> bytes:
        memory = self.pick()
        return (
            self.address(function, memory, depth)
            + small(0)
            + small(self.rng.randrange(16))
            + b"\xfc\x08\x01"
            + leb(memory)
        )

    def fence(self, function: FunctionSource, depth: int) -> bytes:
        return b"\xfe\x03\x00"
