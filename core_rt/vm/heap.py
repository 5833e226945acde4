"""Objects on a store's heap as the host sees them: layouts, types, raw fields. The heap itself is `core_rt/native/heap.h`.

An object is a header of 8 bytes (u32 offset of its `VMHeapType`, u32 length of an array) and its fields, each aligned to its
size (a v128 to 8). Fields in the order of the type, so that a subtype's begin like its supertype's. An exception is laid out
as a struct whose first field is the address of its tag's `VMTagDefinition`.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from core_rt.errors import EngineBug, ExhaustionError
from core_rt.native import ffi
from core_rt.native.heap import NativeHeap
from core_rt.record import record
from core_rt.types import (
    I8,
    I16,
    V128,
    AbsHeap,
    ArrayType,
    DefType,
    FuncType,
    RefType,
    StorageType,
    StructType,
    top_of,
)
from core_rt.vm import structs as s

if TYPE_CHECKING:
    from core_rt.binary.model import DecodedModule
    from core_rt.module import Module
    from core_rt.store import Store

__all__ = ["TAG_OFFSET", "Heap", "ObjectLayout", "exception_layout", "layout_of", "storage_size", "uses_heap"]

_M32: Final = (1 << 32) - 1
_M64: Final = (1 << 64) - 1
TAG_OFFSET: Final = s.HEAP_HEADER
"""Where an exception keeps the address of its tag."""


@record
class ObjectLayout:
    """Where the fields of a struct or exception are, or how large the elements of an array."""

    kind: int
    """`HEAP_STRUCT`, `HEAP_ARRAY` or `HEAP_EXCEPTION`."""
    storages: tuple[StorageType, ...]
    """Of the fields; one for an array."""
    offsets: tuple[int, ...]
    """Of the fields, from the object's beginning; that of the elements."""
    size: int
    """Bytes of a struct with its header; of one element."""
    refs: tuple[int, ...]
    """Offsets of compressed references."""


def storage_size(storage: StorageType) -> int:
    """Bytes that a field takes."""
    if isinstance(storage, RefType):
        return 8 if top_of(storage.heap) is AbsHeap.FUNC else 4
    return storage.size


def _is_compressed(storage: StorageType) -> bool:
    return isinstance(storage, RefType) and top_of(storage.heap) is not AbsHeap.FUNC


def _place(kind: int, at: int, storages: tuple[StorageType, ...]) -> ObjectLayout:
    offsets = []
    for storage in storages:
        size = storage_size(storage)
        align = min(size, 8)
        at = (at + align - 1) & -align
        offsets.append(at)
        at += size
    refs = tuple([offset for offset, storage in zip(offsets, storages) if _is_compressed(storage)])
    return ObjectLayout(kind, storages, tuple(offsets), (at + 7) & -8, refs)


_layouts: weakref.WeakKeyDictionary[DefType, ObjectLayout] = weakref.WeakKeyDictionary()
_exceptions: weakref.WeakKeyDictionary[DefType, ObjectLayout] = weakref.WeakKeyDictionary()


def layout_of(type_: DefType) -> ObjectLayout:
    """The layout of a struct or array type."""
    found = _layouts.get(type_)
    if found is None:
        composite = type_.composite
        if isinstance(composite, StructType):
            found = _place(s.HEAP_STRUCT, s.HEAP_HEADER, tuple([f.storage for f in composite.fields]))
        elif isinstance(composite, ArrayType):
            storage = composite.field.storage
            refs = (s.HEAP_HEADER,) if _is_compressed(storage) else ()
            found = ObjectLayout(s.HEAP_ARRAY, (storage,), (s.HEAP_HEADER,), storage_size(storage), refs)
        else:
            raise EngineBug(f"no objects of type {type_!r}")
        _layouts[type_] = found
    return found


def exception_layout(type_: DefType) -> ObjectLayout:
    """The layout of exceptions whose tags have that function type."""
    found = _exceptions.get(type_)
    if found is None:
        found = _exceptions[type_] = _place(s.HEAP_EXCEPTION, s.HEAP_HEADER + 8, type_.func.params)
    return found


def uses_heap(module: DecodedModule) -> bool:
    """Whether code of the module reads or makes objects on the heap (it may pass them on in any case)."""
    return bool(module.tags) or any(not isinstance(t.composite, FuncType) for t in module.types)


_HEAD: Final = s.VMHeapType.size // 4


