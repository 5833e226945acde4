"""Optimised code of a module as bytes: what the cache keeps and workers hand back.

A sequence of units, each `u32 names, u64 length, u64 object` (counts and byte lengths), the unit's wrapper symbols joined by spaces,
and the ELF object. Nothing in it is specific to a process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import IO

from core_rt.record import record

_HEAD = struct.Struct("<II")
_COUNT = struct.Struct("<I")


@record
class StoredUnit:
    """Optimised functions: their ELF object, and which of its symbols only pass a call on."""

    code: bytes
    wrappers: frozenset[str]


def pack(units: Iterable[StoredUnit]) -> bytes:
    """The units as bytes."""
    parts = [_pack(unit) for unit in units]
    return b"".join([_COUNT.pack(len(parts)), *parts])


def _pack(unit: StoredUnit) -> bytes:
    names = " ".join(sorted(unit.wrappers)).encode()
    return b"".join([_HEAD.pack(len(names), len(unit.code)), names, unit.code])


def write_units(stream: IO[bytes], count: int, units: Iterable[StoredUnit]) -> None:
    """Write what `pack` makes of `count` units, each as soon as it is there."""
    stream.write(_COUNT.pack(count))
    for unit in units:
        stream.write(_pack(unit))
        stream.flush()


def read_units(stream: IO[bytes]) -> Iterator[StoredUnit]:
    """The units in a stream, each as soon as it is there. `ValueError` where it is not what `pack` makes."""

    def take(size: int) -> bytes:
        data = stream.read(size)
        if len(data) != size:
            raise ValueError("stored code is cut off")
        return data

    (count,) = _COUNT.unpack(take(_COUNT.size))
    for _ in range(count):
        names, length = _HEAD.unpack(take(_HEAD.size))
        wrappers = take(names).decode().split()
        yield StoredUnit(take(length), frozenset(wrappers))


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
