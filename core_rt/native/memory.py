"""Address space for linear memories, and images of their initial contents."""

from __future__ import annotations

import weakref
from typing import Any

from core_rt.errors import EngineBug
from core_rt.native.lib import CData, address, exhausted, ffi, lib

__all__ = ["Image", "Reservation", "set_pool_limits", "statistics"]


class Image:
    """Contents that many memories start with: mapped copy-on-write, so that using it costs no copy.

    `size` is the length of the data in bytes; the rest of its last page reads as zeros.
    """

    __slots__ = ("__weakref__", "_finalizer", "fd", "size")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        source = ffi.from_buffer("uint8_t[]", data)
        self.size = len(source)
        self.fd = lib.vm_image_new(source, self.size)
        if self.fd < 0:
            exhausted("no image of a memory")
        self._finalizer = weakref.finalize(self, lib.vm_image_free, self.fd)

    def close(self) -> None:
        """Close the file; memories that were made from it keep their contents. May be repeated."""
        self._finalizer()


class Reservation:
    """A range of addresses, accessible from its start up to what was committed; all the rest faults.

    `base` is the address, `size` the bytes reserved (whole pages). The range is given back once `close` was called (or
    the object is gone) *and* no view of it is left.
    """

    __slots__ = ("__weakref__", "_bytes", "_handle", "base", "size")

    def __init__(self, size: int) -> None:
        handle = lib.vm_reserve(size)
        if handle == ffi.NULL:
            exhausted(f"cannot reserve {size} bytes of address space")
        self._handle: CData = handle
        self.base: int = address(handle.base)
        self.size: int = handle.size
        release = lib.vm_release
        # The owner of the range is the pointer, not this object: views keep it alive.
        self._bytes: CData = ffi.gc(ffi.cast("char *", handle.base), lambda _: release(handle))

    @property
    def pointer(self) -> CData:
        """`base` as a `char *` that keeps the range."""
        return self._bytes

    @property
    def accessible(self) -> int:
        """Bytes that can be read and written, from `base` on."""
        return int(self._open().accessible)

    @property
    def closed(self) -> bool:
        return self._handle is None

    def _open(self) -> CData:
        handle = self._handle
        if handle is None:
            raise EngineBug("a memory's reservation was used after it was closed")
        return handle

    def commit(self, length: int) -> None:
        """Make the first `length` bytes accessible (rounded up to whole pages); what is new is zero."""
        if lib.vm_commit(self._open(), length):
            exhausted(f"cannot commit {length} bytes of memory")

    def decommit(self, keep: int = 0) -> None:
        """Reset all but the first `keep` bytes (rounded up to pages): not accessible, zero when committed again."""
        if lib.vm_decommit(self._open(), keep):
            exhausted("cannot reset a memory")

    def map_image(self, image: Image, length: int) -> None:
        """Commit `length` bytes that begin with the image's. For a reservation that was not used yet."""
        handle = self._open()
        if image.size > length:
            raise EngineBug(f"an image of {image.size} bytes in a memory of {length}")
        if lib.vm_image_map(handle, image.fd, image.size) or lib.vm_commit(handle, length):
            exhausted(f"cannot map an image of {image.size} bytes")

    def buffer(self, length: int) -> Any:
        """The first `length` bytes as an `ffi.buffer`, which keeps the range alive."""
        self._open()
        return ffi.buffer(self._bytes, length)

    def view(self, length: int) -> memoryview:
        """The first `length` bytes, writable. They must be committed."""
        if length > self.accessible:
            raise EngineBug(f"a view of {length} bytes where {self.accessible} are accessible")
        return memoryview(ffi.buffer(self._bytes, length))

    def close(self) -> None:
        """Give the range back, as soon as no view of it is left. May be repeated."""
        self._handle = None
        self._bytes = None


def set_pool_limits(*, reservations: int | None = None, stacks: int | None = None, resident_stacks: int = 64) -> None:
    """How many freed reservations and fiber stacks are kept for reuse, and how many of the stacks with their pages."""
    if reservations is not None:
        lib.vm_reservation_pool_limit(reservations)
    if stacks is not None:
        lib.vm_fiber_pool_limit(stacks, resident_stacks)


_STATISTICS = tuple(name for name, _ in ffi.typeof("VMStatistics").fields)


def statistics() -> dict[str, int]:
    """Counts for the whole process: live and pooled resources, traps, ticks."""
    out = ffi.new("VMStatistics *")
    lib.vm_statistics(out)
    return {name: getattr(out, name) for name in _STATISTICS}
