"""A family of random modules with calls through references and a table of 64-bit indices, tail calls, and loops that carry values."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .encoding import leb, signed_leb, vector
from .families import Family, MakeExpression, MakeStatement, small
from .operators import I32

if TYPE_CHECKING:
    from .generate import FunctionSource

__all__ = ["Transfers"]

_TABLE = b"\x01"
_SIZE, _MOST = 8, 12


def _index(value: int) -> bytes:
    return b"\x42" + signed_leb(value)


class Transfers(Family):
    """Table 1 is of `funcref`, with 64-bit indices; slot i holds function i at first."""

    tables = [b"\x70\x05" + leb(_SIZE) + leb(_MOST)]

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def elements(self, functions: int) -> list[bytes]:
        return [b"\x02\x01\x42\x00\x0b\x00" + vector([leb(i) for i in range(min(functions, _SIZE))])]

    def expressions(self) -> list[MakeExpression]:
        return [self.call_reference, self.call_through_table, self.carry, self.carry, self.ask, self.null_or_not]

    def statements(self) -> list[MakeStatement]:
        return [self.leave, self.change_table, self.dispatch]

    def _callee(self, function: FunctionSource, kind: int) -> int | None:
        fits = [i for i, other in enumerate(function.module.functions) if other.results[:1] == (kind,)]
        return self.rng.choice(fits) if fits else None

    def _arguments(self, function: FunctionSource, target: int, depth: int) -> bytes:
        return b"".join(function.expression(param, depth) for param in function.module.functions[target].params)

    def _type(self, function: FunctionSource, target: int) -> int:
        return function.module.type_index(function.module.functions[target])

    def _slot(self, target: int) -> bytes:
        return _index(target % _SIZE if self.rng.random() < 0.97 else self.rng.choice((9, 1 << 32, -1)))

    # ---- expressions

    def call_reference(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        target = self._callee(function, kind)
        if target is None:
            return None
        type_ = self._type(function, target)
        null = self.rng.random() < 0.01
        reference = b"\xd0" + signed_leb(type_) if null else b"\xd2" + leb(target)
        code = self._arguments(function, target, depth) + reference + b"\x14" + leb(type_)
        return code + b"\x1a" * (len(function.module.functions[target].results) - 1)

    def call_through_table(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        target = self._callee(function, kind)
        if target is None:
            return None
        code = self._arguments(function, target, depth) + self._slot(target)
        if self.rng.random() < 0.5:
            code += b"\x11" + leb(self._type(function, target)) + _TABLE
        else:  # the table's element, cast
            type_ = self._type(function, target)
            code += b"\x25" + _TABLE + b"\xfb\x16" + signed_leb(type_) + b"\x14" + leb(type_)
        return code + b"\x1a" * (len(function.module.functions[target].results) - 1)

    def carry(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        """A loop whose parameters are given anew by the branch back."""
        from .generate import spend

        extra = tuple(self.rng.choices(function.module.kinds, k=self.rng.randrange(3)))
        types = (kind, *extra)
        code = b"".join(function.expression(one, depth) for one in types)
        code += b"\x03" + function.module.block_type(types, types)
        function.labels.append(None)
        for one in reversed(types):
            local = function.local_of(one)
            code += b"\x1a" if local is None else b"\x21" + leb(local)
        code += b"".join(function.statement(depth - 1) for _ in range(self.rng.randrange(3)))
        code += b"".join(function.expression(one, depth - 1) for one in types)
        code += function.expression(I32, depth - 1) + spend() + b"\x45\x71\x0d\x00"
        function.labels.pop()
        return code + b"\x0b" + b"\x1a" * len(extra)

    def ask(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        if kind != I32:
            return None
        match self.rng.randrange(3):
            case 0:
                return b"\xfc\x10" + _TABLE + b"\xa7"
            case 1:
                return _index(self.rng.randrange(_SIZE)) + b"\x25" + _TABLE + b"\xd1"
        target = self.rng.randrange(len(function.module.functions))
        reference = self.rng.choice((b"\xd2" + leb(target), b"\xd0\x70"))
        return reference + _index(self.rng.randrange(2)) + b"\xfc\x0f" + _TABLE + b"\xa7"  # table.grow

    def null_or_not(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        """A call if a slot holds something of the type, else something different: `br_on_null`, `br_on_cast_fail`."""
        target = self._callee(function, kind)
        if target is None:
            return None
        type_ = self._type(function, target)
        slot = _index(self.rng.randrange(_SIZE)) + b"\x25" + _TABLE
        code = b"\x02" + bytes([kind])
        function.labels.append((kind,))
        if self.rng.random() < 0.5:
            code += b"\x02\x40" + slot + b"\xd5\x00\x1a"
            function.labels.append(())
            code += function.expression(kind, depth)
            function.labels.pop()
            code += b"\x0c\x01\x0b"
        else:
            code += b"\x02\x70" + slot + b"\xfb\x19\x01\x00\x70" + signed_leb(type_)
            scratch = leb(function.new_local(b"\x63" + signed_leb(type_)))
            code += b"\x21" + scratch
            function.labels.append(None)
            code += self._arguments(function, target, depth) + b"\x20" + scratch + b"\x14" + leb(type_)
            function.labels.pop()
            code += b"\x1a" * (len(function.module.functions[target].results) - 1) + b"\x0c\x01\x0b\x1a"
        code += function.expression(kind, depth)
        function.labels.pop()
        return code + b"\x0b"

    # ---- statements

    def leave(self, function: FunctionSource, depth: int) -> bytes:
        """Sometimes, a tail call of every kind."""
        fits = [i for i, other in enumerate(function.module.functions) if other.results == function.signature.results]
        target = self.rng.choice(fits)
        code = function.expression(I32, depth) + small(7) + b"\x71\x45\x04\x40"
        function.labels.append(())
        code += self._arguments(function, target, depth - 1)
        function.labels.pop()
        match self.rng.randrange(3):
            case 0:
                code += b"\x12" + leb(target)
            case 1:
                code += self._slot(target) + b"\x13" + leb(self._type(function, target)) + _TABLE
            case 2:
                code += b"\xd2" + leb(target) + b"\x15" + leb(self._type(function, target))
        return code + b"\x0b"

    def change_table(self, function: FunctionSource, depth: int) -> bytes:
        count = len(function.module.functions)
        slot = self.rng.randrange(min(_SIZE, count))
        match self.rng.randrange(4):
            case 0:
                return _index(slot) + b"\xd2" + leb(slot) + b"\x26" + _TABLE
            case 1:  # fill: a slot that had nothing, or null for a moment
                return _index(_SIZE - 1) + b"\xd0\x70" + _index(self.rng.randrange(2)) + b"\xfc\x11" + _TABLE
            case 2:
                return _index(slot) + small(slot) + small(1) + b"\xfc\x0e\x01\x00"  # copy from the other table
        return _index(0) + small(0) + small(self.rng.randrange(2)) + b"\xfc\x0c\x02" + _TABLE  # init

    def dispatch(self, function: FunctionSource, depth: int) -> bytes:
        """A loop around nested blocks that a `br_table` enters, as interpreters have it."""
        from .generate import spend

        arms = self.rng.randrange(2, 6)
        code = b"\x02\x40\x03\x40" + spend() + b"\x0d\x01" + b"\x02\x40" * arms
        function.labels += [(), None]
        targets = [leb(self.rng.randrange(arms)) for _ in range(self.rng.randrange(1, 9))]
        # Inside of all, labels 0 ... arms - 1 are the blocks, arms is the loop, arms + 1 what is around it.
        function.labels += [()] * arms
        code += function.expression(I32, depth) + small(7) + b"\x71"
        code += b"\x0e" + vector(targets) + leb(arms + 1)
        for arm in range(arms):
            function.labels.pop()
            code += b"\x0b" + b"".join(function.statement(depth - 1) for _ in range(self.rng.randrange(1, 3)))
            if self.rng.random() < 0.6:
                code += b"\x0c" + leb(arms - 1 - arm)  # round again
        function.labels.pop()
        function.labels.pop()
        return code + b"\x0b\x0b"
