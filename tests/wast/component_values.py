"""Constants of component scripts: as Python arguments, and as a question to a Python result.

The table of Python types is the one of the public documentation: records are mappings on the way in and objects with
attributes on the way out, a function's own `result` is a value or a raised `Err`, and so on.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Mapping

import attrs

import component_rt as rt

from .literals import float_bits, int_value
from .reader import List, ScriptError, Text

__all__ = ["Const", "Raised", "accepts", "accepts_outcome", "argument", "parse_const"]


@attrs.frozen
class Const:
    """`kind` is the WIT type's kind; `value` is a Python scalar, a tuple of `Const`, or names."""

    kind: str
    value: object
    case: str | None = None


@attrs.frozen
class Raised:
    """What a call raised."""

    error: rt.Err


_INTEGERS = {"u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"}


def _text(item: object) -> str:
    if not isinstance(item, Text):
        raise ScriptError(f"string expected, not {item!r}")
    return item.decode("utf-8", "surrogateescape")


def _float(text: str, width: int) -> float:
    if text in ("nan:canonical", "nan:arithmetic"):
        return math.nan
    raw = float_bits(text, width).to_bytes(width // 8, "little")
    value: float = struct.unpack("<f" if width == 32 else "<d", raw)[0]
    return value


def _field(node: object) -> tuple[str, Const]:
    """`(field "name" u8.const 1)`: the value stands without parentheses of its own."""
    if not isinstance(node, List) or node.head != "field":
        raise ScriptError("a record has fields")
    value = node.items[2]
    if not isinstance(value, List):
        value = List(node.start, node.end, node.items[2:])
    return _text(node.items[1]), parse_const(value)


def parse_const(node: List) -> Const:
    """A component value of a script."""
    kind, _, form = node.head.partition(".")
    items = node.items[1:]

    def payload(index: int) -> Const | None:
        if index >= len(items):
            return None
        item = items[index]
        if not isinstance(item, List):
            raise ScriptError(f"value expected, not {item!r}")
        return parse_const(item)

    match kind, form:
        case _, "const" if kind in _INTEGERS:
            return Const(kind, int_value(str(items[0])))
        case "f32" | "f64", "const":
            return Const(kind, _float(str(items[0]), int(kind[1:])))
        case "bool", "const":
            return Const(kind, items[0] == "true")
        case "char" | "enum", "const":
            return Const(kind, _text(items[0]))
        case "str", "const":
            return Const("string", _text(items[0]))
        case "list" | "tuple", "const":
            return Const(kind, tuple(payload(index) for index in range(len(items))))
        case "flags", "const":
            return Const(kind, frozenset(map(_text, items)))
        case "record", "const":
            return Const(kind, tuple(map(_field, items)))
        case "variant", "const":
            return Const(kind, payload(1), _text(items[0]))
        case "option", "none" | "some":
            return Const(kind, payload(0), form)
        case "result", "ok" | "err":
            return Const(kind, payload(0), form)
    raise ScriptError(f"unknown value form {node.head!r}")


def argument(const: Const) -> object:
    """The Python value to pass."""

    def inner(value: object) -> object:
        return None if value is None else argument(value)  # type: ignore[arg-type]

    value = const.value
    match const.kind:
        case "list" | "tuple":
            return [inner(item) for item in value]  # type: ignore[attr-defined]
        case "record":
            return {name.replace("-", "_"): inner(item) for name, item in value}  # type: ignore[attr-defined]
        case "option":
            if const.case == "none":
                return None
            assert isinstance(value, Const)
            return rt.Some(inner(value)) if value.kind == "option" else inner(value)
        case "result":
            return rt.Ok(inner(value)) if const.case == "ok" else rt.Err(inner(value))
        case "variant":
            assert const.case is not None
            return rt.Case(const.case, inner(value))
        case "flags":
            return set(value)  # type: ignore[call-overload]
    return value


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


def _payload_accepts(const: Const, got: object) -> bool:
    return const.value is None or accepts(const.value, got.value)  # type: ignore[arg-type, attr-defined]


def accepts_outcome(const: Const, outcome: object) -> bool:
    """Is this what a call came to? A function's own `result` is its payload, or raised: `outcome` is then `Raised`."""
    if const.kind != "result":
        return accepts(const, outcome)
    is_raised = isinstance(outcome, Raised)
    payload = outcome.error.value if isinstance(outcome, Raised) else outcome
    if is_raised != (const.case == "err"):
        return False
    return accepts(const.value, payload) if isinstance(const.value, Const) else payload is None


def accepts(const: Const, got: object) -> bool:
    """Is `got` this value?"""
    value = const.value
    match const.kind:
        case "f32" | "f64":
            assert isinstance(value, float)
            same_nan = math.isnan(value) and isinstance(got, float) and math.isnan(got)
            return same_nan or (isinstance(got, float) and struct.pack("<d", got) == struct.pack("<d", value))
        case "list":
            if not isinstance(got, (list, bytes)):
                return isinstance(got, dict) and accepts(const, [list(pair) for pair in got.items()])
            return _all_accept(value, got)
        case "tuple":
            return isinstance(got, (tuple, list)) and _all_accept(value, got)
        case "record":
            return all(accepts(item, _attribute(got, name)) for name, item in value)  # type: ignore[attr-defined]
        case "flags":
            names = {member.name.lower().replace("_", "-") for member in type(got) if member in got}  # type: ignore
            return isinstance(got, enum.Flag) and names == value
        case "enum":
            return isinstance(got, enum.Enum) and _plain(got.name) == _plain(str(value))
        case "option":
            if const.case == "none":
                return got is None
            assert isinstance(value, Const)
            return accepts(value, got.value if isinstance(got, rt.Some) else got)
        case "result":
            return isinstance(got, rt.Ok if const.case == "ok" else rt.Err) and _payload_accepts(const, got)
        case "variant":
            assert const.case is not None
            return _plain(type(got).__name__).endswith(_plain(const.case)) and _payload_accepts(const, got)
    return type(got) is type(value) and got == value


def _all_accept(value: object, got: list[object] | tuple[object, ...] | bytes) -> bool:
    assert isinstance(value, tuple)
    return len(got) == len(value) and all(map(accepts, value, got))


def _attribute(got: object, name: str) -> object:
    key = name.replace("-", "_")
    return got[key] if isinstance(got, Mapping) else getattr(got, key)
