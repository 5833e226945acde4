"""Calls from one guest to another as machine code: lifting and lowering fused, memory to memory, no Python.

An *adapter* has the caller's core signature. It walks the component type once while code is emitted: each scalar goes from
a source (the caller's flat values, or memory) to a sink (the callee's flat values, or memory), checked on the way; lists and
strings are allocated in the target with its `realloc` and copied. The result goes back in the same way.

```
block (one for each lowered function; `%0` of the entry stub and of the adapter)
  magic, store | callee, data (what the stub jumps to) | VMFuncRef of the stub | AdapterData | entered flags ...
```

The stub calls `callee(data, ...)`. That is at first a host function which makes the call through Python and has the adapter
compiled when it sees that the function is used; then `callee` is the adapter. So instantiation compiles nothing.

Adapters exist for types without resources and asynchronous values, for 32-bit memories, and for UTF-8 and UTF-16 strings
that keep their encoding (`is_adaptable`); whatever else goes through Python.

What is wrong is reported by calling a host function with a number that `REASONS` translates; it does not return.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from component_rt import types as t
from component_rt.abi.flat import Flattened, flatten, flatten_functype
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
from component_rt.vmcontext import MAY_ENTER, MAY_LEAVE
from core_rt.compile.image import load
from core_rt.compile.unit import ATTRIBUTES
from core_rt.native import CodeArena
from core_rt.vm.structs import BUILTIN_INDEX, Struct, VMFuncRef

if TYPE_CHECKING:
    from core_rt.engine import Engine

__all__ = [
    "CANNOT_ENTER",
    "CANNOT_LEAVE",
    "REASONS",
    "AdapterCode",
    "AdapterSignature",
    "VMAdapter",
    "adapter_text",
    "is_adaptable",
    "stub_text",
]

VMAdapter: Final = Struct(
    "VMAdapter",
    "u32 magic,u32 entered,ptr store,ptr callee,ptr data,"
    + ",".join(f"{f.type} ref_{f.name}" for f in VMFuncRef.fields)
    + ",ptr caller_flags,ptr callee_flags,ptr target_call,ptr target_data,ptr realloc_call,ptr realloc_data,"
    "ptr back_call,ptr back_data,ptr post_call,ptr post_data,ptr raise_call,ptr raise_data,ptr builtins,"
    "ptr from_memory,ptr to_memory",
    align=16,
)
"""`realloc` is the callee's (for arguments), `back` the caller's (for results); `from` and `to` memory are named by the
direction of arguments. `entered` flags pointers of the instances that the call enters follow the struct."""

CANNOT_LEAVE, CANNOT_ENTER = 0, 1
REASONS: Final = {
    2: "unaligned pointer",
    3: "pointer out of bounds of memory",
    4: "string content out-of-bounds",
    5: "list content out-of-bounds",
    6: "invalid variant discriminant",
    7: "invalid `char` bit pattern",
    8: "invalid utf-8",
    9: "incomplete utf-8 byte sequence",
    10: "invalid utf-16",
    11: "list or string is too long",
}
_REASON = {text: number for number, text in REASONS.items()}
_MOST_NODES = 600
_LL = {"i32": "i32", "i64": "i64", "f32": "float", "f64": "double"}


@attrs.frozen
class AdapterSignature:
    """What the code of an adapter depends on."""

    type: t.FuncType
    encoding: str
    post_return: bool
    entered: int

    @property
    def flattened(self) -> tuple[Flattened, Flattened]:
        """How the caller passes, and how the callee takes."""
        return (
            flatten_functype(self.type, "lower", 4, False),
            flatten_functype(self.type, "lift", 4, False),
        )


@functools.lru_cache(maxsize=4096)
def _adaptable(of: Any) -> bool:
    if of.kind in ("own", "borrow", "stream", "future", "error-context"):
        return False
    return all(map(_adaptable, of.children()))


@functools.lru_cache(maxsize=4096)
def _has_strings(of: Any) -> bool:
    return of.kind == "string" or any(map(_has_strings, of.children()))


def is_adaptable(of: t.FuncType, encodings: tuple[str, str]) -> bool:
    """Whether an adapter can serve a function of that type between those string encodings."""
    if of.is_async or of.tree_size > _MOST_NODES or not _adaptable(of):
        return False
    return not _has_strings(of) or (encodings[0] == encodings[1] and encodings[0] != "latin1+utf16")


# ---------------------------------------------------------------------------------------------------- emission


class _Code:
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
class _Side:
    """One direction: the field with the definition of the memory read, of that written, the realloc, and its flags."""

    source: str
    target: str
    realloc: str
    flags: str


_THERE = _Side("from_memory", "to_memory", "realloc", "callee_flags")
_BACK = _Side("to_memory", "from_memory", "back", "caller_flags")


def _native(c: _Code, memory: str, address: str) -> str:
    """The native address of a checked guest address (i64)."""
    base = c.let(f"load ptr, ptr {c.field(memory)}")
    return c.let(f"getelementptr i8, ptr {base}, i64 {address}")


def _check_range(c: _Code, memory: str, address: str, size: str, align: int, reason: str) -> None:
    """`address` (i64) must be aligned and `size` (i64) bytes from it inside the memory."""
    if align > 1:
        low = c.let(f"and i64 {address}, {align - 1}")
        c.fail_if(c.let(f"icmp ne i64 {low}, 0"), _REASON["unaligned pointer"])
    length = c.let(f"load volatile i64, ptr {c.at(c.field(memory), 8)}")
    end = c.let(f"add i64 {address}, {size}")
    c.fail_if(c.let(f"icmp ugt i64 {end}, {length}"), _REASON[reason])


def _allocate(c: _Code, side: _Side, size: str, align: int, reason: str) -> str:
    """`realloc(0, 0, align, size)` in the target, checked; the address as i64. `size` is an i64."""
    call, data = c.field(f"{side.realloc}_call"), c.field(f"{side.realloc}_data")
    narrow = c.let(f"trunc i64 {size} to i32")
    _set_flag(c, side.flags, MAY_LEAVE, 0)
    address = c.let(f"call i32 {call}(ptr {data}, i32 0, i32 0, i32 {align}, i32 {narrow})")
    _set_flag(c, side.flags, MAY_LEAVE, 1)
    wide = c.let(f"zext i32 {address} to i64")
    _check_range(c, side.target, wide, size, align, reason)
    return wide


def _set_flag(c: _Code, field: str, which: int, value: int) -> None:
    c.out(f"store i32 {value}, ptr {c.at(c.field(field), 4 * which)}")


def _copy(c: _Code, side: _Side, target: str, source: str, size: str) -> None:
    """Copy checked ranges from memory to memory."""
    copy = c.let(f"load ptr, ptr {c.at(c.field('builtins'), 8 * BUILTIN_INDEX['memory_copy'])}")
    to, source_memory = c.field(side.target), c.field(side.source)
    c.out(f"call void {copy}(ptr %0, ptr {to}, i64 {target}, ptr {source_memory}, i64 {source}, i64 {size})")


class _Source:
    """Where a value comes from."""

    def scalar(self, c: _Code, type_: str) -> str:
        raise NotImplementedError

    def at(self, offset: int) -> _Source:
        raise NotImplementedError


@attrs.define
class _Memory:
    """Memory as source or sink: `base` is a native address."""

    base: str
    offset: int = 0

    def field(self, offset: int) -> _Memory:
        return _Memory(self.base, self.offset + offset)

    def read(self, c: _Code, type_: str) -> str:
        return c.let(f"load {type_}, ptr {c.at(self.base, self.offset)}, align 1")

    def write(self, c: _Code, type_: str, value: str, signed: bool) -> None:
        c.out(f"store {type_} {value}, ptr {c.at(self.base, self.offset)}, align 1")


_WIDTH = {"i8": 8, "i16": 16, "i32": 32, "i64": 64}


@attrs.define
class _FlatSource:
    """Core values `slots` (name, LLVM type), taken in order."""

    slots: Sequence[tuple[str, str]]
    next: int = 0

    def read(self, c: _Code, type_: str) -> str:
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
class _FlatSink:
    """Allocas `slots` (name, LLVM type), filled in order; zero to begin with."""

    slots: Sequence[tuple[str, str]]
    next: int = 0

    def write(self, c: _Code, type_: str, value: str, signed: bool) -> None:
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


Source = _Memory | _FlatSource
Sink = _Memory | _FlatSink

_SCALARS = {
    "u8": "i8", "s8": "i8", "u16": "i16", "s16": "i16", "u32": "i32", "s32": "i32", "u64": "i64", "s64": "i64",
    "f32": "float", "f64": "double",
}  # fmt: skip
_INT = {1: "i8", 2: "i16", 4: "i32"}


def translate(c: _Code, of: t.ValType, source: Source, sink: Sink, side: _Side) -> None:
    """Emit what moves a value of type `of` from `source` to `sink`."""
    scalar = _SCALARS.get(of.kind)
    if scalar is not None:
        sink.write(c, scalar, source.read(c, scalar), of.kind[0] == "s")
    else:
        _TRANSLATE[of.kind](c, of, source, sink, side)


def _bool(c: _Code, of: t.ValType, source: Source, sink: Sink, side: _Side) -> None:
    type_ = "i8" if isinstance(source, _Memory) else "i32"
    truth = c.let(f"icmp ne {type_} {source.read(c, type_)}, 0")
    sink.write(c, "i8", c.let(f"zext i1 {truth} to i8"), False)


def _char(c: _Code, of: t.ValType, source: Source, sink: Sink, side: _Side) -> None:
    code = source.read(c, "i32")
    c.fail_if(c.let(f"icmp uge i32 {code}, {0x110000}"), _REASON["invalid `char` bit pattern"])
    offset = c.let(f"sub i32 {code}, {0xD800}")
    c.fail_if(c.let(f"icmp ult i32 {offset}, {0x800}"), _REASON["invalid `char` bit pattern"])
    sink.write(c, "i32", code, False)


def _flags(c: _Code, of: t.FlagsType, source: Source, sink: Sink, side: _Side) -> None:
    type_ = _INT[flags_size(len(of.labels))]
    bits = source.read(c, type_)
    mask = (1 << len(of.labels)) - 1
    if len(of.labels) != _WIDTH[type_]:
        bits = c.let(f"and {type_} {bits}, {mask}")
    sink.write(c, type_, bits, False)


def _discriminant(c: _Code, cases: int, source: Source, sink: Sink) -> tuple[str, str]:
    """Move a discriminant; its type and value."""
    size = discriminant_size(cases)
    type_ = _INT[size] if isinstance(source, _Memory) else "i32"
    disc = source.read(c, type_)
    if cases < 1 << (8 * size) or type_ == "i32":
        c.fail_if(c.let(f"icmp uge {type_} {disc}, {cases}"), _REASON["invalid variant discriminant"])
    stored = disc
    if type_ != _INT[size]:
        stored = c.let(f"trunc {type_} {disc} to {_INT[size]}")
    sink.write(c, _INT[size], stored, False)
    return type_, disc


def _enum(c: _Code, of: t.EnumType, source: Source, sink: Sink, side: _Side) -> None:
    _discriminant(c, len(of.labels), source, sink)


def _variant(c: _Code, of: t.ValType, source: Source, sink: Sink, side: _Side) -> None:
    cases = cases_of(of)
    payload = payload_offset(of, 4)
    start = (
        source if isinstance(source, _Memory) else source.next,
        sink if isinstance(sink, _Memory) else sink.next,
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
        if not isinstance(end, _Memory):
            assert isinstance(begun, int)
            end.next = begun + width


def _payload(end: Any, begun: Any, offset: int) -> Any:
    if isinstance(end, _Memory):
        return end.field(offset)
    return type(end)(end.slots, begun + 1)


def _fields(c: _Code, types: Sequence[t.ValType], source: Source, sink: Sink, side: _Side) -> None:
    for of, offset in zip(types, field_offsets(types, 4)):
        translate(
            c,
            of,
            source.field(offset) if isinstance(source, _Memory) else source,
            sink.field(offset) if isinstance(sink, _Memory) else sink,
            side,
        )


def _pair(c: _Code, source: Source) -> tuple[str, str]:
    """An address and a count, as i64."""
    if isinstance(source, _Memory):
        address, count = source.read(c, "i32"), source.field(4).read(c, "i32")
    else:
        address, count = source.read(c, "i32"), source.read(c, "i32")
    return c.let(f"zext i32 {address} to i64"), c.let(f"zext i32 {count} to i64")


def _write_pair(c: _Code, sink: Sink, address: str, count: str) -> None:
    narrow = c.let(f"trunc i64 {address} to i32"), c.let(f"trunc i64 {count} to i32")
    sink.write(c, "i32", narrow[0], False)
    (sink.field(4) if isinstance(sink, _Memory) else sink).write(c, "i32", narrow[1], False)


def _string(c: _Code, of: t.ValType, source: Source, sink: Sink, side: _Side) -> None:
    address, units = _pair(c, source)
    align = 1 if c.encoding == "utf8" else 2
    size = units if align == 1 else c.let(f"shl i64 {units}, 1")
    _check_range(c, side.source, address, size, align, "string content out-of-bounds")
    c.fail_if(c.let(f"icmp ugt i64 {size}, {MAX_BYTE_LENGTH}"), _REASON["list or string is too long"])
    data = _native(c, side.source, address)
    if align == 1:
        verdict = c.let(f"call i32 @check_utf8(ptr {data}, i64 {size})")
        c.fail_if(c.let(f"icmp eq i32 {verdict}, 1"), _REASON["invalid utf-8"])
        c.fail_if(c.let(f"icmp eq i32 {verdict}, 2"), _REASON["incomplete utf-8 byte sequence"])
    else:
        verdict = c.let(f"call i32 @check_utf16(ptr {data}, i64 {units})")
        c.fail_if(c.let(f"icmp ne i32 {verdict}, 0"), _REASON["invalid utf-16"])
    target = _allocate(c, side, size, align, "string content out-of-bounds")
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


def _list(c: _Code, of: t.ListType, source: Source, sink: Sink, side: _Side) -> None:
    if of.length is not None:
        _fields(c, [of.t] * of.length, source, sink, side)
        return
    address, count = _pair(c, source)
    size, align = layout(of.t, 4)
    total = c.let(f"mul i64 {count}, {size}")
    _check_range(c, side.source, address, total, align, "list content out-of-bounds")
    c.fail_if(c.let(f"icmp ugt i64 {total}, {MAX_BYTE_LENGTH}"), _REASON["list or string is too long"])
    target = _allocate(c, side, total, align, "list content out-of-bounds")
    if _plain(of.t):
        _copy(c, side, target, address, total)
    else:
        _elements(c, of.t, _native(c, side.source, address), _native(c, side.target, target), count, side)
    _write_pair(c, sink, target, count)


def _elements(c: _Code, of: t.ValType, source: str, target: str, count: str, side: _Side) -> None:
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
    ends = [_Memory(c.let(f"getelementptr i8, ptr {base}, i64 {offset}")) for base in (source, target)]
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
    "record": lambda c, of, source, sink, side: _fields(c, [f.t for f in of.fields], source, sink, side),
    "tuple": lambda c, of, source, sink, side: _fields(c, of.ts, source, sink, side),
    "flags": _flags,
    "enum": _enum,
    "variant": _variant,
    "option": _variant,
    "result": _variant,
}


# ---------------------------------------------------------------------------------------------------- functions


def _enter(c: _Code, signature: AdapterSignature) -> None:
    """Check and clear the flags that stand in the way of the call."""
    leave = c.let(f"load i32, ptr {c.at(c.field('caller_flags'), 4 * MAY_LEAVE)}")
    c.fail_if(c.let(f"icmp eq i32 {leave}, 0"), CANNOT_LEAVE)
    for check in (True, False):
        for index in range(signature.entered):
            flags = c.let(f"load ptr, ptr {c.at('%0', VMAdapter.size + 8 * index)}")
            place = c.at(flags, 4 * MAY_ENTER)
            if check:
                c.fail_if(c.let(f"icmp eq i32 {c.let(f'load i32, ptr {place}')}, 0"), CANNOT_ENTER)
            else:
                c.out(f"store i32 0, ptr {place}")


def _leave(c: _Code, signature: AdapterSignature) -> None:
    for index in range(signature.entered):
        flags = c.let(f"load ptr, ptr {c.at('%0', VMAdapter.size + 8 * index)}")
        c.out(f"store i32 1, ptr {c.at(flags, 4 * MAY_ENTER)}")


def _arguments(c: _Code, signature: AdapterSignature, caller: Flattened, callee: Flattened) -> list[str]:
    """Translate the parameters; the core arguments for the callee."""
    types = [of for _, of in signature.type.params]
    if caller.spilled_params:
        size, align = layout(t.TupleType(types), 4)
        address = c.let("zext i32 %1 to i64")
        _check_range(c, _THERE.source, address, str(size), align, "pointer out of bounds of memory")
        source: Source = _Memory(_native(c, _THERE.source, address))
        target = _allocate(c, _THERE, str(size), align, "pointer out of bounds of memory")
        _fields(c, types, source, _Memory(_native(c, _THERE.target, target)), _THERE)
        return [f"i32 {c.let(f'trunc i64 {target} to i32')}"]
    slots = [(f"%{i}", _LL[core]) for i, core in enumerate(caller.params, 1)]
    places = [(c.alloca(_LL[core]), _LL[core]) for core in callee.params]
    for place, type_ in places:
        c.out(f"store {type_} {'0.0' if type_ in ('float', 'double') else '0'}, ptr {place}")
    _fields(c, types, _FlatSource(slots), _FlatSink(places), _THERE)
    return [f"{type_} {c.let(f'load {type_}, ptr {place}')}" for place, type_ in places]


def _results(c: _Code, signature: AdapterSignature, caller: Flattened, callee: Flattened, raw: str | None) -> str:
    """Translate the result `raw` of the callee; the `ret` instruction."""
    of = signature.type.result
    if of is None or raw is None:
        return "ret void"
    if callee.spilled_result:
        size, align = layout(of, 4)
        address = c.let(f"zext i32 {raw} to i64")
        _check_range(c, _BACK.source, address, str(size), align, "pointer out of bounds of memory")
        back = c.let(f"zext i32 %{len(caller.params)} to i64")
        _check_range(c, _BACK.target, back, str(size), align, "pointer out of bounds of memory")
        translate(c, of, _Memory(_native(c, _BACK.source, address)), _Memory(_native(c, _BACK.target, back)), _BACK)
        return "ret void"
    [core] = callee.results
    place = (c.alloca(_LL[core]), _LL[core])
    translate(c, of, _FlatSource([(raw, _LL[core])]), _FlatSink([place]), _BACK)
    return f"ret {place[1]} {c.let(f'load {place[1]}, ptr {place[0]}')}"


def adapter_text(signature: AdapterSignature) -> str:
    """The LLVM text of an adapter, named `adapter`."""
    caller, callee = signature.flattened
    c = _Code(signature.encoding)
    _enter(c, signature)
    arguments = _arguments(c, signature, caller, callee)
    call, data = c.field("target_call"), c.field("target_data")
    result = _LL[callee.results[0]] if callee.results else "void"
    text = f"call {result} {call}({', '.join([f'ptr {data}', *arguments])})"
    raw = None
    if callee.results:
        raw = c.let(text)
    else:
        c.out(text)
    ret = _results(c, signature, caller, callee, raw)
    if signature.post_return:
        post, post_data = c.field("post_call"), c.field("post_data")
        _set_flag(c, "callee_flags", MAY_LEAVE, 0)
        c.out(f"call void {post}({', '.join([f'ptr {post_data}', *([f'{result} {raw}'] if raw else [])])})")
        _set_flag(c, "callee_flags", MAY_LEAVE, 1)
    _leave(c, signature)
    params = "".join(f", {_LL[core]} %{i}" for i, core in enumerate(caller.params, 1))
    returned = _LL[caller.results[0]] if caller.results else "void"
    head = f"define hidden {returned} @adapter(ptr %0{params}) #0 {{"
    strings = "" if not _has_strings(signature.type) else _CHECK_UTF8 if signature.encoding == "utf8" else _CHECK_UTF16
    return "\n".join([head, "entry:", *c.entry, *c.lines, ret, "}", strings, ATTRIBUTES, ""])


def stub_text(params: Sequence[str], results: Sequence[str]) -> str:
    """The LLVM text of a stub, named `stub`: `callee(data, ...)` of the block in place of itself."""
    types = [_LL[core] for core in params]
    returned = _LL[results[0]] if results else "void"
    head = "".join(f", {type_} %{i}" for i, type_ in enumerate(types, 1))
    args = "".join(f", {type_} %{i}" for i, type_ in enumerate(types, 1))
    called = f"{returned} %callee(ptr %data{args})"
    return "\n".join(
        [
            f"define hidden {returned} @stub(ptr %0{head}) #0 {{",
            "entry:",
            f"%c = getelementptr i8, ptr %0, i64 {VMAdapter['callee']}",
            "%callee = load ptr, ptr %c",
            f"%d = getelementptr i8, ptr %0, i64 {VMAdapter['data']}",
            "%data = load ptr, ptr %d",
            *([f"%r = call {called}", f"ret {returned} %r"] if results else [f"call {called}", "ret void"]),
            "}",
            ATTRIBUTES,
            "",
        ]
    )


class AdapterCode:
    """Machine code of adapters and stubs by signature; one for each component. Thread-safe."""

    __slots__ = ("_addresses", "_arena", "_lock")

    def __init__(self) -> None:
        self._addresses: dict[Any, int] = {}
        self._arena: CodeArena | None = None
        self._lock = threading.Lock()

    def get(self, engine: Engine, key: Any, name: str, text: Callable[[], str], optimise: bool) -> int:
        """The address of the function `name` in the text for `key`."""
        with self._lock:
            address = self._addresses.get(key)
            if address is None:
                if self._arena is None:
                    self._arena = CodeArena()
                code = engine.compiler.jit.compile(text(), optimise=optimise)
                address = self._addresses[key] = load(self._arena, code).entries[name]
            return address


_CHECK_UTF8 = """
define internal i32 @check_utf8(ptr %p, i64 %n) #0 {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i8, %words ], [ %i1, %ascii ], [ %i2, %two ], [ %i3, %three ], [ %i4, %four ]
  %left = sub i64 %n, %i
  %at = getelementptr i8, ptr %p, i64 %i
  %many = icmp uge i64 %left, 8
  br i1 %many, label %word, label %byte
