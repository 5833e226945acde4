"""Emit LLVM text that moves a value of a component type from one guest to another, checked on the way.

Sources and sinks are flat core values or memory; strings and lists are allocated in the target with its `realloc` and copied.
`adapter.py` makes whole functions of this.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from component_rt import types as t
from component_rt.abi.adapter_block import REASON_OF, VMAdapter
from component_rt.abi.flat import flatten
from component_rt.abi.layout import (
    MAX_BYTE_LENGTH,
    cases_of,
    discriminant_size,
    field_offsets,
    flags_size,
    layout,
    payload_offset,
)
from component_rt.abi.lift import map_list
from component_rt.vmcontext import MAY_LEAVE
from core_rt.vm.structs import BUILTIN_INDEX

__all__ = [
    "BACK",
    "LLVM_OF",
    "THERE",
    "Code",
    "FlatSink",
    "FlatSource",
    "Memory",
    "Side",
    "allocate",
    "check_range",
    "move_fields",
    "native_address",
    "set_flag",
    "translate",
]

LLVM_OF: Final = {"i32": "i32", "i64": "i64", "f32": "float", "f64": "double"}
"""LLVM types of core types."""


class Code:
    """LLVM text of one function: straight lines, labels, values that are numbered."""

    def __init__(self, encoding: str) -> None:
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.encoding = encoding
        self.count = 0

    def let(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"%v{self.count} = {text}")
        return f"%v{self.count}"

    def out(self, text: str) -> None:
        self.lines.append(text)

    def label(self) -> str:
        self.count += 1
        return f"L{self.count}"

    def begin(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def alloca(self, type_: str) -> str:
        self.count += 1
        self.entry.append(f"%v{self.count} = alloca {type_}")
        return f"%v{self.count}"

    def field(self, name: str, type_: str = "ptr") -> str:
        """A field of the block."""
        return self.let(f"load {type_}, ptr {self.at('%0', VMAdapter[name])}")

    def at(self, base: str, offset: int) -> str:
        return self.let(f"getelementptr i8, ptr {base}, i64 {offset}") if offset else base

    def fail_if(self, condition: str, reason: int) -> None:
        """Leave for the host with `reason` if `condition` (an i1)."""
        bad, good = self.label(), self.label()
        self.out(f"br i1 {condition}, label %{bad}, label %{good}")
        self.begin(bad)
        call, data = self.field("raise_call"), self.field("raise_data")
        self.out(f"call void {call}(ptr {data}, i32 {reason})")
        self.out("unreachable")
        self.begin(good)


@attrs.frozen
class Side:
    """One direction: the field with the definition of the memory read, of that written, the realloc, and its flags."""

    source: str
    target: str
    realloc: str
    flags: str


THERE = Side("from_memory", "to_memory", "realloc", "callee_flags")
BACK = Side("to_memory", "from_memory", "back", "caller_flags")


def native_address(c: Code, memory: str, address: str) -> str:
    """The native address of a checked guest address (i64)."""
    base = c.let(f"load ptr, ptr {c.field(memory)}")
    return c.let(f"getelementptr i8, ptr {base}, i64 {address}")


def check_range(c: Code, memory: str, address: str, size: str, align: int, reason: str) -> None:
    """`address` (i64) must be aligned and `size` (i64) bytes from it inside the memory."""
    if align > 1:
        low = c.let(f"and i64 {address}, {align - 1}")
        c.fail_if(c.let(f"icmp ne i64 {low}, 0"), REASON_OF["unaligned pointer"])
    length = c.let(f"load volatile i64, ptr {c.at(c.field(memory), 8)}")
    end = c.let(f"add i64 {address}, {size}")
    c.fail_if(c.let(f"icmp ugt i64 {end}, {length}"), REASON_OF[reason])


def allocate(c: Code, side: Side, size: str, align: int, reason: str) -> str:
    """`realloc(0, 0, align, size)` in the target, checked; the address as i64. `size` is an i64."""
    call, data = c.field(f"{side.realloc}_call"), c.field(f"{side.realloc}_data")
    narrow = c.let(f"trunc i64 {size} to i32")
    set_flag(c, side.flags, MAY_LEAVE, 0)
    address = c.let(f"call i32 {call}(ptr {data}, i32 0, i32 0, i32 {align}, i32 {narrow})")
    set_flag(c, side.flags, MAY_LEAVE, 1)
    wide = c.let(f"zext i32 {address} to i64")
    check_range(c, side.target, wide, size, align, reason)
    return wide


def set_flag(c: Code, field: str, which: int, value: int) -> None:
    c.out(f"store i32 {value}, ptr {c.at(c.field(field), 4 * which)}")


def _copy(c: Code, side: Side, target: str, source: str, size: str) -> None:
    """Copy checked ranges from memory to memory: up to 16 bytes here, more by the builtin."""
    big, small, words, byte, some, done = [c.label() for _ in range(6)]
    c.out(f"br i1 {c.let(f'icmp ugt i64 {size}, 16')}, label %{big}, label %{small}")
    c.begin(big)
    copy = c.let(f"load ptr, ptr {c.at(c.field('builtins'), 8 * BUILTIN_INDEX['memory_copy'])}")
    to, from_ = c.field(side.target), c.field(side.source)
    c.out(f"call void {copy}(ptr %0, ptr {to}, i64 {target}, ptr {from_}, i64 {source}, i64 {size})")
    c.out(f"br label %{done}")
    c.begin(small)
    ends = native_address(c, side.source, source), native_address(c, side.target, target)
    c.out(f"br i1 {c.let(f'icmp uge i64 {size}, 8')}, label %{words}, label %{byte}")
    c.begin(words)  # the first eight bytes and the last eight, which may be some of the same
    last = c.let(f"sub i64 {size}, 8")
    tails = [c.let(f"getelementptr i8, ptr {end}, i64 {last}") for end in ends]
    pair = [c.let(f"load i64, ptr {place}, align 1") for place in (ends[0], tails[0])]
    for value, place in zip(pair, (ends[1], tails[1])):
        c.out(f"store i64 {value}, ptr {place}, align 1")
    c.out(f"br label %{done}")
    c.begin(byte)
    place = c.alloca("i64")
    c.out(f"store i64 {size}, ptr {place}")
    c.out(f"br label %{some}")
    c.begin(some)
    left, body = c.let(f"load i64, ptr {place}"), c.label()
    c.out(f"br i1 {c.let(f'icmp eq i64 {left}, 0')}, label %{done}, label %{body}")
    c.begin(body)
    index = c.let(f"sub i64 {left}, 1")
    value = c.let(f"load i8, ptr {c.let(f'getelementptr i8, ptr {ends[0]}, i64 {index}')}")
    c.out(f"store i8 {value}, ptr {c.let(f'getelementptr i8, ptr {ends[1]}, i64 {index}')}")
    c.out(f"store i64 {index}, ptr {place}")
    c.out(f"br label %{some}")
    c.begin(done)


@attrs.define
class Memory:
    """Memory as source or sink: `base` is a native address."""

    base: str
    offset: int = 0

    def field(self, offset: int) -> Memory:
        return Memory(self.base, self.offset + offset)

    def read(self, c: Code, type_: str) -> str:
        return c.let(f"load {type_}, ptr {c.at(self.base, self.offset)}, align 1")

    def write(self, c: Code, type_: str, value: str, signed: bool) -> None:
        c.out(f"store {type_} {value}, ptr {c.at(self.base, self.offset)}, align 1")


_WIDTH = {"i8": 8, "i16": 16, "i32": 32, "i64": 64}


@attrs.define
class FlatSource:
    """Core values `slots` (name, LLVM type), taken in order."""

    slots: Sequence[tuple[str, str]]
    next: int = 0

    def read(self, c: Code, type_: str) -> str:
        value, have = self.slots[self.next]
        self.next += 1
        if have == type_:
            return value
        if type_ == "float":
            bits = value if have == "i32" else c.let(f"trunc i64 {value} to i32")
            return c.let(f"bitcast i32 {bits} to float")
        if type_ == "double":
            return c.let(f"bitcast i64 {value} to double")
        return c.let(f"trunc {have} {value} to {type_}")


@attrs.define
class FlatSink:
    """Allocas `slots` (name, LLVM type), filled in order; zero to begin with."""

    slots: Sequence[tuple[str, str]]
    next: int = 0

    def write(self, c: Code, type_: str, value: str, signed: bool) -> None:
        place, want = self.slots[self.next]
        self.next += 1
        if type_ in ("float", "double") and want != type_:
            bits = "i32" if type_ == "float" else "i64"
            value, type_ = c.let(f"bitcast {type_} {value} to {bits}"), bits
            signed = False
        if type_ != want:
            if signed and _WIDTH[type_] < 32:
                value, type_ = c.let(f"sext {type_} {value} to i32"), "i32"
            if type_ != want:
                value = c.let(f"zext {type_} {value} to {want}")
        c.out(f"store {want} {value}, ptr {place}")


Source = Memory | FlatSource
Sink = Memory | FlatSink

_SCALARS = {
    "u8": "i8", "s8": "i8", "u16": "i16", "s16": "i16", "u32": "i32", "s32": "i32", "u64": "i64", "s64": "i64",
    "f32": "float", "f64": "double",
}  # fmt: skip
_INT = {1: "i8", 2: "i16", 4: "i32"}


def translate(c: Code, of: t.ValType, source: Source, sink: Sink, side: Side) -> None:
    """Emit what moves a value of type `of` from `source` to `sink`."""
    scalar = _SCALARS.get(of.kind)
    if scalar is not None:
        sink.write(c, scalar, source.read(c, scalar), of.kind[0] == "s")
    else:
        _TRANSLATE[of.kind](c, of, source, sink, side)


def _bool(c: Code, of: t.ValType, source: Source, sink: Sink, side: Side) -> None:
    type_ = "i8" if isinstance(source, Memory) else "i32"
    truth = c.let(f"icmp ne {type_} {source.read(c, type_)}, 0")
    sink.write(c, "i8", c.let(f"zext i1 {truth} to i8"), False)


def _char(c: Code, of: t.ValType, source: Source, sink: Sink, side: Side) -> None:
    code = source.read(c, "i32")
    c.fail_if(c.let(f"icmp uge i32 {code}, {0x110000}"), REASON_OF["invalid `char` bit pattern"])
    offset = c.let(f"sub i32 {code}, {0xD800}")
    c.fail_if(c.let(f"icmp ult i32 {offset}, {0x800}"), REASON_OF["invalid `char` bit pattern"])
    sink.write(c, "i32", code, False)


def _flags(c: Code, of: t.FlagsType, source: Source, sink: Sink, side: Side) -> None:
    type_ = _INT[flags_size(len(of.labels))]
    bits = source.read(c, type_)
    mask = (1 << len(of.labels)) - 1
    if len(of.labels) != _WIDTH[type_]:
        bits = c.let(f"and {type_} {bits}, {mask}")
    sink.write(c, type_, bits, False)


def _discriminant(c: Code, cases: int, source: Source, sink: Sink) -> tuple[str, str]:
    """Move a discriminant; its type and value."""
    size = discriminant_size(cases)
    type_ = _INT[size] if isinstance(source, Memory) else "i32"
    disc = source.read(c, type_)
    if cases < 1 << (8 * size) or type_ == "i32":
        c.fail_if(c.let(f"icmp uge {type_} {disc}, {cases}"), REASON_OF["invalid variant discriminant"])
    stored = disc
    if type_ != _INT[size]:
        stored = c.let(f"trunc {type_} {disc} to {_INT[size]}")
    sink.write(c, _INT[size], stored, False)
    return type_, disc


def _enum(c: Code, of: t.EnumType, source: Source, sink: Sink, side: Side) -> None:
    _discriminant(c, len(of.labels), source, sink)


def _variant(c: Code, of: t.ValType, source: Source, sink: Sink, side: Side) -> None:
    cases = cases_of(of)
    payload = payload_offset(of, 4)
    start = (
        source if isinstance(source, Memory) else source.next,
        sink if isinstance(sink, Memory) else sink.next,
    )
    type_, disc = _discriminant(c, len(cases), source, sink)
    done = c.label()
    labels = {index: c.label() for index, case in enumerate(cases) if case is not None}
    targets = " ".join(f"{type_} {index}, label %{label}" for index, label in labels.items())
    c.out(f"switch {type_} {disc}, label %{done} [ {targets} ]")
    for index, label in labels.items():
        case = cases[index]
        assert case is not None
        c.begin(label)
        translate(c, case, _payload(source, start[0], payload), _payload(sink, start[1], payload), side)
        c.out(f"br label %{done}")
    c.begin(done)
    width = len(flatten(of, 4) or ())
    for end, begun in zip((source, sink), start):
        if not isinstance(end, Memory):
            assert isinstance(begun, int)
            end.next = begun + width


def _payload(end: Any, begun: Any, offset: int) -> Any:
    if isinstance(end, Memory):
        return end.field(offset)
    return type(end)(end.slots, begun + 1)


def move_fields(c: Code, types: Sequence[t.ValType], source: Source, sink: Sink, side: Side) -> None:
    for of, offset in zip(types, field_offsets(types, 4)):
        translate(
            c,
            of,
            source.field(offset) if isinstance(source, Memory) else source,
            sink.field(offset) if isinstance(sink, Memory) else sink,
            side,
        )


def _pair(c: Code, source: Source) -> tuple[str, str]:
    """An address and a count, as i64."""
    if isinstance(source, Memory):
        address, count = source.read(c, "i32"), source.field(4).read(c, "i32")
    else:
        address, count = source.read(c, "i32"), source.read(c, "i32")
    return c.let(f"zext i32 {address} to i64"), c.let(f"zext i32 {count} to i64")


def _write_pair(c: Code, sink: Sink, address: str, count: str) -> None:
    narrow = c.let(f"trunc i64 {address} to i32"), c.let(f"trunc i64 {count} to i32")
    sink.write(c, "i32", narrow[0], False)
    (sink.field(4) if isinstance(sink, Memory) else sink).write(c, "i32", narrow[1], False)


def _string(c: Code, of: t.ValType, source: Source, sink: Sink, side: Side) -> None:
    address, units = _pair(c, source)
    align = 1 if c.encoding == "utf8" else 2
    size = units if align == 1 else c.let(f"shl i64 {units}, 1")
    check_range(c, side.source, address, size, align, "string content out-of-bounds")
    c.fail_if(c.let(f"icmp ugt i64 {size}, {MAX_BYTE_LENGTH}"), REASON_OF["list or string is too long"])
    data = native_address(c, side.source, address)
    if align == 1:
        verdict = c.let(f"call i32 @check_utf8(ptr {data}, i64 {size})")
        c.fail_if(c.let(f"icmp eq i32 {verdict}, 1"), REASON_OF["invalid utf-8"])
        c.fail_if(c.let(f"icmp eq i32 {verdict}, 2"), REASON_OF["incomplete utf-8 byte sequence"])
    else:
        verdict = c.let(f"call i32 @check_utf16(ptr {data}, i64 {units})")
        c.fail_if(c.let(f"icmp ne i32 {verdict}, 0"), REASON_OF["invalid utf-16"])
    target = allocate(c, side, size, align, "string content out-of-bounds")
    _copy(c, side, target, address, size)
    _write_pair(c, sink, target, units)


@functools.lru_cache(maxsize=4096)
def _plain(of: t.ValType) -> bool:
    """Whether every bit pattern is a value, so that elements can be copied as they are."""
    if of.kind in _SCALARS:
        return True
    if isinstance(of, t.FlagsType):
        return len(of.labels) == 8 * flags_size(len(of.labels))
    if isinstance(of, t.RecordType | t.TupleType) or (isinstance(of, t.ListType) and of.length is not None):
        return all(isinstance(child, t.ValType) and _plain(child) for child in of.children())
    return False


def _list(c: Code, of: t.ListType, source: Source, sink: Sink, side: Side) -> None:
    if of.length is not None:
        move_fields(c, [of.t] * of.length, source, sink, side)
        return
    address, count = _pair(c, source)
    size, align = layout(of.t, 4)
    total = c.let(f"mul i64 {count}, {size}")
    check_range(c, side.source, address, total, align, "list content out-of-bounds")
    c.fail_if(c.let(f"icmp ugt i64 {total}, {MAX_BYTE_LENGTH}"), REASON_OF["list or string is too long"])
    target = allocate(c, side, total, align, "list content out-of-bounds")
    if _plain(of.t):
        _copy(c, side, target, address, total)
    else:
        _elements(c, of.t, native_address(c, side.source, address), native_address(c, side.target, target), count, side)
    _write_pair(c, sink, target, count)


def _elements(c: Code, of: t.ValType, source: str, target: str, count: str, side: Side) -> None:
    """Translate `count` (i64) elements one by one."""
    size = layout(of, 4).size
    place = c.alloca("i64")
    c.out(f"store i64 0, ptr {place}")
    head, body, done = c.label(), c.label(), c.label()
    c.out(f"br label %{head}")
    c.begin(head)
    index = c.let(f"load i64, ptr {place}")
    c.out(f"br i1 {c.let(f'icmp ult i64 {index}, {count}')}, label %{body}, label %{done}")
    c.begin(body)
    offset = c.let(f"mul i64 {index}, {size}")
    ends = [Memory(c.let(f"getelementptr i8, ptr {base}, i64 {offset}")) for base in (source, target)]
    translate(c, of, ends[0], ends[1], side)
    c.out(f"store i64 {c.let(f'add i64 {index}, 1')}, ptr {place}")
    c.out(f"br label %{head}")
    c.begin(done)


_TRANSLATE: dict[str, Callable[..., None]] = {
    "bool": _bool,
    "char": _char,
    "string": _string,
    "list": _list,
    "map": lambda c, of, source, sink, side: _list(c, map_list(of), source, sink, side),
    "record": lambda c, of, source, sink, side: move_fields(c, [f.t for f in of.fields], source, sink, side),
    "tuple": lambda c, of, source, sink, side: move_fields(c, of.ts, source, sink, side),
    "flags": _flags,
    "enum": _enum,
    "variant": _variant,
    "option": _variant,
    "result": _variant,
}
