"""What is wrong with a value from Python: found by walking type and value a second time.

Generated code only notices *that* a value does not fit and raises `Mismatch`. `explain` then finds where, so that the hot
path carries no paths and names. The messages name the function, the way to the value and its WIT type.
"""

from __future__ import annotations

import operator
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from component_rt import types as t
from component_rt import values
from component_rt.abi import convert
from component_rt.abi.mismatch import HandleMismatch, Mismatch

__all__ = ["Mismatch", "explain", "explain_value"]


@attrs.define
class _Found(Exception):
    kind: type[Exception]
    path: str
    of: t.ValType
    what: str


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def explain(function: str, params: Sequence[tuple[str, t.ValType]], args: Sequence[object]) -> Exception:
    """The error for arguments of which one does not fit its parameter."""
    return _explain(
        [(f"{function}: parameter `{name}`", of, value) for (name, of), value in zip(params, args)], function
    )


def explain_value(where: str, of: t.ValType, value: object) -> Exception:
    """The error for one value that does not fit, `where` says which (`result of ...`)."""
    return _explain([(where, of, value)], where)


def _explain(items: list[tuple[str, t.ValType, object]], where: str) -> Exception:
    for path, of, value in items:
        try:
            _check(of, value, path)
        except _Found as found:
            return found.kind(f"{found.path}: {found.what} (wanted {found.of})")
        except RecursionError:
            return ValueError(f"{path}: nested too deep")
    return TypeError(f"{where}: a value changed while it was being passed, or does not fit")


def _check(of: t.ValType, value: Any, path: str) -> None:
    _CHECKS[of.kind](of, value, path)


def _refuse(of: t.ValType, value: object, path: str) -> None:
    raise _Found(TypeError, path, of, f"{_shown(value)} is of type {type(value).__name__}")


def _bool(of: t.ValType, value: Any, path: str) -> None:
    if value is not True and value is not False:
        _refuse(of, value, path)


def _integer(of: t.ValType, value: Any, path: str) -> None:
    low, high = convert.RANGES[of.kind]
    if isinstance(value, bool):
        _refuse(of, value, path)
    try:
        number = operator.index(value)
    except TypeError:
        _refuse(of, value, path)
    if not low <= number <= high:
        raise _Found(OverflowError, path, of, f"{_shown(number)} is not in {low}..{high}")


def _float(of: t.ValType, value: Any, path: str) -> None:
    try:
        number = convert.as_float(value)
    except Mismatch:
        _refuse(of, value, path)
    if of.kind == "f32":
        try:
            struct.pack("<f", number)
        except OverflowError:
            raise _Found(OverflowError, path, of, f"{number!r} is too large") from None


def _char(of: t.ValType, value: Any, path: str) -> None:
    if not isinstance(value, str):
        _refuse(of, value, path)
    if len(value) != 1:
        raise _Found(ValueError, path, of, f"{_shown(value)} has {len(value)} characters")
    _scalars(of, value, path)


def _scalars(of: t.ValType, value: str, path: str) -> None:
    for index, char in enumerate(value):
        if "\ud800" <= char <= "\udfff":
            raise _Found(ValueError, path, of, f"surrogate U+{ord(char):04X} at index {index}")


def _string(of: t.ValType, value: Any, path: str) -> None:
    if not isinstance(value, str):
        _refuse(of, value, path)
    _scalars(of, value, path)


def _list(of: t.ListType, value: Any, path: str) -> None:
    if of.t.kind == "u8" and not isinstance(value, (list, tuple)):
        try:
            value = memoryview(value).tobytes()
        except TypeError:
            pass
    try:
        items = convert.as_list(value)
    except Mismatch:
        _refuse(of, value, path)
    if of.length is not None and len(items) != of.length:
        raise _Found(ValueError, path, of, f"has {len(items)} elements")
    for index, item in enumerate(items):
        _check(of.t, item, f"{path}[{index}]")


