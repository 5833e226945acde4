"""Long lists of numbers and of function bodies, read by C (`native/scan.c`).

C stops where something is wrong or unusual; then there is no answer, and who asked reads the list in Python, which says what it is.
"""

from __future__ import annotations

from array import array
from typing import Any

from core_rt.native import ffi, lib

__all__ = ["LONG", "scan_bodies", "scan_numbers"]

LONG = 32
"""A list of fewer items is read in Python in less time than C is called."""


def _items(data: Any, count: int) -> array[int]:
    items = array("I")
    items.frombytes(ffi.buffer(data, items.itemsize * count))
    return items


def scan_numbers(data: bytes | memoryview, at: int, end: int, count: int) -> tuple[list[int], int] | None:
    """`count` unsigned 32-bit integers in LEB128, and where they end; None if they are not all there before `end`."""
    numbers, stop = ffi.new("uint32_t[]", count), ffi.new("uint64_t *")
    source = ffi.from_buffer("uint8_t[]", data)
    if lib.vm_scan_numbers(source, at, min(end, len(data)), count, numbers, stop) < count:
        return None
    return _items(numbers, count).tolist(), stop[0]


def scan_bodies(
    data: bytes | memoryview, at: int, end: int, count: int, most: int
) -> tuple[list[tuple[int, int]], int] | None:
    """Where `count` function bodies of at most `most` bytes begin and end, and where the last one does; None if they are not all there."""
    starts, ends, stop = ffi.new("uint32_t[]", count), ffi.new("uint32_t[]", count), ffi.new("uint64_t *")
    source = ffi.from_buffer("uint8_t[]", data)
    if lib.vm_scan_bodies(source, at, min(end, len(data)), count, most, starts, ends, stop) < count:
        return None
    return [*zip(_items(starts, count), _items(ends, count))], stop[0]
