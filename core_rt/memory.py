"""Linear memories."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final, final

from core_rt import native
from core_rt.errors import ExhaustionError
from core_rt.native import Reservation, ffi
from core_rt.types import MemoryType
from core_rt.vm import structs
from core_rt.vm.template import memory_template

if TYPE_CHECKING:
    from core_rt.store import Store

__all__ = ["Memory"]

_sharing_lock = threading.Lock()
"""Held by who grows, shares or releases a memory that may be in several stores."""
_NOTHING: Final = contextlib.nullcontext()


@final
class Memory:
    """A linear memory. `size` counts pages; `data` is the live memory itself.

    A view taken from `data` stays valid memory for as long as it is held, but does not grow with the memory.
    """

    __slots__ = ("_data", "_data_length", "_reservation", "_sharing", "_type", "address", "definition", "store")

    def __init__(self, store: Store, type_: MemoryType) -> None:
        template = memory_template(type_, store.engine.config.memory_reservation)
        self._begin(store, type_, store.make_loose(template, self) + structs.VMContextHeader.size)

    @classmethod
    def at(cls, store: Store, type_: MemoryType, address: int) -> Memory:
        """A memory whose `VMMemoryDefinition` is at that address."""
        self = object.__new__(cls)
        self._begin(store, type_, address)
        return self

    def _begin(self, store: Store, type_: MemoryType, address: int) -> None:
        self.store = store
        self.address = address
        """Of the definition."""
        self.definition: Any = ffi.cast("VMMemoryDefinition *", address)
        self._type = type_
        self._sharing: list[Memory] | None = None
        self._reservation: Reservation | None = None
        self._data: memoryview | None = None
        self._data_length = -1
        store.memories.append(self)

    def share(self, store: Store) -> Memory:
        """The same memory, which must be of a shared type, for another store: guests of both then run on it at once.

        `TypeError` for a memory that is not shared; `ExhaustionError` where the other store's limits do not allow it.
        """
        if not self._type.shared:
            raise TypeError("only a memory of a shared type can be in several stores")
        self.store.check()
        with _sharing_lock:
            template = memory_template(self.type, store.engine.config.memory_reservation, shared=True)
            other = object.__new__(Memory)
            other._begin(store, self._type, store.make_loose(template, other) + structs.VMContextHeader.size)
            native.share_memory(other.definition, self.definition)
            if self._sharing is None:
                self._sharing = [self]
            self._sharing.append(other)
            other._sharing = self._sharing
        return other

    @property
    def type(self) -> MemoryType:
        """With the current size as its minimum."""
        t = self._type
        return MemoryType(self.size, t.max, t.is64, t.shared, t.page_size_log2)

    @property
    def length(self) -> int:
        """Bytes."""
        self.store.check()
        return int(self.definition.length)

    @property
    def size(self) -> int:
        """Pages."""
        return self.length >> self._type.page_size_log2

    @property
    def data(self) -> memoryview:
        """The memory, writable, as long as it is now."""
        store = self.store
        if store.closed:
            store.check()
        length = self.definition.length
        if length != self._data_length:
            self._data = self._range().view(length)
            self._data_length = length
        return self._data  # type: ignore[return-value]

    def _range(self) -> Reservation:
        if self._reservation is None:
            self._reservation = Reservation.of(self.definition.reservation)
        return self._reservation

    def grow(self, pages: int) -> int:
        """Add pages of zeros; returns the size before, in pages. `ExhaustionError` where that cannot be."""
        if pages < 0:
            raise ValueError("a memory cannot shrink")
        before = self.grow_or_fail(pages)
        if before < 0:
            raise ExhaustionError(f"memory of {self.size} pages cannot grow by {pages}")
        return before

    def grow_or_fail(self, pages: int) -> int:
        """As the instruction does: the old size in pages, or -1."""
        with _sharing_lock if self._type.shared else _NOTHING:
            return self._grow(pages)

    def _grow(self, pages: int) -> int:
        type_ = self._type
        old = self.length
        before = old >> type_.page_size_log2
        if pages == 0:
            return before
        new = old + (pages << type_.page_size_log2)
        most = type_.max if type_.max is not None else 1 << (64 if type_.is64 else 32) - type_.page_size_log2
        if before + pages > most or new > self._reservation_room() or not self.store.add_memory_bytes(new - old):
            return -1
        try:
            self._range().commit(new)
        except ExhaustionError:
            self.store.memory_bytes -= new - old
            return -1
        for memory in self._sharing or (self,):
            memory.definition.length = new
        return before

    def _reservation_room(self) -> int:
        size = self._range().size
        return min(size, 1 << 32) if not self._type.is64 else size

    def read(self, address: int, length: int) -> bytes:
        """A copy of `length` bytes. `IndexError` where they are not all inside."""
        self._check(address, length)
        return bytes(self.data[address : address + length])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy bytes into the memory. `IndexError` where they do not fit."""
        view = memoryview(data).cast("B")
        self._check(address, len(view))
        self.data[address : address + len(view)] = view

    def _check(self, address: int, length: int) -> None:
        if address < 0 or length < 0 or address + length > self.length:
            raise IndexError(f"{length} bytes at {address} are not inside a memory of {self.length} bytes")

    def release(self) -> None:
        """The store is closed: let go of the range of addresses (which stays as long as there is a view)."""
        self._data = None
        self._data_length = -1
        if self._reservation is not None:
            self._reservation.close()
        if self._sharing is not None:
            with _sharing_lock:
                self._sharing.remove(self)

    def __repr__(self) -> str:
        return "<Memory, closed>" if self.store.closed else f"<Memory of {self.size} pages>"
