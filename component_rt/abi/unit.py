"""One unit of generated code: the source of a factory `bind(cx)` that closes over a lifting and lowering context."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from itertools import pairwise
from typing import Any

from component_rt import types as t
from component_rt.abi import convert
from component_rt.abi.blocks import Block
from component_rt.abi.mismatch import Mismatch
from component_rt.abi.source import Source, compile_source
from component_rt.values import Err, Ok, Some
from core_rt.errors import Trap, TrapCode

__all__ = ["MAX_LIFTED", "MemoryRun", "Unit", "over_budget"]

MAX_LIFTED = 1 << 30
"""Bytes of lists and strings that one call may carry where lists hold lists or strings.

Elements may overlap in memory: three levels of lists that share their bytes are enough to ask for petabytes.
"""
OUT_OF_LINE = 48
"""Types with more nodes than this are handled by a function of their own rather than inline."""
OUT_OF_LINE_DEPTH = 8


def _bad_discriminant(*_: object) -> Any:
    raise Trap(TrapCode.CANONICAL_ABI, "invalid variant discriminant")


def over_budget() -> None:
    """Trap for a guest that passes the same bytes over and over, as lists of lists of lists."""
    raise Trap(TrapCode.CANONICAL_ABI, f"more than {MAX_LIFTED} bytes of lists and strings in one call")


def _char(code: int) -> str:
    if code >= 0x110000 or 0xD800 <= code <= 0xDFFF:
        raise Trap(TrapCode.CANONICAL_ABI, "invalid `char` bit pattern")
    return chr(code)


def _chars(data: Any) -> list[str]:
    try:
        return list(str(data, "utf-32-le"))
    except UnicodeDecodeError:
        raise Trap(TrapCode.CANONICAL_ABI, "invalid `char` bit pattern") from None


_pack_i, _pack_q, _pack_f, _pack_d = (struct.Struct(code).pack for code in ("<I", "<Q", "<f", "<d"))
_unpack_i, _unpack_q, _unpack_f, _unpack_d = (struct.Struct(code).unpack for code in ("<I", "<Q", "<f", "<d"))

COMMON: dict[str, object] = {
    "Err": Err,
    "Mismatch": Mismatch,
    "Ok": Ok,
    "Some": Some,
    "Trap": Trap,
    "as_f32": convert.as_f32,
    "as_float": convert.as_float,
    "as_int": convert.as_int,
    "as_list": convert.as_list,
    "as_map": convert.as_map,
    "as_tuple": convert.as_tuple,
    "bad_discriminant": _bad_discriminant,
    "char": _char,
    "char_code": convert.char_code,
    "chars": _chars,
    "f32_bits": lambda value: _unpack_i(_pack_f(value))[0],
    "f64_bits": lambda value: _unpack_q(_pack_d(value))[0],
    "f32_of": lambda bits: _unpack_f(_pack_i(bits))[0],
    "f64_of": lambda bits: _unpack_d(_pack_q(bits))[0],
    "mismatch": convert.mismatch,
    "over_budget": over_budget,
}
"""Globals of all generated code."""


class Unit:
    """Source of one factory, with what its parts share."""

    __slots__ = (
        "_bound",
        "_keep",
        "_memo",
        "blocks",
        "counting",
        "one_block",
        "pointer",
        "setup",
        "source",
        "uses_scope",
        "utf8",
    )

    def __init__(self, pointer: int) -> None:
        self.source = Source()
        self.pointer = pointer
        self.setup: list[str] = []
        self.uses_scope = False
        self.counting = False
        """Whether lists and strings are charged to the call's budget (`LiftLowerContext.budget`)."""
        self.blocks: list[Block] | None = None
        """Where lowering does not store strings and lists but collects them, for a call that takes them along."""
        self.one_block = self.utf8 = False
        """Of a unit that collects: whether there is one block only, and the encoding of strings is UTF-8."""
        self._bound: dict[str, str] = {}
        self._memo: dict[Hashable, str] = {}
        self._keep: list[object] = []

    def bind(self, name: str, expression: str | None = None) -> str:
        """A local of the factory, `name = expression` (by default `cx.name`), made when first asked for."""
        if name not in self._bound:
            self._bound[name] = name
            self.setup.append(f"{name} = {expression or 'cx.' + name}")
        return name

    def memoised(self, what: str, of: t.ValType, make: Callable[[str], None], *extra: Hashable) -> str:
        """The name of the helper that does `what` for `of`; `make(name)` writes it when first asked for."""
        key = (what, id(of), *extra)
        name = self._memo.get(key)
        if name is None:
            name = self._memo[key] = self.source.fresh(what)
            self._keep.append(of)
            make(name)
        return name

    def resource(self, method: str, of: t.OwnType | t.BorrowType) -> str:
        """A closure of the context for handles to a resource: `cx.lift_own(rid)` and its like."""
        rid = self.source.constant(of.rt.id, "rid")
        return self.bind(f"{method}_{rid}", f"cx.{method}({rid})")

    def asynchronous(self, method: str, of: t.ValType) -> str:
        """As `resource`, for streams, futures and error contexts."""
        name = self.source.constant(of, "type")
        return self.bind(f"{method}_{name}", f"cx.{method}({name})")

    def bind_scope(self) -> str:
        """The call's `CallScope`. It sits in a variable of the factory so that helpers reach it: a function sets it when
        it starts, and no other call of the same instance can come in between, for lifting and lowering run no guest code
        that might call out."""
        self.uses_scope = True
        return self.bind("scope", "None")

    def load_string(self) -> str:
        """The context's string loader, the one that keeps count where that is needed."""
        return self.bind("load_string", "cx.load_counted_string" if self.counting else None)

    def struct(self, fmt: str, method: str) -> str:
        """A bound method of `struct.Struct(fmt)` as a constant."""
        key = ("struct", fmt, method)
        name = self._memo.get(key)
        if name is None:
            name = self._memo[key] = self.source.constant(getattr(struct.Struct(fmt), method), method)
        return name

    def is_inline(self, of: t.ValType) -> bool:
        """Whether code for `of` is small enough to stand where it is used."""
        return of.tree_size <= OUT_OF_LINE and of.depth <= OUT_OF_LINE_DEPTH

    def factory(self, parameters: str, result: str) -> Callable[..., Any]:
        """Compile: a function `bind(cx, <parameters>)` that answers `result`."""
        text = self.source.text(f"def bind(cx{parameters}):", self.setup, f"return {result}")
        scope: dict[str, Any] = {**COMMON, **self.source.constants}
        exec(compile_source(text), scope)
        return scope["bind"]  # type: ignore[no-any-return]

    def text(self, parameters: str = "", result: str = "None") -> str:
        """The source, for tests and curious people."""
        return self.source.text(f"def bind(cx{parameters}):", self.setup, f"return {result}")