word:
  %w = load i64, ptr %at, align 1
  %high = and i64 %w, -9187201950435737472
  %plain = icmp eq i64 %high, 0
  br i1 %plain, label %words, label %byte
words:
  %i8 = add i64 %i, 8
  br label %next
byte:
  %end = icmp eq i64 %left, 0
  br i1 %end, label %good, label %some
some:
  %b = load i8, ptr %at
  %isascii = icmp ult i8 %b, 128
  br i1 %isascii, label %ascii, label %lead
ascii:
  %i1 = add i64 %i, 1
  br label %next
lead:
  %b.c2 = icmp ult i8 %b, 194
  %b.f4 = icmp ugt i8 %b, 244
  %b.bad = or i1 %b.c2, %b.f4
  br i1 %b.bad, label %bad, label %first
first:
  %has2 = icmp uge i64 %left, 2
  br i1 %has2, label %second, label %short
second:
  %is.e0 = icmp eq i8 %b, 224
  %is.ed = icmp eq i8 %b, 237
  %is.f0 = icmp eq i8 %b, 240
  %is.f4 = icmp eq i8 %b, 244
  %lo.1 = select i1 %is.e0, i8 160, i8 128
  %lo = select i1 %is.f0, i8 144, i8 %lo.1
  %hi.1 = select i1 %is.ed, i8 159, i8 191
  %hi = select i1 %is.f4, i8 143, i8 %hi.1
  %at1 = getelementptr i8, ptr %at, i64 1
  %c1 = load i8, ptr %at1
  %c1.lo = icmp ult i8 %c1, %lo
  %c1.hi = icmp ugt i8 %c1, %hi
  %c1.bad = or i1 %c1.lo, %c1.hi
  br i1 %c1.bad, label %bad, label %ok2
