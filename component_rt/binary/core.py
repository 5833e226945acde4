"""Core types inside components: recursion groups, module types, core extern types (Binary.md, "Type Definitions")."""

from __future__ import annotations

from typing import Any

from component_rt.binary.reader import Reader
from component_rt.binary.syntax import CoreExternExpr, CoreModuleTypeExpr, CoreRec, CoreSub, CoreValExpr
from core_rt import types as core

__all__ = ["read_core_type", "read_core_valtype", "read_rec"]

MAX_DECLS = 1_000_000
MAX_PARAMS = 1000
MAX_FIELDS = 10_000

_NUMBERS: dict[int, core.ValType] = {0x7F: core.I32, 0x7E: core.I64, 0x7D: core.F32, 0x7C: core.F64, 0x7B: core.V128}
_PACKED: dict[int, core.StorageType] = {0x78: core.I8, 0x77: core.I16}
_HEAPS: dict[int, core.AbsHeap] = {
    0x74: core.AbsHeap.NOEXN,
    0x73: core.AbsHeap.NOFUNC,
    0x72: core.AbsHeap.NOEXTERN,
    0x71: core.AbsHeap.NONE,
    0x70: core.AbsHeap.FUNC,
    0x6F: core.AbsHeap.EXTERN,
    0x6E: core.AbsHeap.ANY,
    0x6D: core.AbsHeap.EQ,
    0x6C: core.AbsHeap.I31,
    0x6B: core.AbsHeap.STRUCT,
    0x6A: core.AbsHeap.ARRAY,
    0x69: core.AbsHeap.EXN,
}


def _reftype(r: Reader, byte: int) -> CoreValExpr:
    if byte in _HEAPS:
        return core.RefType(True, _HEAPS[byte])
    nullable = byte == 0x63
    start = r.pos
    heap = r.signed(33)
    if heap >= 0:
        return nullable, heap
    if heap + 0x80 not in _HEAPS:
        r.fail("invalid heap type", start)
    return core.RefType(nullable, _HEAPS[heap + 0x80])


def _valtype(r: Reader) -> CoreValExpr:
    byte = r.u8()
    if byte in _NUMBERS:
        return _NUMBERS[byte]
    if byte in _HEAPS or byte in (0x63, 0x64):
        return _reftype(r, byte)
    r.leading(byte, "value type")


def read_core_valtype(r: Reader) -> core.ValType:
    """A value type that mentions no type index."""
    start = r.pos
    found = _valtype(r)
    if isinstance(found, tuple):
        r.fail("a reference to a defined type cannot stand here", start)
    return found  # type: ignore[return-value]  # packed types are read by `_field` only


def _field(r: Reader) -> tuple[CoreValExpr, bool]:
    byte = r.peek()
    if byte in _PACKED:
        r.pos += 1
        return _PACKED[byte], _mutable(r)
    return _valtype(r), _mutable(r)


def _mutable(r: Reader) -> bool:
    byte = r.u8()
    if byte > 1:
        r.leading(byte, "mutability")
    return byte == 1


def _composite(r: Reader) -> tuple[Any, ...]:
    byte = r.u8()
    if byte == 0x60:
        params = r.vec(lambda: _valtype(r), MAX_PARAMS, "function params")
        return "func", params, r.vec(lambda: _valtype(r), MAX_PARAMS, "function returns")
    if byte == 0x5F:
        return "struct", r.vec(lambda: _field(r), MAX_FIELDS, "struct fields")
    if byte == 0x5E:
        return "array", _field(r)
    r.leading(byte, "core type")


def _subtype(r: Reader) -> CoreSub:
    start = r.pos
    byte = r.peek()
    if byte not in (0x50, 0x4F):
        return CoreSub(start, True, (), _composite(r))
    r.pos += 1
    supers = r.vec(r.u32, 1, "supertypes")
    return CoreSub(start, byte == 0x4F, supers, _composite(r))


def read_rec(r: Reader) -> CoreRec:
    """A `core:rectype`."""
    start = r.pos
    if r.peek() == 0x4E:
        r.pos += 1
        return CoreRec(start, r.vec(lambda: _subtype(r), MAX_DECLS, "rec group types"))
    return CoreRec(start, (_subtype(r),))


def read_core_type(r: Reader) -> CoreRec | CoreModuleTypeExpr:
    """A `core:type`: `0x50` is a module type here, and a subtype that is not final has `0x00` before it."""
    start = r.pos
    byte = r.peek()
    if byte == 0x50:
        r.pos += 1
        return CoreModuleTypeExpr(start, r.vec(lambda: _decl(r), MAX_DECLS, "module type declarations"))
    if byte == 0x00:
        r.pos += 1
        if r.peek() != 0x50:
            r.leading(r.u8(), "core type")
        return CoreRec(start, (_subtype(r),))
    return read_rec(r)


def _decl(r: Reader) -> tuple[Any, ...]:
    start = r.pos
    match r.u8():
        case 0x00:
            module, name = r.name(), r.name()
            return "import", start, module, name, _externtype(r)
        case 0x01:
            # no module type may stand here: 0x50 is a subtype that is not final, with or without the prefix
            return "type", start, read_rec(r) if r.peek() == 0x50 else read_core_type(r)
        case 0x02:
            kind = r.u8()
            if kind != 0x10:
                r.leading(kind, "outer alias kind")
            target = r.u8()
            if target != 0x01:
                r.leading(target, "outer alias target")
            return "alias", start, r.u32(), r.u32()
        case 0x03:
            name = r.name()
            return "export", start, name, _externtype(r)
        case byte:
            r.leading(byte, "type definition")


def _externtype(r: Reader) -> CoreExternExpr:
    start = r.pos
    match r.u8():
        case 0x00:
            return CoreExternExpr("func", start, r.u32())
        case 0x01:
            byte = r.u8()
            if byte not in _HEAPS and byte not in (0x63, 0x64):
                r.leading(byte, "reference type")
            element = _reftype(r, byte)
            return CoreExternExpr("table", start, 0, (element, *_limits(r, table=True)[:3]))
        case 0x02:
            return CoreExternExpr("memory", start, 0, _limits(r, table=False))
        case 0x03:
            content = _valtype(r)
            return CoreExternExpr("global", start, 0, (content, _mutable(r)))
        case 0x04:
            r.zero()
            return CoreExternExpr("tag", start, r.u32())
        case byte:
            r.leading(byte, "external kind")


def _limits(r: Reader, *, table: bool) -> tuple[int, int | None, bool, bool, int]:
    """Minimum, maximum, whether 64-bit, whether shared, log2 of the page size."""
    flags = r.u8()
    if flags & ~(0x05 if table else 0x0F):
        r.leading(flags, "table limits" if table else "memory limits")
    bits = 64 if flags & 0x04 else 32
    least = r.unsigned(bits)
    most = r.unsigned(bits) if flags & 0x01 else None
    page = 16
    if flags & 0x08:
        start = r.pos
        page = r.u32()
        if page not in (0, 16):
            r.fail("invalid custom page size", start)
    return least, most, bits == 64, bool(flags & 0x02), page