class Heap:
    """The heap of one store, for the host. References are the compressed words that guests have."""

    __slots__ = ("_exceptions", "_tables", "_types", "_view", "described", "native", "store")

    def __init__(self, store: Store) -> None:
        self.store = store
        self.native = NativeHeap(store.context)
        self._types: dict[DefType, int] = {}
        self._exceptions: dict[DefType, int] = {}
        self.described: dict[int, tuple[DefType, ObjectLayout]] = {}
        """By offset of the `VMHeapType`."""
        self._tables: dict[Module, Any] = {}
        self._view: dict[str, Any] = {}

    def clear(self) -> None:
        """Free all objects."""
        self.native.close()
        self._view.clear()
        self._tables.clear()

    # ------------------------------------------------------------------------------------------- types

    def reserve(self) -> None:
        """Make the heap, if there is none yet. `ExhaustionError`."""
        if not self._view:
            self.native.reserve(self.store.limits.gc_heap_bytes)
            base = self.store.context.gc_heap
            for name in ("int8_t", "int16_t", "int32_t", "int64_t", "uint32_t", "uint64_t", "float", "double"):
                self._view[name] = ffi.cast(f"{name} *", base)

    def type_table(self, module: Module) -> Any:
        """`uint32_t[]` of the offsets of a module's types, then of its tags' exceptions."""
        table = self._tables.get(module)
        if table is None:
            decoded = module.decoded
            words = [self.type_offset(t) if t.kind != "func" else 0 for t in decoded.types]
            words += [self.exception_offset(tag.type) for tag in decoded.tags]
            table = self._tables[module] = ffi.new("uint32_t[]", words)
        return table

    def type_offset(self, type_: DefType) -> int:
        """The `VMHeapType` of a struct or array type."""
        offset = self._types.get(type_)
        if offset is None:
            self.reserve()
            display = [self.type_offset(t) for t in type_.ancestors[:-1]]
            offset = self._types[type_] = self._describe(type_, layout_of(type_), display)
        return offset

    def exception_offset(self, type_: DefType) -> int:
        """The `VMHeapType` of exceptions whose tags have that function type."""
        offset = self._exceptions.get(type_)
        if offset is None:
            self.reserve()
            offset = self._exceptions[type_] = self._describe(type_, exception_layout(type_), [])
        return offset

    def _describe(self, type_: DefType, layout: ObjectLayout, ancestors: list[int]) -> int:
        depth = len(ancestors)
        display = [*ancestors, 0]  # its own offset is known when it is there
        display += [0] * (s.HEAP_DISPLAY - len(display))
        refs_at = 4 * (_HEAD - s.HEAP_DISPLAY + len(display))
        words = [layout.kind, depth, layout.size, len(layout.refs), refs_at, type_.id, *display, *layout.refs]
        offset = self.native.describe(words)
        self._view["uint32_t"][(offset + s.VMHeapType["display"]) // 4 + depth] = offset
        self.described[offset] = type_, layout
        return offset

    # ------------------------------------------------------------------------------------------- objects

    def of(self, object_: int) -> tuple[DefType, ObjectLayout]:
        """What an object is. For exceptions the type is that of the tag."""
        return self.described[self._view["uint32_t"][object_ // 4]]

    def length(self, array: int) -> int:
        """Elements of an array."""
        return int(self._view["uint32_t"][array // 4 + 1])

    def allocate(self, type_offset: int, length: int = 0) -> int:
        """A zeroed object. Never collects. `ExhaustionError`."""
        object_ = self.native.allocate(type_offset, length)
        if not object_:
            raise ExhaustionError(f"the heap of {self.store.limits.gc_heap_bytes} bytes is full")
        return object_

    def read(self, storage: StorageType, at: int) -> int:
        """The field at an offset of the heap, as an unsigned bit pattern (packed ones zero-extended)."""
        view = self._view
        if storage is I8:
            return int(view["int8_t"][at]) & 0xFF
        if storage is I16:
            return int(view["int16_t"][at >> 1]) & 0xFFFF
        if storage is V128:
            words = view["uint64_t"]
            return int(words[at >> 3] | words[(at >> 3) + 1] << 64)
        if storage_size(storage) == 8:
            return int(view["uint64_t"][at >> 3])
        return int(view["uint32_t"][at >> 2])

    def write(self, storage: StorageType, at: int, raw: int) -> None:
        """Write a field from a bit pattern; the collector learns of references that are overwritten."""
        view = self._view
        if storage is I8:
            view["int8_t"][at] = (raw & 0xFF ^ 0x80) - 0x80
        elif storage is I16:
            view["int16_t"][at >> 1] = (raw & 0xFFFF ^ 0x8000) - 0x8000
        elif storage is V128:
            view["uint64_t"][at >> 3] = raw & _M64
            view["uint64_t"][(at >> 3) + 1] = raw >> 64
        elif storage_size(storage) == 8:
            view["uint64_t"][at >> 3] = raw & _M64
        else:
            if isinstance(storage, RefType) and self.store.context.gc_marking:
                self.native.keep(view["uint32_t"][at >> 2])
            view["uint32_t"][at >> 2] = raw & _M32

    def new_struct(self, type_offset: int, values: list[int]) -> int:
        """A struct (or an exception, its tag not set) with these raw fields."""
        object_ = self.allocate(type_offset)
        _, layout = self.described[type_offset]
        for storage, offset, value in zip(layout.storages, layout.offsets, values):
            self.write(storage, object_ + offset, value)
        return object_

    def new_array(self, type_offset: int, values: list[int]) -> int:
        """An array with these raw elements."""
        object_ = self.allocate(type_offset, len(values))
        self.put(object_, 0, values)
        return object_

    def put(self, array: int, start: int, values: list[int]) -> None:
        """Write elements of an array; the range was checked."""
        _, layout = self.of(array)
        storage, size = layout.storages[0], layout.size
        at = array + s.HEAP_HEADER + start * size
        for value in values:
            self.write(storage, at, value)
            at += size

    # ------------------------------------------------------------------------------------------- constant expressions

    def constant(self, types: list[DefType], mnemonic: str, imm: Any, stack: list[int]) -> int:
        """The instructions of constant expressions that make objects; operands are taken from the stack."""
        if mnemonic == "array.new_fixed":
            index, count = imm
            values = stack[len(stack) - count :]
            del stack[len(stack) - count :]
            return self.new_array(self.type_offset(types[index]), values)
        offset = self.type_offset(types[imm])
        if mnemonic == "struct.new":
            count = len(layout_of(types[imm]).offsets)
            values = stack[len(stack) - count :]
            del stack[len(stack) - count :]
            return self.new_struct(offset, values)
        if mnemonic == "struct.new_default":
            return self.allocate(offset)
        length = stack.pop()
        object_ = self.allocate(offset, length)
        if mnemonic == "array.new":
            value = stack.pop()
            if value:
                self.put(object_, 0, [value] * length)
        return object_
