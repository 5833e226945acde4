"""Values from Python that are not yet of the exact class that generated code handles: the slow side of every check.

Each function answers the converted value or raises `Mismatch`.
"""

from __future__ import annotations

import array
import operator
import struct
from collections.abc import Mapping, Sequence, Set
from typing import Any

from component_rt import types as t
from component_rt import values
from component_rt.abi.mismatch import Mismatch

__all__ = [
    "RANGES",
    "as_bytes",
    "as_f32",
    "as_float",
    "as_int",
    "as_list",
    "as_map",
    "as_record",
    "as_tuple",
    "char_code",
    "enum_index",
    "extra_keys",
    "flag_bits",
    "float_list",
    "int_list",
    "mismatch",
    "variant_case",
]

RANGES = {
    f"{sign}{bits}": (0, 2**bits - 1) if sign == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for bits in (8, 16, 32, 64)
    for sign in "us"
}


def mismatch(*_: object) -> Any:
    """Raise `Mismatch`, where an expression is wanted."""
    raise Mismatch


def as_int(value: Any, low: int, high: int) -> int:
    """Any integer-like object but `bool`, in `low..high`."""
    if isinstance(value, bool):
        raise Mismatch
    try:
        number = operator.index(value)
    except TypeError:
        raise Mismatch from None
    if not low <= number <= high:
        raise Mismatch
    return number


def as_float(value: Any) -> float:
    """A float, or a real number that is no `bool`."""
    if isinstance(value, bool) or isinstance(value, (str, bytes)):
        raise Mismatch
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise Mismatch from None


def as_f32(value: Any) -> float:
    """A float that a 32-bit float can hold (rounded)."""
    number = as_float(value)
    try:
        struct.pack("<f", number)
    except OverflowError:
        raise Mismatch from None
    return number


def char_code(value: Any) -> int:
    """The code of a one-character string that is no surrogate."""
    try:
        code = ord(value)
    except TypeError:
        raise Mismatch from None
    if 0xD800 <= code <= 0xDFFF or not isinstance(value, str):
        raise Mismatch
    return code


