"""Address space for linear memories, and images of their initial contents."""

from __future__ import annotations

import weakref

from core_rt.errors import EngineBug
from core_rt.native.lib import CData, address, exhausted, ffi, lib

__all__ = ["Image", "Reservation", "set_pool_limits", "statistics"]


class Image:
    """Contents that many memories start with: mapped copy-on-write, so that using it costs no copy.

    `size` is the length of the data in bytes; the rest of its last page reads as zeros. `handle` is the `VMImage *`.
    """

    __slots__ = ("__weakref__", "_finalizer", "handle", "size")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        source = ffi.from_buffer("uint8_t[]", data)
        self._hold(lib.vm_image_new(source, len(source)), len(source))

    @classmethod
    def of_file(cls, fd: int, size: int) -> Image:
        """What a file begins with that nobody changes: `size` bytes, with zeros behind up to a whole page."""
        self = object.__new__(cls)
        self._hold(lib.vm_image_of_file(fd, size), size)
        return self

    def _hold(self, handle: CData, size: int) -> None:
        if handle == ffi.NULL:
            exhausted("no image of a memory")
        self.size = size
        self.handle = handle
        self._finalizer = weakref.finalize(self, lib.vm_image_free, handle)

    def close(self) -> None:
        """Close the file; memories that were made from it keep their contents. May be repeated."""
        self._finalizer()


class Reservation:
    """A range of addresses, accessible from its start up to what was committed; all the rest faults.

    `base` is the address, `size` the bytes reserved (whole pages). The range is given back when all its users have done so: the
    store that it is a memory of, and each object of this class, once `close` was called (or it is gone) *and* no view made
    by it is left.
    """

    __slots__ = ("__weakref__", "_bytes", "_handle", "base", "size")

    def __init__(self, size: int, length: int = 0, image: Image | None = None) -> None:
        """A new range, `length` bytes of it committed, which begin with the image's."""
        handle = lib.vm_reserve(size, length, ffi.NULL if image is None else image.handle)
        if handle == ffi.NULL:
            exhausted(f"cannot reserve {size} bytes of address space")
        self._use(handle)

    @classmethod
    def of(cls, reservation: CData) -> Reservation:
        """One more user of a `VMReservation *`."""
        self = object.__new__(cls)
        handle = ffi.cast("VMReservation *", reservation)
        lib.vm_hold(handle)
        self._use(handle)
        return self

    def _use(self, handle: CData) -> None:
        self._handle: CData = handle
        self.base: int = address(handle.base)
        self.size: int = handle.size
        release = lib.vm_release
        # The owner of the range is the pointer, not this object: views keep it alive.
        self._bytes: CData = ffi.gc(ffi.cast("char *", handle.base), lambda _: release(handle))

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
