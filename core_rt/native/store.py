"""The store context: the block that C, compiled code and Python share per store."""

from __future__ import annotations

import weakref

from core_rt.errors import StoreError
from core_rt.native.lib import CData, address, exhausted, ffi, lib

__all__ = ["StoreContext", "new_block"]


class StoreContext:
    """Owns a `VMStoreContext` (`context` is the pointer, `address` the number), its values buffer and its fibers."""

    __slots__ = ("__weakref__", "_finalizer", "address", "context")

    def __init__(self) -> None:
        context = lib.vm_store_new()
        if context == ffi.NULL:
            exhausted("no memory for a store")
        self.context: CData = context
        self.address: int = address(context)
        self._finalizer = weakref.finalize(self, _free, context)
        # What is left at the end of the process goes with it: daemon threads may still be inside guests.
        self._finalizer.atexit = False

    def interrupt(self) -> None:
        """Make a running guest leave with `STATUS_INTERRUPT` at its next check. From any thread."""
        if self._finalizer.alive:
            lib.vm_interrupt(self.context)

    @property
    def closed(self) -> bool:
        """Whether `close` was called; `context` must not be used any more then."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Free the context and all fibers, parked ones too. `StoreError` while a guest is run. May be repeated."""
        if not self._finalizer.alive:
            return
        if lib.vm_store_free(self.context):
            raise StoreError("the store is in use")
        self._finalizer.detach()


def _free(context: CData) -> None:
    lib.vm_store_free(context)


_allocate = ffi.new_allocator(lib.vm_alloc, lib.vm_free, should_clear_after_alloc=False)


def new_block(size: int) -> CData:
    """`size` zeroed bytes on a 16-byte boundary as a `char[]` that owns them: freed when the last reference goes."""
    return _allocate("char[]", size)
