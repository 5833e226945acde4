"""Value definitions: the bytes of a constant, checked against its type and decoded (Binary.md, "Value Definitions").

`component_rt.model.ValueDef` says which Python values stand for which component values.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from component_rt.binary.reader import Reader
from component_rt.types import ValType
from core_rt.errors import ValidationError

__all__ = ["read_value"]

_CANONICAL_NAN = {"f32": b"\x00\x00\xc0\x7f", "f64": b"\x00\x00\x00\x00\x00\x00\xf8\x7f"}


def read_value(data: bytes | memoryview, start: int, end: int, t: ValType) -> Any:
    """Decode bytes `start` to `end` as one value of type `t`. Raises `DecodeError` or `ValidationError`."""
    r = Reader(data, start, end)
    value = _read(r, t)
    if r.pos != end:
        r.fail("value has trailing bytes")
    return value


def _read(r: Reader, t: ValType) -> Any:
    read = _READ.get(t.kind)
    if read is None:
        raise ValidationError(f"a value definition cannot have the type `{t}`", r.pos)
    return read(r, t)


def _choice(r: Reader, count: int, what: str) -> int:
    start = r.pos
    index = r.u32()
    if index >= count:
        r.fail(f"invalid {what} {index}: the type has {count}", start)
    return index


def _byte(r: Reader, t: ValType) -> int:
    value = r.u8()
    return value - 256 if t.kind == "s8" and value >= 128 else value


def _float(r: Reader, t: ValType) -> float:
    body = r.sub(4 if t.kind == "f32" else 8)
    raw = bytes(r.data[body.pos : body.end])
    value: float = struct.unpack("<f" if t.kind == "f32" else "<d", raw)[0]
    if value != value and raw != _CANONICAL_NAN[t.kind]:
        r.fail("a NaN that is not canonical", body.pos)
    return value


def _char(r: Reader, t: ValType) -> str:
    first = r.peek()
    size = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    body = r.sub(size)
    try:
        return str(r.data[body.pos : body.end], "utf-8")
    except UnicodeDecodeError:
        r.fail("malformed UTF-8 encoding", body.pos)


def _flags(r: Reader, t: Any) -> frozenset[str]:
    size = (len(t.labels) + 7) // 8
    body = r.sub(size)
    bits = int.from_bytes(bytes(r.data[body.pos : body.end]), "little")
    return frozenset([label for i, label in enumerate(t.labels) if bits >> i & 1])


def _list(r: Reader, t: Any) -> list[Any]:
    start = r.pos
    count = r.u32()
    if count > r.end - r.pos:
        r.fail("unexpected end-of-file", r.end)
    if t.length is not None and count != t.length:
        r.fail(f"a list of length {t.length} with {count} elements", start)
    return [_read(r, t.t) for _ in range(count)]


def _variant(r: Reader, t: Any) -> tuple[str, Any]:
    case = t.cases[_choice(r, len(t.cases), "variant case")]
    return case.label, None if case.t is None else _read(r, case.t)


def _option(r: Reader, t: Any) -> tuple[Any] | None:
    return (_read(r, t.t),) if r.flag() else None


def _result(r: Reader, t: Any) -> tuple[str, Any]:
    label, inner = ("error", t.error) if r.flag() else ("ok", t.ok)
    return label, None if inner is None else _read(r, inner)


def _map(r: Reader, t: Any) -> dict[Any, Any]:
    count = r.u32()
    if count > r.end - r.pos:
        r.fail("unexpected end-of-file", r.end)
    pairs = [(_read(r, t.k), _read(r, t.v)) for _ in range(count)]
    return dict(pairs)


def _integer(bits: int, signed: bool) -> Callable[[Reader, Any], int]:
    return (lambda r, t: r.signed(bits)) if signed else (lambda r, t: r.unsigned(bits))


_READ: dict[str, Callable[[Reader, Any], Any]] = {
    "bool": lambda r, t: r.flag(),
    "u8": _byte,
    "s8": _byte,
    "s16": _integer(16, True),
    "u16": _integer(16, False),
    "s32": _integer(32, True),
    "u32": _integer(32, False),
    "s64": _integer(64, True),
    "u64": _integer(64, False),
    "f32": _float,
    "f64": _float,
    "char": _char,
    "string": lambda r, t: r.name(),
    "record": lambda r, t: {field.label: _read(r, field.t) for field in t.fields},
    "variant": _variant,
    "list": _list,
    "tuple": lambda r, t: tuple([_read(r, inner) for inner in t.ts]),
    "flags": _flags,
    "enum": lambda r, t: t.labels[_choice(r, len(t.labels), "enum case")],
    "option": _option,
    "result": _result,
    "map": _map,
}
