"""The heap of a store (`heap.h`): reservation, types, allocation, roots and collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core_rt.errors import ExhaustionError
from core_rt.native.lib import CData, exhausted, ffi, lib

__all__ = ["NativeHeap"]

_TABLE: Final = 0
_GLOBAL: Final = 1
_RANGE: Final = 2


class NativeHeap:
    """Typed calls on one store context. Only the thread that owns the store may use it, while no guest runs."""

    __slots__ = ("context",)

    def __init__(self, context: CData) -> None:
        self.context = context

    def reserve(self, limit: int) -> None:
        """Reserve address space for objects of at most `limit` bytes together; does nothing the second time. `ExhaustionError`."""
        if lib.vm_heap_reserve(self.context, limit):
            exhausted(f"cannot reserve a heap of {limit} bytes")

    def describe(self, words: Sequence[int]) -> int:
        """Enter a `VMHeapType`, given as u32 words; returns its offset. `ExhaustionError`."""
        offset = lib.vm_heap_describe(self.context, ffi.new("uint32_t[]", words), len(words))
        if not offset:
            raise ExhaustionError("no room for types on the heap")
        return offset

    def allocate(self, type_offset: int, length: int) -> int:
        """A zeroed object, 0 if there is no room. Never collects."""
        return lib.vm_heap_allocate(self.context, type_offset, length)

    def add_table(self, definition: CData) -> None:
        """A table of compressed references is a root from now on."""
        self._add(_TABLE, definition)

    def add_global(self, definition: CData) -> None:
        """The same for a global."""
        self._add(_GLOBAL, definition)

    def add_range(self, roots: CData) -> None:
        """The same for the 64-bit words of a `VMRoots *`."""
        self._add(_RANGE, roots)

    def _add(self, kind: int, place: CData) -> None:
        if lib.vm_heap_add_root(self.context, kind, place):
            raise ExhaustionError("no memory for another root")

    def set_handles(self, words: CData, count: int) -> None:
        """Where the references are that the host holds; the caller keeps the array."""
        lib.vm_heap_handles(self.context, words, count)

    def set_slots(self, marks: CData, count: int) -> None:
        """Where to mark slots of Python objects; the caller keeps the array."""
        lib.vm_heap_slots(self.context, marks, count)

    def collect(self) -> None:
        """A whole collection, precise for this moment."""
        lib.vm_heap_collect(self.context)

    def stress(self, on: bool = True) -> None:
        """Collect at every allocation of a guest: for tests, which so find references that are live and no roots."""
        lib.vm_heap_stress(self.context, on)

    def step(self, start: bool, budget: int) -> None:
        """Some marking (`budget` bytes of objects); begins one if `start` is true or enough was allocated."""
        lib.vm_heap_step(self.context, start, budget)

    def keep(self, reference: int) -> None:
        """To be called before a reference in the heap is overwritten, with the old one."""
        lib.vm_heap_keep(self.context, reference)

    def close(self) -> None:
        """Free the heap."""
        lib.vm_heap_close(self.context)

    def statistics(self) -> CData:
        """A filled `VMHeapStatistics *`."""
        out = ffi.new("VMHeapStatistics *")
        lib.vm_heap_statistics(self.context, out)
        return out
