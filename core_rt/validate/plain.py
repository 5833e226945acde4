"""Function bodies of the plain kind, read and validated by C (`native/body.c`).

C answers with arrays: opcodes, offsets, and places of immediates in a list of values whose beginning is the same for all bodies. What
instructions are plain, and which types and memories, is told to C here, from `core_rt.opcodes` and the decoded module. A body that C
does not take, which also means any that is not valid, is read by `core_rt.validate.careful`.
"""

from __future__ import annotations

from array import array
from functools import cache
from typing import Any, Final

from core_rt.binary.model import DecodedModule, Instr
from core_rt.config import DEFAULT_FEATURES
from core_rt.native import ffi, lib
from core_rt.opcodes import BY_CODE, Opcode
from core_rt.types import F32, F64, FUNCREF, I32, I64, FuncType, ValType, matches_ref

__all__ = ["instructions", "read_plain"]

_shim: Final[Any] = lib
_NUMBERS: Final[dict[int, ValType]] = {t.code: t for t in (I32, I64, F32, F64)}
_BLOCKS: Final[dict[int, Any]] = {0x40: ((), ()), **{code: ((), (t,)) for code, t in _NUMBERS.items()}}
_LETTERS: Final = {"a": I32.code, "i": I32.code, "I": I64.code, "f": F32.code, "F": F64.code}
_OPERANDS: Final = frozenset(("i", "I", "f", "F", "ii", "II", "ff", "FF"))
_NAMED: Final = {
    "nop": _shim.BODY_NOP,
    "unreachable": _shim.BODY_UNREACHABLE,
    "block": _shim.BODY_BLOCK,
    "loop": _shim.BODY_LOOP,
    "if": _shim.BODY_IF,
    "else": _shim.BODY_ELSE,
    "end": _shim.BODY_END,
    "br": _shim.BODY_BR,
    "br_if": _shim.BODY_BR_IF,
    "br_table": _shim.BODY_BR_TABLE,
    "return": _shim.BODY_RETURN,
    "call": _shim.BODY_CALL,
    "call_indirect": _shim.BODY_CALL_INDIRECT,
    "drop": _shim.BODY_DROP,
    "select": _shim.BODY_SELECT,
    "local.get": _shim.BODY_GET,
    "local.set": _shim.BODY_SET,
    "local.tee": _shim.BODY_TEE,
    "global.get": _shim.BODY_GLOBAL_GET,
    "global.set": _shim.BODY_GLOBAL_SET,
    "memory.size": _shim.BODY_MEMORY_SIZE,
    "memory.grow": _shim.BODY_MEMORY_GROW,
    "memory.fill": _shim.BODY_MEMORY_FILL,
    "memory.copy": _shim.BODY_MEMORY_COPY,
    "memory.init": _shim.BODY_MEMORY_INIT,
    "data.drop": _shim.BODY_DATA_DROP,
    "i32.const": _shim.BODY_INTEGER,
    "i64.const": _shim.BODY_INTEGER,
    "f32.const": _shim.BODY_FLOAT,
    "f64.const": _shim.BODY_FLOAT,
}
_SELECT_OF_TYPE: Final = 0x1C
_PREFIX: Final = 0xFC
_PREFIXED: Final = 32
_MASK: Final = 0xFFFF_FFFF

_COMMON: Final[list[Any]] = [
    None,
    *range(_shim.BODY_SMALLEST, _shim.BODY_SMALLEST + _shim.BODY_SMALL),
    *[(align, offset, 0) for align in range(_shim.BODY_ALIGNS) for offset in range(_shim.BODY_OFFSETS)],
]
assert len(_COMMON) == _shim.BODY_COMMON


def _row(row: Opcode) -> int:
    """What `body.c` wants to know of an instruction; 0: it is not plain."""
    params, results = row.params or "", row.results or ""
    kind = _NAMED.get(row.mnemonic)
    if kind is None:
        if row.immediate == "mem":
            kind = _shim.BODY_LOAD if results else _shim.BODY_STORE
        elif row.immediate == "none" and params in _OPERANDS and len(results) == 1:
            kind = _shim.BODY_UNARY if len(params) == 1 else _shim.BODY_BINARY
        else:
            return 0
    operand = _LETTERS[params[-1]] if params else 0
    return int(kind) | operand << 8 | (_LETTERS[results] if results else 0) << 16 | row.number << 24


@cache
def instructions() -> Any:
    """The table of instructions for C."""
    rows = array("I", bytes(4 * (256 + _PREFIXED)))
    for code, row in BY_CODE.items():
        if code < 256:
            rows[code] = _row(row)
        elif code >> 12 == _PREFIX and code & 0xFFF < _PREFIXED:
            rows[256 + (code & 0xFFF)] = _row(row)
    rows[_SELECT_OF_TYPE] = 0
    return ffi.from_buffer("uint32_t[]", rows)


_new: Final = ffi.new_allocator(should_clear_after_alloc=False)


