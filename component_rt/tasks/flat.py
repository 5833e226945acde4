"""Elements of streams that are moved from one guest's memory to another's as they are.

Numbers, booleans, characters, enums, flags, and records, tuples and fixed lists of these have no addresses or handles in them:
their bytes mean the same to every guest. So they are copied, column by column where there is padding between them, which is
not the reader's to see. What lifting would refuse, or make something else of, is looked for in the same way (`Flat.checks`);
elements that fail are left to lifting and lowering.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import attrs

from component_rt import types as t
from component_rt.abi import layout as lay

__all__ = ["Flat", "flat_of"]

_NUMBERS: Final = frozenset(["u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64"])
_LONGEST: Final = 256
"""Elements of more bytes are not worth the trouble."""


@attrs.frozen
class Flat:
    """How elements of `size` bytes are copied: `runs` are offsets and lengths of what is no padding.

    `limits` are bytes (offset, greatest legal value); `chars` are offsets of characters.
    """

    size: int
    runs: tuple[tuple[int, int], ...]
    limits: tuple[tuple[int, int], ...]
    chars: tuple[int, ...]

    def fits(self, data: Any, start: int, n: int) -> bool:
        """Whether lifting `n` elements would give what their bytes say."""
        size, end = self.size, start + n * self.size
        for offset, limit in self.limits:
            if max(data[start + offset : end : size]) > limit:
                return False
        for offset in self.chars:
            text = bytearray(4 * n)
            for i in range(4):
                text[i::4] = data[start + offset + i : end : size]
            try:
                text.decode("utf-32-le")
            except UnicodeDecodeError:
                return False
        return True

    def copy(self, source: Any, start: int, target: Any, to: int, n: int) -> None:
        """Move `n` elements from one view of memory to another."""
        size, runs = self.size, self.runs
        if runs == ((0, size),):
            target[to : to + n * size] = source[start : start + n * size]
        elif n * len(runs) <= sum([length for _, length in runs]):
            for element in range(0, n * size, size):
                for offset, length in runs:
                    at = element + offset
                    target[to + at : to + at + length] = source[start + at : start + at + length]
        else:
            end, to_end = start + n * size, to + n * size
            for offset, length in runs:
                for column in range(offset, offset + length):
                    target[to + column : to_end : size] = source[start + column : end : size]


@functools.lru_cache(maxsize=1024)
def flat_of(of: t.ValType) -> Flat | None:
    """How elements of type `of` are copied; None if they must be lifted and lowered."""
    runs: list[tuple[int, int]] = []
    limits: list[tuple[int, int]] = []
    chars: list[int] = []
    size = lay.layout(of).size
    if not 0 < size <= _LONGEST or not _walk(of, 0, runs, limits, chars):
        return None
    merged: list[tuple[int, int]] = []
    for offset, length in runs:
        if merged and sum(merged[-1]) == offset:
            offset, before = merged.pop()
            length += before
        merged.append((offset, length))
    return Flat(size, tuple(merged), tuple(limits), tuple(chars))


def _walk(of: t.ValType, at: int, runs: list[Any], limits: list[Any], chars: list[int]) -> bool:
    """Add what a value at offset `at` consists of. False: something that is not flat."""
    inner: list[tuple[t.ValType, int]] = []
    match of:
        case t.RecordType(fields=fields):
            types = [field.t for field in fields]
            inner = list(zip(types, lay.field_offsets(types, 4)))
        case t.TupleType(ts=types):
            inner = list(zip(types, lay.field_offsets(types, 4)))
        case t.ListType(t=element, length=int(length)):
            inner = [(element, index * lay.layout(element).size) for index in range(length)]
        case _:
            return _walk_scalar(of, at, runs, limits, chars)
    return all(_walk(part, at + offset, runs, limits, chars) for part, offset in inner)


def _walk_scalar(of: t.ValType, at: int, runs: list[Any], limits: list[Any], chars: list[int]) -> bool:
    size = lay.layout(of).size
    match of:
        case t.FlagsType(labels=labels):
            bits = [max(0, min(8, len(labels) - 8 * i)) for i in range(size)]
            limits += [(at + i, (1 << used) - 1) for i, used in enumerate(bits) if used < 8]
        case t.EnumType(labels=labels) if len(labels) <= 256:
            limits.append((at, len(labels) - 1))
        case t.PrimValType(kind="bool"):
            limits.append((at, 1))
        case t.PrimValType(kind="char"):
            chars.append(at)
        case t.PrimValType(kind=kind) if kind in _NUMBERS:
            pass
        case _:
            return False
    runs.append((at, size))
    return True
