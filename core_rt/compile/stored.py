"""Optimised code of a module as bytes: what the cache keeps and workers hand back.

A sequence of units, each `u32 names, u64 length, u64 object` (counts and byte lengths), the unit's wrapper symbols joined by spaces,
and the ELF object. Nothing in it is specific to a process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import attrs

_HEAD = struct.Struct("<II")
_COUNT = struct.Struct("<I")


@attrs.frozen
class StoredUnit:
    """Optimised functions: their ELF object, and which of its symbols only pass a call on."""

    code: bytes
    wrappers: frozenset[str]


def pack(units: Iterable[StoredUnit]) -> bytes:
    """The units as bytes."""
    parts = [b""]
    count = 0
    for unit in units:
        names = " ".join(sorted(unit.wrappers)).encode()
        parts += [_HEAD.pack(len(names), len(unit.code)), names, unit.code]
        count += 1
    parts[0] = _COUNT.pack(count)
    return b"".join(parts)


def unpack(data: bytes | memoryview) -> Iterator[StoredUnit]:
    """The units in `data`. `ValueError` where it is not what `pack` makes."""
    view = memoryview(data)
    if len(view) < _COUNT.size:
        raise ValueError("no stored code")
    (count,) = _COUNT.unpack_from(view)
    at = _COUNT.size
    for _ in range(count):
        if at + _HEAD.size > len(view):
            raise ValueError("stored code is cut off")
        names, length = _HEAD.unpack_from(view, at)
        at += _HEAD.size
        end = at + names + length
        if end > len(view):
            raise ValueError("stored code is cut off")
        wrappers = bytes(view[at : at + names]).decode().split()
        yield StoredUnit(bytes(view[at + names : end]), frozenset(wrappers))
        at = end
    if at != len(view):
        raise ValueError("stored code is followed by something else")