ok2:
  %is2 = icmp ult i8 %b, 224
  br i1 %is2, label %two, label %more
two:
  %i2 = add i64 %i, 2
  br label %next
more:
  %has3 = icmp uge i64 %left, 3
  br i1 %has3, label %third, label %short
third:
  %at2 = getelementptr i8, ptr %at, i64 2
  %c2 = load i8, ptr %at2
  %c2.top = and i8 %c2, 192
  %c2.ok = icmp eq i8 %c2.top, 128
  br i1 %c2.ok, label %ok3, label %bad
ok3:
  %is3 = icmp ult i8 %b, 240
  br i1 %is3, label %three, label %evenmore
three:
  %i3 = add i64 %i, 3
  br label %next
evenmore:
  %has4 = icmp uge i64 %left, 4
  br i1 %has4, label %fourth, label %short
fourth:
  %at3 = getelementptr i8, ptr %at, i64 3
  %c3 = load i8, ptr %at3
  %c3.top = and i8 %c3, 192
  %c3.ok = icmp eq i8 %c3.top, 128
  br i1 %c3.ok, label %four, label %bad
four:
  %i4 = add i64 %i, 4
  br label %next
good:
  ret i32 0
bad:
  ret i32 1
short:
  ret i32 2
}
"""

_CHECK_UTF16 = """
define internal i32 @check_utf16(ptr %p, i64 %n) #0 {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i1, %one ], [ %i2, %two ]
  %end = icmp uge i64 %i, %n
  br i1 %end, label %good, label %unit
unit:
  %at = getelementptr i16, ptr %p, i64 %i
  %u = load i16, ptr %at, align 1
  %top = and i16 %u, -2048
  %surrogate = icmp eq i16 %top, -10240
  %i1 = add i64 %i, 1
  br i1 %surrogate, label %first, label %one
one:
  br label %next
first:
  %low = icmp uge i16 %u, -9216
  %last = icmp uge i64 %i1, %n
  %wrong = or i1 %low, %last
  br i1 %wrong, label %bad, label %second
second:
  %at1 = getelementptr i16, ptr %p, i64 %i1
  %v = load i16, ptr %at1, align 1
  %vtop = and i16 %v, -1024
  %pair = icmp eq i16 %vtop, -9216
  %i2 = add i64 %i1, 1
  br i1 %pair, label %two, label %bad
two:
  br label %next
good:
  ret i32 0
bad:
  ret i32 1
}
"""
