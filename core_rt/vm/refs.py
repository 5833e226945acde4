"""References that are no functions: how Python objects stand in guests, how guests' objects stand in Python, and collection.

A compressed reference is 32 bits: 0 is null; bit 0 set is an i31; bits 1..0 = 10 is a Python object (the rest is its slot
here); bits 2..0 = 0 is an object on the store's heap (the value is its offset). An `externref` and the `anyref` made from
it by `any.convert_extern` are therefore the same word.

Collection is mark and sweep, precise and incremental (core_rt/native/heap_mark.c). Roots are the tables and globals of reference types, the
`VMGcFrame`s of all fibers, element segments, and the references that Python holds (`hold`). Compiled code stores every reference that
lives across a call into its frame before the call, so nothing is guessed from the stack. The marker writes a byte for every slot
that it reaches; slots without one are freed here, after the marking has ended. Who hands out a slot marks it, so what is made
while a marking goes on survives it. A guest's allocations drive the collector; so do new slots, in `safepoint`, which is always
between two steps of a guest: no reference may then be anywhere but in the roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from core_rt.errors import EngineBug, ExhaustionError, GuestException, StoreError
from core_rt.native import ffi
from core_rt.objects import ArrayRef, ExceptionRef, ObjectRef, StructRef
from core_rt.types import AbsHeap, HeapType, RefType, matches_heap, top_of
from core_rt.vm import structs
from core_rt.vm.heap import TAG_OFFSET, Heap

if TYPE_CHECKING:
    from collections.abc import Callable

    from core_rt.globals import Global
    from core_rt.instance import Instance
    from core_rt.store import Store
    from core_rt.table import Table
    from core_rt.tag import Tag
    from core_rt.vm.backtrace import Backtrace

_Made = TypeVar("_Made")
_FIRST_THRESHOLD = 1024
_FREE = object()
_STEP = 256 << 10
"""Bytes of objects that one safepoint marks."""
_I31_HEAPS = (AbsHeap.ANY, AbsHeap.EQ, AbsHeap.I31)
_OBJECTS: dict[int, type[ObjectRef]] = {
    structs.HEAP_STRUCT: StructRef,
    structs.HEAP_ARRAY: ArrayRef,
    structs.HEAP_EXCEPTION: ExceptionRef,
}


class References:
    """The references of one store."""

    __slots__ = (
        "_capacity",
        "_context",
        "_free",
        "_free_handles",
        "_handle_count",
        "_handles",
        "_ids",
        "_kept",
        "_marks",
        "_seen",
        "_slots",
        "_threshold",
        "collected",
        "heap",
        "store",
    )

    def __init__(self, store: Store) -> None:
        self.store = store
        self.heap = Heap(store)
        self._context = store.context
        self._slots: list[object] = [_FREE]
        self._free: list[int] = []
        self._ids: dict[int, int] = {}
        self._capacity = 0
        self._marks: Any = None
        self._handles: Any = None
        self._handle_count = 0
        self._free_handles: list[int] = []
        self._kept: list[Any] = []
        self._threshold = _FIRST_THRESHOLD
        self._seen = 0
        self.collected = 0

    def statistics(self) -> dict[str, int]:
        """Live slots, collections so far, references freed by them; bytes of the heap; pauses of the collector."""
        result = {"externrefs": len(self._ids), "collected": self.collected}
        result["held_references"] = self._handle_count - len(self._free_handles)
        heap = self.heap.native.statistics() if not self.store.closed else ffi.new("VMHeapStatistics *")
        result["collections"] = heap.collections
        result["heap_bytes"] = heap.used
        result["heap_live_bytes"] = heap.live
        result["heap_allocated_bytes"] = heap.allocated
        result["gc_pauses"] = heap.pauses
        result["gc_pause_longest_microseconds"] = heap.pause_longest // 1000
        result["gc_pause_p99_microseconds"] = heap.pause_usual // 1000
        result["gc_pause_total_microseconds"] = heap.pause_total // 1000
        return result

    def clear(self) -> None:
        """Forget everything."""
        self.heap.clear()
        self._slots = [_FREE]
        self._free.clear()
        self._ids.clear()
        self._kept.clear()
        self._capacity = 0

    # ------------------------------------------------------------------------------------------------ roots

    def add_global(self, global_: Global) -> None:
        """Register a global of reference type as a root."""
        content = global_.type.content
        assert isinstance(content, RefType)
        if top_of(content.heap) is not AbsHeap.FUNC:
            self.heap.native.add_global(global_.definition)

    def add_table(self, table: Table) -> None:
        """Register a table of references that are no functions."""
        self.heap.native.add_table(table.definition)

    def add_words(self, words: list[int]) -> Any:
        """Keep references as roots in a `VMRoots *`, whose `count` may be set to 0 later."""
        array = ffi.new("uint64_t[]", words)
        roots = ffi.new("VMRoots *", {"words": array, "count": len(words)})
        self._kept.append((roots, array))
        self.heap.native.add_range(roots)
        return roots

    def hold(self, raw: int) -> int:
        """Keep an object alive until `release` of the number that is returned."""
        if self._free_handles:
            handle = self._free_handles.pop()
        else:
            handle = self._handle_count
            if self._handles is None or handle == len(self._handles):
                self._grow_handles()
            self._handle_count += 1
        self._handles[handle] = raw
        if self._context.gc_marking:  # what a guest has just handed out was marked, or will be; this costs nothing
            self.heap.native.keep(raw)
        return handle

    def _grow_handles(self) -> None:
        count = 2 * self._handle_count or 64
        handles = ffi.new("uint32_t[]", count)
        if self._handles is not None:
            ffi.memmove(handles, self._handles, 4 * self._handle_count)
        self._handles = handles
        self.heap.native.set_handles(handles, count)
        # Another thread may have let go of one between the copy and now.
        for free in self._free_handles:
            handles[free] = 0

    def release(self, handle: int) -> None:
        """The reverse of `hold`. From any thread, at any time."""
        self._handles[handle] = 0
        self._free_handles.append(handle)

    # ------------------------------------------------------------------------------------------------ conversion

    def to_raw(self, type_: RefType, value: object) -> int:
        """The compressed reference for a Python object, not None. The same object gives the same reference. Never collects."""
        heap = type_.heap
        if isinstance(value, ObjectRef):
            return self._object_to_raw(heap, value)
        if type(value) is int and heap in _I31_HEAPS:
            if not -(1 << 30) <= value < 1 << 31:
                raise OverflowError(f"{value} does not fit in an i31")
            return (value << 1 | 1) & 0xFFFF_FFFF
        if heap is AbsHeap.EXTERN and type(value) is int and -(1 << 30) <= value < 1 << 30:
            # What an i31 that was made an externref comes out as; so it comes back as one.
            return (value << 1 | 1) & 0xFFFF_FFFF
        if heap is not AbsHeap.EXTERN and heap is not AbsHeap.ANY:
            raise TypeError(f"{value!r} is no {type_}")
        key = id(value)
        slot = self._ids.get(key)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self._slots[slot] = value
            else:
                slot = len(self._slots)
                if slot >= self._capacity:
                    self._grow_slots()
                self._slots.append(value)
            self._ids[key] = slot
        self._marks[slot] = 1
        return slot << 2 | 2

    def _grow_slots(self) -> None:
        capacity = 2 * self._capacity or 256
        if capacity > 1 << 30:
            raise ExhaustionError("more than 2^29 Python objects are referenced by guests")
        marks = ffi.new("uint8_t[]", capacity)
        if self._capacity:
            ffi.memmove(marks, self._marks, self._capacity)
        self.heap.native.set_slots(marks, capacity)
        self._marks = marks
        self._capacity = capacity

    def _object_to_raw(self, heap: HeapType, value: ObjectRef) -> int:
        if value.store is not self.store:
            raise StoreError("an object of another store was passed as a reference")
        if isinstance(value, ExceptionRef):
            matches = heap is AbsHeap.EXN
        else:
            matches = heap is AbsHeap.EXTERN or matches_heap(value.type, heap)
        if not matches:
            raise TypeError(f"{value!r} is no {heap}")
        return value.raw

    def from_raw(self, type_: RefType, raw: int) -> Any:
        """The Python object for a compressed reference."""
        if raw == 0:
            return None
        if raw & 1:
            value = raw >> 1
            return value - (1 << 31) if value >> 30 else value
        if raw & 2:
            found = self._slots[raw >> 2]
            if found is _FREE:
                raise EngineBug(f"reference 0x{raw:x} was freed while in use")
            return found
        found_type, layout = self.heap.of(raw)
        return _OBJECTS[layout.kind].hold(self, raw, found_type)

    def constant(self, instance: Instance, op: int, imm: Any, stack: list[int]) -> int:
        """Instructions of constant expressions on references."""
        from core_rt.opcodes import BY_CODE

        mnemonic = BY_CODE[op].mnemonic
        if mnemonic == "ref.i31":
            return (stack.pop() << 1 | 1) & 0xFFFF_FFFF
        if mnemonic in ("any.convert_extern", "extern.convert_any"):
            return stack.pop()
        return self.heap.constant(instance.module.decoded.types, mnemonic, imm, stack)

    # ------------------------------------------------------------------------------------------------ exceptions

    def new_exception(self, error: GuestException) -> int:
        """The exnref for an exception that the host raises. `TypeError`, `OverflowError` for values that do not fit its tag."""
        from core_rt.values import to_raw

        reference = getattr(error, "reference", None)
        if isinstance(reference, ExceptionRef) and reference.store is self.store:
            return reference.raw
        tag: Tag = error.tag  # type: ignore[assignment]
        types = tag.type.type.func.params
        if len(types) != len(error.values):
            raise TypeError(f"{tag!r} takes {len(types)} values, not {len(error.values)}")
        offset = self.heap.exception_offset(tag.type.type)
        store, heap, values = self.store, self.heap, error.values
        exception = self.make(lambda: heap.new_struct(offset, [to_raw(store, t, v) for t, v in zip(types, values)]))
        ffi.cast("uint64_t *", self._context.gc_heap)[(exception + TAG_OFFSET) // 8] = int(
            ffi.cast("uintptr_t", tag.definition)
        )
        return exception

    def exception_error(self, exception: int, frames: Backtrace) -> GuestException:
        """What the host sees of an exception that no guest caught, thrown at `frames`."""
        from core_rt.values import from_raw

        type_, layout = self.heap.of(exception)
        address = ffi.cast("void **", self._context.gc_heap)[(exception + TAG_OFFSET) // 8]
        tag = self.store.tags[int(ffi.cast("VMTagDefinition *", address).handle) - 1]
        values = [
            from_raw(self.store, t, self.heap.read(t, exception + offset))
            for t, offset in zip(type_.func.params, layout.offsets)
        ]
        error = GuestException(tag, values, frames)
        error.reference = ExceptionRef.hold(self, exception, type_)
        return error

    # ------------------------------------------------------------------------------------------------ collection

    def safepoint(self) -> None:
        """Collect a little if enough has been made since the last time. No reference may be held outside the roots."""
        if len(self._ids) >= self._threshold:
            self._advance()

    def _advance(self) -> None:
        context = self._context
        if context.gc_cycles == self._seen or context.gc_marking:
            if len(self._ids) >= 4 * self._threshold:
                self.heap.native.collect()
            else:
                self.heap.native.step(True, _STEP)
        if context.gc_cycles != self._seen and not context.gc_marking:
            self._sweep()

    def make_room(self) -> None:
        """For a host that makes objects itself: pay for them with some marking. A safepoint."""
        self.safepoint()
        self.heap.native.step(False, _STEP)

    def make(self, build: Callable[[], _Made]) -> _Made:
        """`build()`, which makes an object for the host; once more after a whole collection if there was no room for it. A safepoint."""
        self.make_room()
        try:
            return build()
        except ExhaustionError:
            self.collect()  # references that `build` had at hand are gone
            return build()

    def collect(self) -> int:
        """Free all that no root leads to; returns how many Python objects were let go."""
        before = self.collected
        self.heap.native.collect()
        self._sweep()
        return self.collected - before

    def _sweep(self) -> None:
        """Free the slots that the last marking did not reach. Not while one goes on: the marks are of that one then."""
        self._seen = self._context.gc_cycles
        slots, ids = self._slots, self._ids
        if ids:
            marks = bytes(ffi.buffer(self._marks, len(slots)))
            slot = marks.find(0, 1)
            dropped: list[object] = []
            value: object = None
            while slot > 0:
                value = slots[slot]
                if value is not _FREE:
                    del ids[id(value)]
                    slots[slot] = _FREE
                    self._free.append(slot)
                    dropped.append(value)
                slot = marks.find(0, slot + 1)
            self.collected += len(dropped)
            self._threshold = max(_FIRST_THRESHOLD, 2 * len(ids))
            value = None
            dropped.clear()  # finalizers run only now: they may use the store
