"""The store context: the block that C, compiled code and Python share per store."""

from __future__ import annotations

from core_rt.errors import StoreError
from core_rt.native.lib import CData, address, exhausted, ffi, lib

__all__ = ["StoreContext", "new_block"]


class StoreContext:
    """Owns a `VMStoreContext` (`context` is the pointer, `address` the number), its values buffer and its fibers."""

    __slots__ = ("__weakref__", "address", "closed", "context")

    def __init__(self) -> None:
        context = lib.vm_store_new()
        if context == ffi.NULL:
            exhausted("no memory for a store")
        # The pointer owns the context: it is freed with the last reference to it. A store that a daemon thread is inside at the end
        # of the process is refused that (STATUS_BUSY) and stays.
        self.context: CData = ffi.gc(context, lib.vm_store_free)
        self.address: int = address(context)
        self.closed = False
        """Whether `close` was called; `context` must not be used any more then."""

    def interrupt(self) -> None:
        """Make a running guest leave with `STATUS_INTERRUPT` at its next check. From any thread."""
        if not self.closed:
            lib.vm_interrupt(self.context)

    def close(self) -> None:
        """Free the context and all fibers, parked ones too. `StoreError` while a guest is run. May be repeated."""
        if self.closed:
            return
        if self.context.owner:
            raise StoreError("the store is in use")
        self.closed = True
        ffi.release(self.context)


_allocate = ffi.new_allocator(lib.vm_alloc, lib.vm_free, should_clear_after_alloc=False)


def new_block(size: int) -> CData:
    """`size` zeroed bytes on a 16-byte boundary as a `char[]` that owns them: freed when the last reference goes."""
    return _allocate("char[]", size)
