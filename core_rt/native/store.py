"""The store context: the block that C, compiled code and Python share per store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from core_rt.errors import StoreError
from core_rt.native.lib import CData, address, exhausted, ffi, lib

__all__ = ["StoreContext", "interrupt_engine", "new_block"]

_Block: TypeAlias = tuple[CData, Callable[[CData], None], tuple[CData, ...], dict[str, memoryview]]
"""A `VMStoreContext *`, what recycles it, its values buffer as typed pointers, and the views that were made of it."""

_POOLED: Final = 64
_pool: list[_Block] = []
"""Contexts that no store uses."""


class StoreContext:
    """Owns a `VMStoreContext` (`context` is the pointer), its values buffer, its fibers and its instances.

    `pointers` is the values buffer as `uint32_t *` and as `uint64_t *`.
    """

    __slots__ = ("__weakref__", "_views", "closed", "context", "pointers")

    def __init__(self) -> None:
        try:
            context, recycle, self.pointers, self._views = _pool.pop()
        except IndexError:
            context, recycle, self.pointers, self._views = _new_context()
        else:
            lib.vm_store_renew(context)
        # This pointer owns the context, and whoever holds an address in it holds this pointer: cffi calls `recycle` with the last
        # reference to it, after all finalizers of what dies together with it.
        self.context: CData = ffi.gc(context, recycle)
        self.closed = False
        """Whether `close` was called; `context` must not be used any more then."""

    @property
    def address(self) -> int:
        """Of the context."""
        return address(self.context)

    def view(self, what: str) -> memoryview:
        """The values buffer as numbers of a `struct` code (i I q Q f d), or the word "host_index"; for use while a guest is run."""
        found = self._views.get(what)
        if found is None:
            if what == "host_index":
                found = memoryview(ffi.buffer(ffi.addressof(self.context, what), 4)).cast("I")
            else:
                buffer = ffi.buffer(self.context.values, lib.VM_VALUES_SIZE)
                found = memoryview(buffer).cast(what)  # type: ignore[call-overload]
            self._views[what] = found
        return found

    def interrupt(self) -> None:
        """Make a running guest leave with `STATUS_INTERRUPT` at its next check. From any thread."""
        if not self.closed:
            lib.vm_interrupt(self.context)

    def end(self) -> None:
        """Give back stacks, memories, tables and the heap; addresses in the context stay good. `StoreError` while a guest is run."""
        if lib.vm_store_end(self.context):
            raise StoreError("the store is in use")

    def close(self) -> None:
        """Free the context and all fibers, parked ones too. `StoreError` while a guest is run. May be repeated."""
        if self.closed:
            return
        if self.context.owner:
            raise StoreError("the store is in use")
        self.closed = True
        ffi.release(self.context)


def _new_context() -> _Block:
    context = lib.vm_store_new()
    if context == ffi.NULL:
        exhausted("no memory for a store")
    values = context.values
    pointers = ffi.cast("uint32_t *", values), ffi.cast("uint64_t *", values)
    views: dict[str, memoryview] = {}
    pool, empty, free = (
        _pool,
        lib.vm_store_empty,
        lib.vm_store_free,
    )  # at the end of the process modules have no names left

    def recycle(_: CData) -> None:
        # A store that a daemon thread is inside at the end of the process is refused (STATUS_BUSY) and stays.
        if empty(context) == 0:
            if len(pool) < _POOLED:
                pool.append((context, recycle, pointers, views))
            else:
                free(context)

    return context, recycle, pointers, views


def interrupt_engine(number: int) -> None:
    """`StoreContext.interrupt` for all stores whose `engine` is that number."""
    lib.vm_interrupt_engine(number)


_allocate = ffi.new_allocator(lib.vm_alloc, lib.vm_free, should_clear_after_alloc=False)


def new_block(size: int) -> CData:
    """`size` zeroed bytes on a 16-byte boundary as a `char[]` that owns them: freed when the last reference goes."""
    return _allocate("char[]", size)
