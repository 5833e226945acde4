"""Optional parts of random modules: garbage-collected objects and exceptions.

A family brings types, tags or globals of its own, locals that every function gets, and makers of expressions and
statements that join those of `generate`. References live in locals, one global and objects only, never in signatures.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from .encoding import leb, signed_leb
from .operators import F32, F64, I32, I64

if TYPE_CHECKING:
    from .generate import FunctionSource

__all__ = ["Exceptions", "Family", "References"]

MakeExpression = Callable[["FunctionSource", int, int], bytes | None]
MakeStatement = Callable[["FunctionSource", int], bytes]


class Family:
    """Adds nothing."""

    types: list[bytes] = []
    """Encoded types, which come before all function types."""
    globals: list[bytes] = []
    """Encoded globals, which come after the numeric ones."""
    tags: list[tuple[int, ...]] = []
    """Parameters of tags."""

    memories: list[bytes] = []
    """Encoded memories, which come after the first; exported as `m1`, `m2` ..."""
    tables: list[bytes] = []
    """Encoded tables, which come after the first."""

    def elements(self, functions: int) -> list[bytes]:
        """Encoded element segments, for that many functions."""
        return []

    def begin(self, function: FunctionSource) -> bytes:
        """Adds locals; gives code that the function starts with."""
        return b""

    def expressions(self) -> list[MakeExpression]:
        return []

    def statements(self) -> list[MakeStatement]:
        return []


def small(value: int) -> bytes:
    return b"\x41" + signed_leb(value)


_STORAGE = (I32, I64, F32, F64, 0x78, 0x77)  # the last two: i8, i16
_BYTES = {I32: 4, I64: 8, F32: 4, F64: 8, 0x78: 1, 0x77: 2}
_LENGTH = 8


def _unpacked(storage: int) -> int:
    return I32 if storage in (0x78, 0x77) else storage


class References(Family):
    """Two struct types, one a subtype of the other, an array of numbers and one of references; i31."""

    PARENT, CHILD, NUMBERS, ANYTHING = range(4)
    _HEAP_TYPES = (b"\x00", b"\x01", b"\x02", b"\x03", b"\x6c", b"\x6b", b"\x6a", b"\x6d", b"\x71")

    def __init__(self, rng: random.Random, numeric_globals: int) -> None:
        self.rng = rng
        self.parent = rng.choices(_STORAGE, k=rng.randrange(1, 5))
        self.child = [*self.parent, *rng.choices(_STORAGE, k=rng.randrange(1, 3))]
        self.element = rng.choice(_STORAGE)
        self.link = len(self.parent)
        """The last field of the parent: another one of its kind, or null."""
        link, link_index = b"\x63\x00\x01", self.link
        fields = [bytes([storage, 1]) for storage in self.parent]
        more = [bytes([storage, 1]) for storage in self.child[link_index:]]
        self.types = [
            b"\x50\x00\x5f" + leb(len(fields) + 1) + b"".join(fields) + link,
            b"\x50\x01\x00\x5f" + leb(len(fields) + 1 + len(more)) + b"".join(fields) + link + b"".join(more),
            b"\x5e" + bytes([self.element, 1]),
            b"\x5e\x6d\x01",
        ]
        self.globals = [b"\x63\x00\x01\xd0\x00\x0b"]
        self.kept = leb(numeric_globals)

    def begin(self, function: FunctionSource) -> bytes:
        for name, kind in (("struct", b"\x63\x00"), ("array", b"\x63\x02"), ("all", b"\x63\x03"), ("any", b"\x6d")):
            function.references[name] = leb(function.new_local(kind))
        if self.rng.random() < 0.05:
            return b""  # null references, then
        code = (
            b"\xfb\x01\x01"
            + self.put(function, "struct")
            + small(_LENGTH)
            + b"\xfb\x07\x02"
            + self.put(function, "array")
        )
        return code + small(_LENGTH) + b"\xfb\x07\x03" + self.put(function, "all")

    def get(self, function: FunctionSource, name: str) -> bytes:
        return b"\x20" + function.references[name]

    def put(self, function: FunctionSource, name: str) -> bytes:
        return b"\x21" + function.references[name]

    def expressions(self) -> list[MakeExpression]:
        return [self.read_field, self.read_child, self.read_element, self.ask, self.through_i31]

    def statements(self) -> list[MakeStatement]:
        return [
            self.set_struct,
            self.set_array,
            self.set_any,
            self.write_field,
            self.write_element,
            self.in_bulk,
            self.keep,
        ]

    # ---- expressions

    def _field(self, kind: int, fields: list[int], first: int = 0) -> int | None:
        fits = [i for i, storage in enumerate(fields) if _unpacked(storage) == kind and i >= first]
        return self.rng.choice(fits) if fits else None

    def _read(self, struct: int, field: int, storage: int) -> bytes:
        code = self.rng.choice((3, 4)) if storage in (0x78, 0x77) else 2
        position = field if field < self.link else field + 1
        return b"\xfb" + bytes([code, struct]) + leb(position)

    def read_field(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        field = self._field(kind, self.parent)
        if field is None:
            return None
        return self.get(function, "struct") + self._read(self.PARENT, field, self.parent[field])

    def read_child(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        """A field that only the subtype has, if the object is one, and something else if not."""
        field = self._field(kind, self.child, self.link)
        if field is None:
            return None
        code = b"\x02" + bytes([kind]) + b"\x02\x63\x00" + self.get(function, "struct")
        code += b"\xfb\x19\x01\x00\x00\x01" + self._read(self.CHILD, field, self.child[field]) + b"\x0c\x01\x0b\x1a"
        function.labels.append((kind,))
        code += function.expression(kind, depth)
        function.labels.pop()
        return code + b"\x0b"

    def index(self, function: FunctionSource, depth: int, mask: int = _LENGTH - 1) -> bytes:
        return function.expression(I32, depth) + small(mask) + b"\x71"

    def read_element(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        if _unpacked(self.element) != kind:
            return None
        code = self.rng.choice((0x0C, 0x0D)) if self.element in (0x78, 0x77) else 0x0B
        return self.get(function, "array") + self.index(function, depth) + b"\xfb" + bytes([code, self.NUMBERS])

    def ask(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        if kind != I32:
            return None
        match self.rng.randrange(4):
            case 0:
                return self.get(function, "array") + b"\xfb\x0f"
            case 1:
                return self.get(function, "any") + self.get(function, "struct") + b"\xd3"
            case 2:
                return self.get(function, self.rng.choice(("any", "struct", "all"))) + b"\xd1"
        test = self.rng.choice((b"\xfb\x14", b"\xfb\x15"))
        return self.any_value(function, depth) + test + self.rng.choice(self._HEAP_TYPES)

    def through_i31(self, function: FunctionSource, kind: int, depth: int) -> bytes | None:
        if kind != I32:
            return None
        return function.expression(I32, depth) + b"\xfb\x1c" + self.rng.choice((b"\xfb\x1d", b"\xfb\x1e"))

    # ---- references

    def struct_value(self, function: FunctionSource, depth: int) -> bytes:
        struct = self.rng.choice((self.PARENT, self.CHILD))
        match self.rng.randrange(4):
            case 0:
                return b"\xfb\x01" + bytes([struct])
            case 1:
                return b"\x23" + self.kept
            case 2:
                return self.get(function, "struct")
        fields = self.parent if struct == self.PARENT else self.child
        parts = [function.expression(_unpacked(storage), depth - 1) for storage in fields]
        parts.insert(self.link, self.get(function, "struct"))
        return b"".join(parts) + b"\xfb\x00" + bytes([struct])

    def array_value(self, function: FunctionSource, depth: int) -> bytes:
        kind = _unpacked(self.element)
        match self.rng.randrange(4):
            case 0:
                return function.expression(kind, depth) + small(_LENGTH) + b"\xfb\x06\x02"
            case 1:
                return b"".join(function.leaf(kind) for _ in range(_LENGTH)) + b"\xfb\x08\x02" + leb(_LENGTH)
            case 2:
                return small(0) + small(16 // _BYTES[self.element]) + b"\xfb\x09\x02\x01"
        return small(_LENGTH) + b"\xfb\x07\x02"

    def any_value(self, function: FunctionSource, depth: int) -> bytes:
        match self.rng.randrange(7):
            case 0:
                return function.expression(I32, depth) + b"\xfb\x1c"
            case 1:
                return b"\xd0\x71"
            case 2:
                return self.get(function, "all") + self.index(function, depth) + b"\xfb\x0b\x03"
            case 3:
                return self.struct_value(function, depth)
        return self.get(function, self.rng.choice(("any", "struct", "array", "all")))

    # ---- statements

    def set_struct(self, function: FunctionSource, depth: int) -> bytes:
        if self.rng.random() < 0.9:
            return self.struct_value(function, depth) + self.put(function, "struct")
        cast = self.rng.choice((b"\xfb\x16", b"\xfb\x17"))
        return self.get(function, "any") + cast + self.rng.choice((b"\x00", b"\x01")) + self.put(function, "struct")

    def set_array(self, function: FunctionSource, depth: int) -> bytes:
        return self.array_value(function, depth) + self.put(function, "array")

    def set_any(self, function: FunctionSource, depth: int) -> bytes:
        return self.any_value(function, depth) + self.put(function, "any")

    def write_field(self, function: FunctionSource, depth: int) -> bytes:
        if self.rng.random() < 0.3:
            link = self.struct_value(function, depth)
            return self.get(function, "struct") + link + b"\xfb\x05\x00" + leb(self.link)
        field = self.rng.randrange(len(self.parent))
        value = function.expression(_unpacked(self.parent[field]), depth)
        return self.get(function, "struct") + value + b"\xfb\x05\x00" + leb(field)

    def write_element(self, function: FunctionSource, depth: int) -> bytes:
        if self.rng.random() < 0.4:
            value = self.any_value(function, depth)
            return self.get(function, "all") + self.index(function, depth) + value + b"\xfb\x0e\x03"
        value = function.expression(_unpacked(self.element), depth)
        return self.get(function, "array") + self.index(function, depth) + value + b"\xfb\x0e\x02"

    def in_bulk(self, function: FunctionSource, depth: int) -> bytes:
        count, near = small(self.rng.randrange(4)), self.index(function, depth, 3)
        match self.rng.randrange(4):
            case 0:
                value = function.expression(_unpacked(self.element), depth)
                return self.get(function, "array") + near + value + count + b"\xfb\x10\x02"
            case 1:
                source = self.get(function, "array") + self.index(function, depth, 3)
                return self.get(function, "array") + near + source + count + b"\xfb\x11\x02\x02"
            case 2:
                source = self.get(function, "all") + self.index(function, depth, 3)
                return self.get(function, "all") + near + source + count + b"\xfb\x11\x03\x03"
        few = small(self.rng.randrange(2))
        return self.get(function, "array") + near + small(0) + few + b"\xfb\x12\x02\x01"

    def keep(self, function: FunctionSource, depth: int) -> bytes:
        return self.get(function, "struct") + b"\x24" + self.kept


class Exceptions(Family):
    """Two tags, thrown at times and caught in every way."""

    tags = [(I32,), (F64, I64)]

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def expressions(self) -> list[MakeExpression]:
        return [self.catch_one, self.catch_all]

    def statements(self) -> list[MakeStatement]:
        return [self.throw]

    def throw(self, function: FunctionSource, depth: int) -> bytes:
        tag = self.rng.randrange(len(self.tags))
        code = function.expression(I32, depth) + small(15) + b"\x71\x45\x04\x40"
        function.labels.append(())
        code += b"".join(function.expression(kind, depth - 1) for kind in self.tags[tag])
        function.labels.pop()
        return code + b"\x08" + leb(tag) + b"\x0b"

    def _body(self, function: FunctionSource, kind: int, depth: int, outer: int) -> bytes:
        """Statements and a value inside of `outer` blocks and the `try_table`, which branches leave like blocks."""
        function.labels += [None] * outer  # their results are of other types
        code = function.body((kind,), (kind,), depth)
        del function.labels[len(function.labels) - outer :]
        return code

    def catch_one(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        """`block kind (block i32 (try_table kind (catch 0 0) ...) br 1) -> something of the payload`."""
        function.labels.append((kind,))
        code = b"\x02" + bytes([kind]) + b"\x02\x7f" + b"\x1f" + bytes([kind]) + b"\x01\x00\x00\x00"
        code += self._body(function, kind, depth, 1) + b"\x0b\x0c\x01\x0b"
        local = function.local_of(I32)
        code += (b"\x1a" if local is None else b"\x21" + leb(local)) + function.expression(kind, depth - 1)
        function.labels.pop()
        return code + b"\x0b"

    def catch_all(self, function: FunctionSource, kind: int, depth: int) -> bytes:
        """All of them, sometimes thrown again: `catch_all_ref` with `throw_ref`, or plain `catch_all`."""
        function.labels.append((kind,))
        if self.rng.random() < 0.5:
            code = b"\x02" + bytes([kind]) + b"\x02\x69" + b"\x1f" + bytes([kind]) + b"\x01\x03\x00"
            code += self._body(function, kind, depth, 1) + b"\x0b\x0c\x01\x0b"
            scratch = leb(function.new_local(b"\x69"))
            code += b"\x21" + scratch + function.expression(I32, 1) + small(7) + b"\x71\x45\x04\x40"
            code += b"\x20" + scratch + b"\x0a\x0b" + function.expression(kind, depth - 1)
        else:
            code = b"\x02" + bytes([kind]) + b"\x02\x40" + b"\x1f" + bytes([kind]) + b"\x01\x02\x00"
            code += self._body(function, kind, depth, 1) + b"\x0b\x0c\x01\x0b" + function.expression(kind, depth - 1)
        function.labels.pop()
        return code + b"\x0b"