class _Shape:
    """What C has to know of a module. `c` is its `VMBodyModule`, `types` where functions have theirs."""

    __slots__ = ("blocks", "c", "keep", "types")

    def __init__(self, module: DecodedModule) -> None:
        types = module.types
        numbers = _NUMBERS.values()
        codes = bytearray()
        signatures = array("I")
        for type_ in types:
            func = type_.composite
            if isinstance(func, FuncType) and {*func.params, *func.results} <= {*numbers}:
                signatures.extend((len(func.params), len(func.results), len(codes)))
                codes += bytes([t.code for t in (*func.params, *func.results)])  # type: ignore[union-attr]
            else:
                signatures.extend((_MASK, 0, 0))
        index_of = {id(type_): index for index, type_ in enumerate(types)}
        self.types = array("I", [index_of[id(func)] for func in module.funcs])
        self.blocks: list[Any] = [
            (t.composite.params, t.composite.results) if isinstance(t.composite, FuncType) else None for t in types
        ]
        globals_ = bytes([g.content.code | g.mutable << 7 if g.content in numbers else 0 for g in module.globals])  # type: ignore[union-attr]
        tables = bytes([not t.is64 and matches_ref(t.element, FUNCREF) for t in module.tables])
        self.keep = [
            ffi.from_buffer(kind, data)
            for kind, data in (
                ("uint8_t[]", bytes(codes)),
                ("uint32_t[]", signatures),
                ("uint32_t[]", self.types),
                ("uint8_t[]", globals_),
                ("uint8_t[]", tables),
            )
        ]
        memory = bool(module.memories) and not module.memories[0].is64
        counts = (len(types), len(module.funcs), len(module.globals), len(module.tables), module.data_count or 0)
        self.c = ffi.new("VMBodyModule *", (*self.keep, *counts, memory))


def read_plain(module: DecodedModule, defined_index: int) -> tuple[list[ValType], list[Instr], set[int]] | None:
    """Locals, instructions and opcodes of a defined function's body if it is plain and valid, else None."""
    shape = module.shape
    if shape is None:
        if module.features != DEFAULT_FEATURES:
            return None
        shape = module.shape = _Shape(module)
    start, end = module.bodies[defined_index]
    length = end - start
    out = _new("VMBody *")
    out.ops = ops = _new("uint32_t[]", length)
    out.values = places = _new("int32_t[]", length)
    out.offsets = offsets = _new("uint32_t[]", length)
    out.sets = sets = _new("uint64_t[]", length)
    out.set_room = length
    out.targets = targets = _new("uint32_t[]", length)
    out.integers = integers = _new("int64_t[]", length)
    out.extras = extras = _new("uint64_t[]", 2 * length)
    data = ffi.from_buffer("uint8_t[]", module.data[start:end])
    type_ = shape.types[module.num_imported_funcs + defined_index]
    count = lib.vm_read_body(shape.c, instructions(), data, start, length, type_, out)
    if not count:
        return None
    values = [*_COMMON, *_items("q", integers, out.integer_count)]
    if out.extra_count:
        values += reversed(_values(shape, out, ffi.unpack(extras, 2 * out.extra_count), sets, targets))
    codes = _items("I", ops, count)
    code = [*zip(codes, map(values.__getitem__, _items("i", places, count)), _items("I", offsets, count))]
    return [_NUMBERS[t] for t in ffi.buffer(out.locals, out.local_count)[:]], code, {*codes}


def _items(kind: str, data: Any, count: int) -> array[int]:
    """The first items of an array of C, for Python to iterate over."""
    items = array(kind)
    items.frombytes(ffi.buffer(data, items.itemsize * count))
    return items


def _values(shape: _Shape, out: Any, extras: list[int], sets: Any, targets: Any) -> list[Any]:
    """A body's own values."""
    values: list[Any] = []
    append = values.append
    size = (out.local_count + 63) // 64 * 8
    bits = ffi.buffer(sets, 8 * out.set_count)[:]
    known: dict[bytes, frozenset[int]] = {}
    words = iter(extras)
    before = 0
    for head, b in zip(words, words):
        kind, a = head & 0xFF, head >> 8
        if kind == _MEMARG:
            append((a, b, 0))
        elif kind == _BLOCK or kind == _LOOP:
            params, results = shape.blocks[a] if a < _TYPE_BYTE else _BLOCKS[a - _TYPE_BYTE]
            key = bits[8 * b : 8 * b + size]
            inside = known.get(key)
            if inside is None:
                inside = known[key] = _bits(int.from_bytes(key, "little"))
            if kind == _BLOCK:
                append((params, results, inside))
            else:
                first = before >> 32
                below = None if before == _MANY else _below(out.below[first : first + (before & _MASK)])
                append((params, results, inside, below))
        elif kind == _PAIR:
            append((a, b))
        elif kind == _TYPE:
            append(_NUMBERS[a])
        elif kind == _BITS:
            append(b)
        elif kind == _BELOW:
            append(None)
        else:
            *labels, default = targets[a : a + b + 1]
            append((tuple(labels), default))
        before = b
    return values


def _below(codes: list[int]) -> tuple[ValType, ...]:
    """Types of operands, which may be unknown."""
    if 0 not in codes:
        return tuple([_NUMBERS[code] for code in codes])
    from core_rt.validate.state import BOTTOM

    return tuple([_NUMBERS.get(code, BOTTOM) for code in codes])


def _bits(word: int) -> frozenset[int]:
    """Which bits are set."""
    found = []
    while word:
        low = word & -word
        found.append(low.bit_length() - 1)
        word ^= low
    return frozenset(found)


_BELOW: Final = _shim.BODY_VALUE_BELOW
_BITS: Final = _shim.BODY_VALUE_BITS
_MEMARG: Final = _shim.BODY_VALUE_MEMARG
_BLOCK: Final = _shim.BODY_VALUE_BLOCK
_LOOP: Final = _shim.BODY_VALUE_LOOP
_PAIR: Final = _shim.BODY_VALUE_PAIR
_TYPE: Final = _shim.BODY_VALUE_TYPE
_TYPE_BYTE: Final = _shim.BODY_TYPE_BYTE
_MANY: Final = 0xFFFF_FFFF_FFFF_FFFF
