"""References that are no functions: how Python objects stand in guests, and their collection.

A compressed reference is 32 bits: 0 is null; bit 0 set is an i31; bits 1..0 = 10 is a Python object (the rest is its slot
here); bits 2..0 = 000 is an object on the store's heap (the value is its offset). An `externref` and the `anyref` made from
it by `any.convert_extern` are therefore the same word.

Collection is mark and sweep over the slots, precise: roots are the tables and globals of reference types and the
`VMGcFrame`s of all fibers. Compiled code stores every reference that lives across a call into its frame before the
call, so nothing is guessed from the stack. Python objects hold no references into the store, only objects. It runs when
slots have doubled since the last time, always between two steps of a guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core_rt.errors import EngineBug
from core_rt.func import Func
from core_rt.native import ffi
from core_rt.types import AbsHeap, RefType, top_of
from core_rt.vm import structs
from core_rt.vm.exceptions import ExceptionObject

if TYPE_CHECKING:
    from core_rt.globals import Global
    from core_rt.instance import Instance
    from core_rt.store import Store

_FIRST_THRESHOLD = 1024
_FREE = object()
_M32 = 0xFFFF_FFFF
_REF_I31 = 0xFB01C
_EXTERN_CONVERT = (0xFB01A, 0xFB01B)
_FRAME_SIZE = structs.VMGcFrame.size


class References:
    """The references of one store."""

    __slots__ = ("_free", "_globals", "_ids", "_slots", "_threshold", "collected", "collections", "store")

    def __init__(self, store: Store) -> None:
        self.store = store
        self._slots: list[object] = [_FREE]
        self._free: list[int] = []
        self._ids: dict[int, int] = {}
        self._globals: list[Global] = []
        self._threshold = _FIRST_THRESHOLD
        self.collections = 0
        self.collected = 0

    def statistics(self) -> dict[str, int]:
        """Live slots, collections so far, references freed by them."""
        return {"externrefs": len(self._ids), "collections": self.collections, "collected": self.collected}

    def clear(self) -> None:
        """Forget everything."""
        self._slots = [_FREE]
        self._free.clear()
        self._ids.clear()
        self._globals.clear()

    def add_global(self, global_: Global) -> None:
        """Register a global of reference type as a root."""
        self._globals.append(global_)

    # ------------------------------------------------------------------------------------------------ conversion

    def to_raw(self, type_: RefType, value: object) -> int:
        """The compressed reference for a Python object, not None. The same object gives the same reference."""
        top = top_of(type_.heap)
        if top is AbsHeap.ANY and type(value) is int:
            if not -(1 << 30) <= value < 1 << 31:
                raise OverflowError(f"{value} does not fit in an i31")
            return (value << 1 | 1) & 0xFFFF_FFFF
        if type_.heap not in (AbsHeap.EXTERN, AbsHeap.ANY) and not isinstance(value, ExceptionObject):
            raise TypeError(f"{value!r} is no {type_}")
        return self.hold(value)

    def hold(self, value: object) -> int:
        """The reference for an object of the host's, whatever it is."""
        key = id(value)
        slot = self._ids.get(key)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self._slots[slot] = value
            else:
                slot = len(self._slots)
                self._slots.append(value)
            self._ids[key] = slot
        return slot << 2 | 2

    def from_raw(self, type_: RefType, raw: int) -> Any:
        """The Python object for a compressed reference."""
        if raw == 0:
            return None
        if raw & 1:
            value = raw >> 1
            return value - (1 << 31) if value >> 30 else value
        if raw & 3 == 2:
            return self.held(raw)
        raise EngineBug(f"no such reference: 0x{raw:x}")

    def held(self, raw: int) -> Any:
        """The host's object behind a reference."""
        found = self._slots[raw >> 2]
        if found is _FREE:
            raise EngineBug(f"reference 0x{raw:x} was freed while in use")
        return found

    def func_at(self, address: int) -> Func:
        """The function whose `VMFuncRef` has that address."""
        ref = ffi.cast("VMFuncRef *", address)
        if ref.handle:
            return self.store.funcs[int(ref.handle) - 1]
        instance = self.store.instance_of(ref.vmctx)
        return instance.func(ref.function)

    def constant(self, instance: Instance, op: int, imm: Any, stack: list[int]) -> int:
        """Instructions of constant expressions on references."""
        if op == _REF_I31:
            return (stack.pop() << 1 | 1) & 0xFFFF_FFFF
        if op in _EXTERN_CONVERT:
            return stack.pop()
        raise EngineBug(f"constant instruction 0x{op:x}")

    # ------------------------------------------------------------------------------------------------ collection

    def safepoint(self) -> None:
        """Collect if enough has been made since the last time. No reference may be held outside the roots."""
        if len(self._ids) >= self._threshold:
            self.collect()

    def collect(self) -> int:
        """Free every slot that no root leads to; returns how many."""
        marked = self._reached(self._roots())
        freed = 0
        slots, ids = self._slots, self._ids
        for slot in [slot for slot in ids.values() if (slot << 2 | 2) not in marked]:
            del ids[id(slots[slot])]
            slots[slot] = _FREE
            self._free.append(slot)
            freed += 1
        self._threshold = max(_FIRST_THRESHOLD, 2 * len(ids))
        self.collections += 1
        self.collected += freed
        return freed

    def _reached(self, roots: set[int]) -> set[int]:
        """The roots and all that they lead to."""
        todo = list(roots)
        while todo:
            raw = todo.pop()
            if raw & 3 == 2:
                found = self._slots[raw >> 2]
                for further in found.references if isinstance(found, ExceptionObject) else ():
                    if further not in roots:
                        roots.add(further)
                        todo.append(further)
        return roots

    def _roots(self) -> set[int]:
        store = self.store
        roots: set[int] = set()
        for table in store.tables:
            if not table.functions:
                roots.update(table.reference_words())
        for global_ in self._globals:
            roots.add(global_.word)
        # The running guest's frames hang on the store context, those of the fibers that were left on the fibers.
        self._add_frames(roots, store.context.gc_frame)
        for fiber in store.fibers():
            self._add_frames(roots, fiber.gc_frame)
        return roots

    @staticmethod
    def _add_frames(roots: set[int], frame: Any) -> None:
        while frame:
            head = ffi.cast("VMGcFrame *", frame)
            count = head.count & _M32  # above: a flag of functions that catch exceptions
            if count:
                words = ffi.cast("uint32_t *", int(ffi.cast("uintptr_t", frame)) + _FRAME_SIZE)
                roots.update(words[0:count])
            frame = head.previous
