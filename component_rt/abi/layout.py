"""Size and alignment of component values in linear memory (CanonicalABI.md, "Alignment" and "Element Size").

`pointer` is the size of an address in bytes: 4 for 32-bit memories, 8 for 64-bit ones. Layouts do not depend on type
names, and types compare by structure, so one entry serves every name a type has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

from component_rt import types as t

__all__ = [
    "MAX_BYTE_LENGTH",
    "Layout",
    "align_to",
    "cases_of",
    "discriminant_size",
    "field_offsets",
    "flags_size",
    "layout",
    "payload_offset",
]

MAX_BYTE_LENGTH = (1 << 28) - 1
"""A string or list may not take more bytes than this (`MAX_STRING_BYTE_LENGTH`, `MAX_LIST_BYTE_LENGTH`)."""


class Layout(NamedTuple):
    """Bytes a value takes in memory, and the alignment of its address (a power of two)."""

    size: int
    align: int


def align_to(offset: int, align: int) -> int:
    """`offset` rounded up to a multiple of `align`, a power of two."""
    return (offset + align - 1) & -align


def discriminant_size(cases: int) -> int:
    """Bytes of the discriminant of a variant with that many cases."""
    return 1 if cases <= 1 << 8 else 2 if cases <= 1 << 16 else 4


def flags_size(labels: int) -> int:
    """Bytes of a `flags` value with that many labels (1 to 32)."""
    return 1 if labels <= 8 else 2 if labels <= 16 else 4


def cases_of(of: t.ValType) -> tuple[t.ValType | None, ...]:
    """Payload types of a variant, option, result or enum, in the order of their discriminants."""
    match of:
        case t.VariantType(cases=cases):
            return tuple([case.t for case in cases])
        case t.OptionType(t=some):
            return (None, some)
        case t.ResultType(ok=ok, error=error):
            return (ok, error)
        case t.EnumType(labels=labels):
            return (None,) * len(labels)
    raise AssertionError(of)


def _record(fields: Iterable[t.ValType], pointer: int) -> Layout:
    size, align = 0, 1
    for field in fields:
        inner = layout(field, pointer)
        size = align_to(size, inner.align) + inner.size
        align = max(align, inner.align)
    return Layout(align_to(size, align), align)


def field_offsets(fields: Iterable[t.ValType], pointer: int) -> list[int]:
    """Offset of each field of a record or tuple."""
    offsets, end = [], 0
    for field in fields:
        inner = layout(field, pointer)
        start = align_to(end, inner.align)
        offsets.append(start)
        end = start + inner.size
    return offsets


def payload_offset(of: t.ValType, pointer: int) -> int:
    """Offset of the payload in a variant, option or result."""
    cases = cases_of(of)
    align = max([layout(case, pointer).align for case in cases if case is not None], default=1)
    return align_to(discriminant_size(len(cases)), align)


def _variant(of: t.ValType, pointer: int) -> Layout:
    cases = cases_of(of)
    inner = [layout(case, pointer) for case in cases if case is not None]
    disc = discriminant_size(len(cases))
    payload_align = max([i.align for i in inner], default=1)
    align = max(disc, payload_align)
    size = align_to(disc, payload_align) + max([i.size for i in inner], default=0)
    return Layout(align_to(size, align), align)


def _list(of: t.ListType, pointer: int) -> Layout:
    if of.length is None:
        return Layout(2 * pointer, pointer)
    inner = layout(of.t, pointer)
    return Layout(of.length * inner.size, inner.align)


_FIXED = {
    "bool": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "s64": 8, "u64": 8, "f32": 4, "f64": 8,
    "char": 4, "error-context": 4, "own": 4, "borrow": 4, "stream": 4, "future": 4,
}  # fmt: skip

_BY_KIND: dict[str, Callable[..., Layout]] = {
    "string": lambda of, pointer: Layout(2 * pointer, pointer),
    "map": lambda of, pointer: Layout(2 * pointer, pointer),
    "list": _list,
    "record": lambda of, pointer: _record([f.t for f in of.fields], pointer),
    "tuple": lambda of, pointer: _record(of.ts, pointer),
    "variant": _variant,
    "enum": _variant,
    "option": _variant,
    "result": _variant,
    "flags": lambda of, pointer: Layout(flags_size(len(of.labels)), flags_size(len(of.labels))),
}


@functools.lru_cache(maxsize=8192)
def layout(of: t.ValType, pointer: int = 4) -> Layout:
    """Size and alignment of values of type `of`."""
    fixed = _FIXED.get(of.kind)
    return Layout(fixed, fixed) if fixed is not None else _BY_KIND[of.kind](of, pointer)
