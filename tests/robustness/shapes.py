"""A family of random modules of what the interpreter's translator has rules for: where values lie when control joins, and large immediates.

Operands wait below structured instructions that assign the locals they were read from; loops are entered with operands and carry
parameters in another order; branches, tables of them included, carry values; both arms of an `if` take parameters.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from .encoding import leb, vector
from .families import Family, MakeExpression, MakeStatement, small
from .operators import F32, F64, I32, I64, LOADS, STORES, V128

if TYPE_CHECKING:
    from .generate import FunctionSource

__all__ = ["Shapes"]

_FOLD: Final = {I32: b"\x6b", I64: b"\x7d", F32: b"\x98", F64: b"\xa6", V128: b"\xfd\x51"}
"""What makes one of two, without making a NaN: sub, copysign, xor."""
_FAR: Final = (0xFFFF, 0x1_0000, 0x1_0001, 0x1_8000, 0x2_FFF8, 0x7FFF_FFFF, 0xFFFF_FF00)
_COMPARISONS: Final = range(0x45, 0x50)
"""Of i32s, `eqz` first."""


class Shapes(Family):
    """Expressions and statements of numbers only."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def expressions(self) -> list[MakeExpression]:
        return [self.wait, self.carry, self.carry, self.choose, self.arms, self.arms, self.far_load, self.constants]

    def statements(self) -> list[MakeStatement]:
        return [self.swap, self.leave_early, self.compare, self.dead, self.far_store, self.junk_below]

    def _local(self, function: FunctionSource, kind: int) -> bytes:
        local = function.local_of(kind)
        return leb(function.new_local(kind) if local is None else local)

    def _below(self, function: FunctionSource, kind: int, count: int) -> bytes:
        """`count` operands, locals for the most part."""
        return b"".join(
            b"\x20" + self._local(function, kind) if self.rng.random() < 0.8 else function.leaf(kind)
            for _ in range(count)
        )

    def _assign(self, function: FunctionSource, kind: int) -> bytes:
        return function.leaf(kind) + b"\x21" + self._local(function, kind)

    # ---- expressions

    def wait(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        """Operands below a block, an `if` or a loop in which their locals change."""
        count = self.rng.randrange(1, 4)
        code = self._below(function, kind, count)
        plain = (function.block, function.conditional, function.loop, function.wide_block)
        pick = self.rng.randrange(6)
        if pick < 4:
            code += plain[pick](kind, depth - 1)
        else:
            code += (self.carry, self.arms)[pick - 4](function, kind, depth - 1)
        return code + _FOLD[kind] * count

    def carry(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        """A loop with parameters over operands; what the branch back carries are locals, in an order that changes."""
        from .generate import spend

        below, width = self.rng.randrange(4), self.rng.randrange(1, 4)
        types = (kind,) * width
        code = self._below(function, kind, below) + self._below(function, kind, width)
        code += b"\x03" + function.module.block_type(types, types)
        function.labels.append(None)
        code += b"".join(function.statement(depth - 1) for _ in range(self.rng.randrange(3)))
        for _ in range(self.rng.randrange(3)):
            code += function.expression(kind, depth - 1) + _FOLD[kind]
        if self.rng.random() < 0.7:
            places = [self._local(function, kind) for _ in types]
            code += b"".join(b"\x21" + place for place in places)
            self.rng.shuffle(places)
            code += b"".join(b"\x20" + place for place in places)
        code += function.expression(I32, depth - 1) + spend() + b"\x45\x71\x0d\x00"
        function.labels.pop()
        return code + b"\x0b" + _FOLD[kind] * (below + width - 1)

    def choose(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        """Nested blocks with a result, one of which a `br_table` with a value leaves."""
        arms = self.rng.randrange(1, 5)
        below = self.rng.randrange(3)
        code = self._below(function, kind, below) + (b"\x02" + bytes([kind])) * arms
        function.labels += [(kind,)] * arms
        code += (
            self._below(function, kind, self.rng.randrange(2))
            + function.expression(kind, depth)
            + function.expression(I32, depth - 1)
        )
        code += small(7) + b"\x71"
        targets = [leb(self.rng.randrange(arms)) for _ in range(self.rng.randrange(7))]
        code += b"\x0e" + vector(targets) + leb(self.rng.randrange(arms))
        for _ in range(arms):
            function.labels.pop()
            code += b"\x0b"
            if self.rng.random() < 0.5:
                code += self._assign(function, kind)
            code += function.leaf(kind) + _FOLD[kind]
        return code + _FOLD[kind] * below

    def arms(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        """An `if` with parameters and results, over operands."""
        below, width = self.rng.randrange(3), self.rng.randrange(1, 3)
        types = (kind,) * width
        code = self._below(function, kind, below) + self._below(function, kind, width)
        condition = function.expression(I32, depth - 1) if self.rng.random() < 0.5 else self._comparison(function)
        code += condition + b"\x04" + function.module.block_type(types, types)
        for arm in range(self.rng.choice((1, 2, 2, 2))):
            function.labels.append(types)
            code += b"\x05" * arm
            code += b"".join(function.statement(depth - 1) for _ in range(self.rng.randrange(2)))
            pick = self.rng.random()
            if pick < 0.3 and depth > 0:
                code += self.arms(function, kind, depth - 1) + _FOLD[kind]
            elif pick < 0.6:
                code += self._assign(function, kind) + function.expression(kind, depth - 1) + _FOLD[kind]
            elif pick < 0.8:
                code += self._below(function, kind, width) + self._comparison(function) + b"\x0d\x00" + b"\x1a" * width
            elif pick < 0.9:
                code += self._below(function, kind, width) + b"\x0c\x00"
            function.labels.pop()
        return code + b"\x0b" + _FOLD[kind] * (below + width - 1)

    def constants(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        """More constants than an activation keeps in slots."""
        from .generate import constant

        if self.rng.random() < 0.95 or function.size > 200:
            return None
        function.size += 150
        count = self.rng.randrange(60, 200)
        return constant(self.rng, kind) + b"".join(
            (small(self.rng.getrandbits(31)) if kind == I32 else constant(self.rng, kind)) + _FOLD[kind]
            for _ in range(count)
        )

    def _far_address(self, function: FunctionSource, depth: int) -> bytes:
        grow = small(1) + b"\x40\x00\x1a" if self.rng.random() < 0.5 else b""
        address = function.expression(I32, depth)
        return grow + (address if self.rng.random() < 0.2 else address + small(0xFF) + b"\x71")

    def _far_argument(self, natural: int) -> bytes:
        return leb(self.rng.randrange(natural + 1)) + leb(self.rng.choice(_FAR))

    def far_load(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        """A load whose offset has more than 16 bits."""
        if self.rng.random() < 0.6 or kind == V128:
            return None
        code, natural = self.rng.choice(LOADS[kind])
        return self._far_address(function, depth) + bytes([code]) + self._far_argument(natural)

    # ---- statements

    def far_store(self, function: FunctionSource, depth: int) -> bytes:
        if self.rng.random() < 0.6 or depth <= 0:
            return self.swap(function, depth)
        kind = self.rng.choice((I32, I64, F32, F64))
        code, natural = self.rng.choice(STORES[kind])
        return (
            self._far_address(function, depth)
            + function.expression(kind, depth)
            + bytes([code])
            + self._far_argument(natural)
        )

    def swap(self, function: FunctionSource, depth: int) -> bytes:
        """Locals read before they are written, in an order that changes."""
        kind = self.rng.choice((I32, I64, F32, F64))
        places = [self._local(function, kind) for _ in range(self.rng.randrange(1, 4))]
        code = b"".join(b"\x20" + place for place in places)
        self.rng.shuffle(places)
        for i, place in enumerate(places):
            last = i == len(places) - 1
            code += b"" if last else function.leaf(kind) + _FOLD[kind] if self.rng.random() < 0.3 else b""
            code += b"\x22" + place + b"\x21" + place if self.rng.random() < 0.3 else b"\x21" + place
        return code

    def leave_early(self, function: FunctionSource, depth: int) -> bytes:
        """`return` or `br_if` out of everything, over operands that nobody wants."""
        if depth <= 0:
            return self.swap(function, depth)
        results = function.signature.results
        if self.rng.random() < 0.7:
            values = b"".join(self._below(function, kind, 1) for kind in results)
            code = self._below(function, I32, 1) + values + self._comparison(function)
            return code + b"\x0d" + leb(len(function.labels) - 1) + b"\x1a" * (len(results) + 1)
        code = self._comparison(function) + small(15) + b"\x71\x04\x40"
        function.labels.append(())
        code += self._below(function, I64, self.rng.randrange(3)) + b"".join(
            function.expression(kind, depth - 1) for kind in results
        )
        function.labels.pop()
        return code + b"\x0f\x0b"

    def _comparison(self, function: FunctionSource) -> bytes:
        """A comparison of i32s, most of which become one with the branch on them."""
        code = b"".join(self._below(function, I32, 1) for _ in range(2))
        pick = self.rng.choice(_COMPARISONS)
        code += bytes([pick]) if pick > _COMPARISONS[0] else b"\x6b\x45"
        return code + b"\x45" * self.rng.choice((0, 0, 1, 2))

    def compare(self, function: FunctionSource, depth: int) -> bytes:
        """A branch over statements on a comparison, whose operand may be assigned at the same time."""
        if depth <= 0:
            return self.swap(function, depth)
        code = b"\x02\x40" + self._comparison(function)
        if self.rng.random() < 0.3:
            code += b"\x22" + self._local(function, I32)
        code += b"\x0d\x00"
        function.labels.append(())
        code += b"".join(function.statement(depth - 1) for _ in range(self.rng.randrange(1, 3)))
        function.labels.pop()
        return code + b"\x0b"

    def dead(self, function: FunctionSource, depth: int) -> bytes:
        """Code that cannot be reached, with structure in it."""
        if depth <= 0:
            return self.swap(function, depth)
        code = b"\x02\x40\x0c\x00"
        function.labels.append(())
        code += b"".join(function.statement(depth - 1) for _ in range(self.rng.randrange(1, 3)))
        if self.rng.random() < 0.3:
            code += b"\x04\x40\x01\x05\x0c\x01\x0b"  # an `if` whose condition is nowhere
        function.labels.pop()
        return code + b"\x0b"

    def junk_below(self, function: FunctionSource, depth: int) -> bytes:
        """A statement over operands of all kinds, the first of which is looked at afterwards."""
        if depth <= 0:
            return self.swap(function, depth)
        kinds = self.rng.choices((I32, I64, F32, F64), k=self.rng.randrange(1, 5))
        code = b"".join(self._below(function, kind, 1) for kind in kinds)
        code += function.statement(depth - 1)
        return code + b"\x1a" * (len(kinds) - 1) + b"\x21" + self._local(function, kinds[0])