class MemoryRun:
    """Scalars of one fixed-size value in memory, read or written together by one `struct` call.

    `holes` (start, end) are parts that other code reads and writes; a write must not touch them.
    """

    __slots__ = ("holes", "leaves", "unit", "uses_base")

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.leaves: list[tuple[int, str, str]] = []
        self.holes: list[int] = []
        self.uses_base = False

    def leaf(self, offset: int, code: str, name: str | None = None) -> str:
        """A scalar at `offset`; returns the variable it is read into (or `name`, the expression to write)."""
        name = name or self.unit.source.fresh("v")
        self.leaves.append((offset, code, name))
        return name

    def hole(self, offset: int) -> None:
        """What follows in ascending order belongs to the next run; code in between uses the base address."""
        self.uses_base = True
        self.holes.append(len(self.leaves))

    @staticmethod
    def _format(leaves: list[tuple[int, str, str]], start: int, size: int | None = None) -> str:
        parts, end = ["<"], start
        for offset, code, _ in leaves:
            if offset > end:
                parts.append(f"{offset - end}x")
            parts.append(code)
            end = offset + struct.calcsize("<" + code)
        if size is not None and size > end:
            parts.append(f"{size - end}x")
        return "".join(parts)

    @property
    def targets(self) -> str:
        """The variables as an assignment target."""
        return ", ".join(name for *_, name in self.leaves) + ("," if len(self.leaves) == 1 else "")

    def emit_load(self, mem: str, base: str) -> None:
        """Read all scalars."""
        if self.leaves:
            start = self.leaves[0][0]
            unpack = self.unit.struct(self._format(self.leaves, start), "unpack_from")
            self.unit.source.line(f"{self.targets} = {unpack}({mem}, {base}{f' + {start}' if start else ''})")

    def iterator(self, size: int, data: str) -> str:
        """`for` clause over consecutive elements of `size` bytes in `data`.

        Over a copy: an iterator over a memory view that is left half-way, and collected with the traceback, crashes CPython.
        """
        unpack = self.unit.struct(self._format(self.leaves, 0, size), "iter_unpack")
        return f"for {self.targets} in {unpack}(bytes({data}))"

    def emit_store(self, mem: str, base: str) -> None:
        """Write all scalars; one call for each stretch between holes."""
        bounds = [0, *self.holes, len(self.leaves)]
        for first, last in pairwise(bounds):
            leaves = self.leaves[first:last]
            if leaves:
                start = leaves[0][0]
                pack = self.unit.struct(self._format(leaves, start), "pack_into")
                values = ", ".join(name for *_, name in leaves)
                self.unit.source.line(f"{pack}({mem}, {base}{f' + {start}' if start else ''}, {values})")
