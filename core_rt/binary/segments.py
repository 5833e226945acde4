"""Data segments of the form that nearly all have, thousands of them: read and copied by C, objects only for who looks at one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

from core_rt.binary.model import DataSegment
from core_rt.native import ffi, lib

__all__ = ["PlainSegments"]

_I32_CONST: Final = 0x41


@final
class PlainSegments(Sequence[DataSegment]):
    """Segments that are active, in memory 0, at an `(i32.const c)`; see `native/scan.c`."""

    __slots__ = ("_count", "_words")

    def __init__(self, words: Any, count: int) -> None:
        self._words = words
        self._count = count

    @classmethod
    def read(cls, data: bytes | memoryview, at: int, count: int) -> tuple[PlainSegments, int]:
        """Up to `count` segments from `at` on, and where the first one of another form is, or one with something wrong with it."""
        words = ffi.new("uint32_t[]", 4 * min(count, (len(data) - at) // 5 + 1))
        stop = ffi.new("uint64_t *")
        found = lib.vm_scan_segments(ffi.from_buffer("uint8_t[]", data), at, len(data), count, words, stop)
        return cls(words, found), stop[0]

    @property
    def extent(self) -> tuple[int, int]:
        """Where the last byte ends in memory that any of them writes, and how many bytes they write in all."""
        total = ffi.new("uint64_t *")
        return lib.vm_segments_extent(self._words, self._count, total), total[0]

    def copy(self, memory: bytearray, data: bytes | memoryview) -> None:
        """Write them to what has room for them; `data`: the module."""
        lib.vm_segments_copy(
            ffi.from_buffer("uint8_t[]", memory), ffi.from_buffer("uint8_t[]", data), self._words, self._count
        )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        at = range(self._count)[index]
        value, instruction, start, stop = self._words[4 * at : 4 * at + 4]
        offset = [(_I32_CONST, value - (value >> 31 << 32), instruction)]
        return DataSegment("active", 0, offset, start, stop)