def as_list(value: Any) -> Sequence[Any]:
    """Any sequence but a string, as a list or tuple."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, (str, Mapping, Set)):
        raise Mismatch
    if isinstance(value, Sequence) or (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        return list(value)
    raise Mismatch


def as_tuple(value: Any, length: int) -> Sequence[Any]:
    """A sequence of `length` items."""
    items = as_list(value)
    if len(items) != length:
        raise Mismatch
    return items


def as_bytes(value: Any) -> Any:
    """A C-contiguous buffer as a flat byte view; a sequence of ints is converted."""
    if isinstance(value, (list, tuple)):
        for item in set(map(type, value)):
            if issubclass(item, bool):
                raise Mismatch
        try:
            return bytes(value)
        except (TypeError, ValueError):
            raise Mismatch from None
    try:
        view = memoryview(value)
    except TypeError:
        return as_bytes(list(as_list(value)))
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


def _view_or_items(value: Any, typecode: str) -> Any:
    """A buffer of numbers in that format as it is; the items of any other, or of a sequence."""
    try:
        view = memoryview(value)
    except TypeError:
        return as_list(value)
    return view if view.format == typecode and view.c_contiguous and view.ndim == 1 else view.tolist()


def int_list(typecode: str) -> Any:
    """`convert(value) -> (buffer, count)` for a list of integers with that `array` typecode."""
    make = array.array
    only_int = {int}

    def convert(value: Any) -> tuple[Any, int]:
        kind = type(value)
        if kind is not list and kind is not tuple:
            if kind is make and value.typecode == typecode:
                return value, len(value)
            value = _view_or_items(value, typecode)
            if type(value) is memoryview:
                return value, len(value)
        if not only_int.issuperset(map(type, value)):
            value = [_index(item) for item in value]
        try:
            return make(typecode, value), len(value)
        except (OverflowError, TypeError, ValueError):
            raise Mismatch from None

    return convert


def _index(value: Any) -> int:
    if isinstance(value, bool):
        raise Mismatch
    try:
        return operator.index(value)
    except TypeError:
        raise Mismatch from None


def float_list(typecode: str) -> Any:
    """As `int_list` for floats (`"f"` or `"d"`)."""
    numbers = {int, float}

    def convert(value: Any) -> tuple[Any, int]:
        kind = type(value)
        if kind is not list and kind is not tuple:
            value = _view_or_items(value, typecode)
            if type(value) is memoryview:
                return value, len(value)
        if not numbers.issuperset(map(type, value)):
            value = [as_float(item) for item in value]
        count = len(value)
        try:
            return struct.pack(f"<{count}{typecode}", *value), count
        except (OverflowError, struct.error):
            raise Mismatch from None

    return convert


def as_map(value: Any) -> Sequence[tuple[Any, Any]]:
    """The items of a mapping; a list of pairs is taken as it is."""
    if type(value) is list:
        return value
    if not isinstance(value, Mapping):
        raise Mismatch
    return list(value.items())


def extra_keys(of: t.RecordType, value: Mapping[Any, Any]) -> list[Any]:
    """Keys of `value` that are no fields of the record."""
    known = {*values.field_names(of), *[field.label for field in of.fields]}
    return [key for key in value if key not in known]


def as_record(of: t.RecordType, value: Any) -> Any:
    """A mapping (by Python or WIT names) or an object with the fields as attributes, as an instance of the class."""
    cls = values.class_of(of)
    names = values.field_names(of)
    if isinstance(value, cls):
        return value
    try:
        if isinstance(value, Mapping):
            found = [value[n] if n in value else value[f.label] for n, f in zip(names, of.fields)]
            if len(value) != len(names) or extra_keys(of, value):
                raise Mismatch
        else:
            found = [getattr(value, name) for name in names]
    except (KeyError, AttributeError):
        raise Mismatch from None
    return cls(*found)


def variant_case(of: t.VariantType, value: Any) -> tuple[int, Any]:
    """Index and payload of a variant's case: of its class, of an equal class by label, `Case`, or a payload-free label."""
    cases = values.class_of(of).__cases__
    kind = type(value)
    for index, case in enumerate(cases):
        if kind is case:
            return index, value.value
    label: Any = value
    if not isinstance(value, str):  # a case of an equal class, `Case`, or whatever describes itself in the same way
        label = getattr(value, "label", None) or getattr(value, "case", None)
    for index, declared in enumerate(of.cases):
        if declared.label == label:
            payload = None if isinstance(value, str) else getattr(value, "value", None)
            if (declared.t is None) != (payload is None) and (declared.t is None or declared.t.kind != "option"):
                raise Mismatch
            return index, payload
    raise Mismatch


def enum_index(of: t.EnumType, value: Any) -> int:
    """Index of an enum's case: a member, a member of an enum with the same names, or a name in WIT or Python case."""
    cls = values.class_of(of)
    if type(value) is cls:
        return int(value._value_)
    name = value if isinstance(value, str) else getattr(value, "name", None)
    if isinstance(name, str):
        if name in of.labels:
            return of.labels.index(name)
        member = cls.__members__.get(name.replace("-", "_").upper())
        if member is not None:
            return int(member._value_)
    raise Mismatch


def flag_bits(of: t.FlagsType, value: Any) -> int:
    """Bits of a flags value: a member, a label, or labels and members in a set or sequence."""
    cls = values.class_of(of)
    if type(value) is cls:
        return int(value._value_)
    if isinstance(value, str):
        if value in of.labels:
            return 1 << of.labels.index(value)
        member = cls.__members__.get(value.replace("-", "_").upper())
        if member is None:
            raise Mismatch
        return int(member._value_)
    if isinstance(value, (Set, list, tuple)):
        bits = 0
        for item in value:
            bits |= flag_bits(of, item)
        return bits
    other = getattr(type(value), "__wit_type__", None)
    if isinstance(other, t.FlagsType) and other == of:
        return int(value._value_)
    raise Mismatch