def _map(of: t.MapType, value: Any, path: str) -> None:
    if not isinstance(value, (Mapping, list)):
        _refuse(of, value, path)
    for pair in value.items() if isinstance(value, Mapping) else value:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            _refuse(of, value, path)
        key, item = pair
        _check(of.k, key, f"{path}, key {_shown(key)}")
        _check(of.v, item, f"{path}[{_shown(key)}]")


def _tuple(of: t.TupleType, value: Any, path: str) -> None:
    try:
        items = convert.as_list(value)
    except Mismatch:
        _refuse(of, value, path)
    if len(items) != len(of.ts):
        raise _Found(ValueError, path, of, f"has {len(items)} elements")
    for index, (inner, item) in enumerate(zip(of.ts, items)):
        _check(inner, item, f"{path}[{index}]")


def _record(of: t.RecordType, value: Any, path: str) -> None:
    for field, name in zip(of.fields, values.field_names(of)):
        if isinstance(value, Mapping):
            if name not in value and field.label not in value:
                raise _Found(TypeError, path, of, f"the mapping has no `{name}`")
            item = value[name] if name in value else value[field.label]
        elif not hasattr(value, name):
            raise _Found(TypeError, path, of, f"{_shown(value)} has no attribute `{name}`")
        else:
            item = getattr(value, name)
        _check(field.t, item, f"{path}.{name}")
    if isinstance(value, Mapping) and (extra := convert.extra_keys(of, value)):
        raise _Found(TypeError, path, of, f"the mapping has unknown {', '.join(map(repr, extra))}")


def _variant(of: t.VariantType, value: Any, path: str) -> None:
    try:
        index, payload = convert.variant_case(of, value)
    except Mismatch:
        _refuse(of, value, path)
    case = of.cases[index]
    if case.t is not None:
        _check(case.t, payload, f"{path}.{case.label}")


def _enum(of: t.EnumType, value: Any, path: str) -> None:
    try:
        convert.enum_index(of, value)
    except Mismatch:
        if isinstance(value, str):
            raise _Found(ValueError, path, of, f"{_shown(value)} is none of the cases") from None
        _refuse(of, value, path)


def _flags(of: t.FlagsType, value: Any, path: str) -> None:
    try:
        convert.flag_bits(of, value)
    except Mismatch:
        if isinstance(value, (str, set, frozenset, list, tuple)):
            raise _Found(ValueError, path, of, f"{_shown(value)} has unknown labels") from None
        _refuse(of, value, path)


def _option(of: t.OptionType, value: Any, path: str) -> None:
    if value is None:
        return
    if of.t.kind == "option":
        if type(value) is not values.Some:
            raise _Found(TypeError, path, of, f"{_shown(value)}: a nested option is None or Some(...)")
        value = value.value
    elif type(value) is values.Some:
        value = value.value
    _check(of.t, value, path)


def _result(of: t.ResultType, value: Any, path: str) -> None:
    if isinstance(value, values.Ok):
        inner, label = of.ok, "ok"
    elif isinstance(value, values.Err):
        inner, label = of.error, "err"
    else:
        raise _Found(TypeError, path, of, f"{_shown(value)} is neither Ok(...) nor Err(...)")
    if inner is not None:
        _check(inner, value.value, f"{path}.{label}")
    elif value.value is not None:
        raise _Found(TypeError, path, of, f"{label} has no payload")


def _handle(of: t.ValType, value: Any, path: str) -> None:
    # Which objects fit is known to the instance only: the error that is being explained says which one did not.
    error = sys.exception()
    if isinstance(error, HandleMismatch) and error.value is value:
        raise _Found(error.kind, path, of, error.what)


_CHECKS: dict[str, Callable[..., None]] = {
    "bool": _bool,
    **dict.fromkeys(convert.RANGES, _integer),
    "f32": _float,
    "f64": _float,
    "char": _char,
    "string": _string,
    "list": _list,
    "map": _map,
    "tuple": _tuple,
    "record": _record,
    "variant": _variant,
    "enum": _enum,
    "flags": _flags,
    "option": _option,
    "result": _result,
    **dict.fromkeys(["own", "borrow", "stream", "future", "error-context"], _handle),
}
