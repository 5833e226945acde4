"""Lazy-compile stubs: see `stubs.c`. They depend on nothing but their index, so instances may share them."""

from __future__ import annotations

import weakref

from core_rt.native.lib import address, exhausted, ffi, lib

__all__ = ["Stubs"]


class Stubs:
    """`count` stubs in a row: number i leaves the fiber with `STATUS_COMPILE` until `code_table[i]` is another address.

    Stub i stands at `first + i * stride`.
    """

    __slots__ = ("__weakref__", "_finalizer", "count", "first", "stride")

    def __init__(self, count: int) -> None:
        stubs = lib.vm_stubs_new(count)
        if stubs == ffi.NULL:
            exhausted(f"cannot make {count} stubs")
        self.count: int = count
        self.first: int = address(stubs.first)
        self.stride: int = stubs.stride
        self._finalizer = weakref.finalize(self, lib.vm_stubs_free, stubs)
        self._finalizer.atexit = False

    def address(self, index: int) -> int:
        """Where stub `index` stands."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.first + index * self.stride

    def addresses(self) -> range:
        """All of them, in order."""
        return range(self.first, self.first + self.count * self.stride, self.stride)

    def holds(self, address: int) -> bool:
        """Whether an address is one of these stubs."""
        return self.first <= address < self.first + self.count * self.stride

    def close(self) -> None:
        """Unmap them. May be repeated."""
        self._finalizer()
