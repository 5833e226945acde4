"""References to objects on a store's heap, as the host holds them.

Each keeps its object alive until it is dropped. Two are equal when they are the same object. Fields are converted as function
arguments and results are; packed fields are signed integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, final

from core_rt.types import ArrayType, DefType, FieldType, PackedType, StructType
from core_rt.values import from_raw, integer, to_raw
from core_rt.vm.heap import layout_of

if TYPE_CHECKING:
    from core_rt.store import Store
    from core_rt.vm.refs import References

__all__ = ["ArrayRef", "ExceptionRef", "ObjectRef", "StructRef"]


class ObjectRef:
    """A reference to an object on the heap. `type` is its `DefType`."""

    __slots__ = ("__weakref__", "_handle", "raw", "store", "type")

    store: Store
    raw: int
    """The compressed reference."""
    type: DefType
    _handle: int

    def __init__(self) -> None:
        raise TypeError("references come from guests, or from StructRef.new and ArrayRef.new")

    @classmethod
    def hold(cls, refs: References, raw: int, type_: DefType) -> Any:
        """A reference that keeps object `raw` alive. For the engine."""
        self = object.__new__(cls)
        self.store = refs.store
        self.raw = raw
        self.type = type_
        self._handle = refs.hold(raw)
        return self

    def __del__(self) -> None:
        try:
            self.store.refs.release(self._handle)
        except AttributeError:  # it was never finished, or the interpreter is going
            pass

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ObjectRef):
            return self.raw == other.raw and self.store is other.store
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.raw, id(self.store)))

    def _read(self, field: FieldType, offset: int) -> Any:
        self.store.check()
        storage = field.storage
        raw = self.store.refs.heap.read(storage, self.raw + offset)
        if isinstance(storage, PackedType):
            top = 1 << 8 * storage.size - 1
            return (raw ^ top) - top
        return from_raw(self.store, storage, raw)

    def _write(self, field: FieldType, offset: int, value: object) -> None:
        self.store.check()
        if not field.mutable:
            raise TypeError("the field is immutable")
        self.store.refs.heap.write(field.storage, self.raw + offset, _raw(self.store, field, value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type!r}>"


def _raw(store: Store, field: FieldType, value: object) -> int:
    storage = field.storage
    if isinstance(storage, PackedType):
        bits = 8 * storage.size
        return integer(value, bits) & (1 << bits) - 1
    return to_raw(store, storage, value)


@final
class StructRef(ObjectRef):
    """A struct: `ref[i]` and `ref.get(i)` read field i, `ref[i] = v` and `ref.set(i, v)` write a mutable one."""

    __slots__ = ()

    @staticmethod
    def new(store: Store, type_: DefType, values: Iterable[object]) -> StructRef:
        """A new struct. `TypeError`, `OverflowError` for values that do not fit; `ExhaustionError`."""
        store.check()
        if not isinstance(type_.composite, StructType):
            raise TypeError(f"not a struct type: {type_!r}")
        given, fields = list(values), type_.composite.fields
        if len(given) != len(fields):
            raise TypeError(f"{len(fields)} fields are wanted, {len(given)} given")
        refs = store.refs
        offset = refs.heap.type_offset(type_)
        raw = refs.make(lambda: refs.heap.new_struct(offset, [_raw(store, f, v) for f, v in zip(fields, given)]))
        made: StructRef = StructRef.hold(refs, raw, type_)
        return made

    def _field(self, index: int) -> tuple[FieldType, int]:
        composite = self.type.composite
        assert isinstance(composite, StructType)
        if not 0 <= index < len(composite.fields):
            raise IndexError(f"field {index} of a struct with {len(composite.fields)}")
        return composite.fields[index], layout_of(self.type).offsets[index]

    def get(self, index: int) -> Any:
        """The value of a field. `IndexError`."""
        return self._read(*self._field(index))

    def set(self, index: int, value: object) -> None:
        """Change a field. `IndexError`; `TypeError` for an immutable field or a value of another type."""
        self._write(*self._field(index), value)

    __getitem__ = get
    __setitem__ = set

    def __len__(self) -> int:
        return len(layout_of(self.type).offsets)

    def __iter__(self) -> Iterator[Any]:
        return (self.get(index) for index in range(len(self)))


@final
class ArrayRef(ObjectRef):
    """An array: `ref[i]` and `ref.get(i)` read element i, `ref[i] = v` and `ref.set(i, v)` write it; `len(ref)`."""

    __slots__ = ()

    @staticmethod
    def new(store: Store, type_: DefType, values: Iterable[object]) -> ArrayRef:
        """A new array. `TypeError`, `OverflowError` for values that do not fit; `ExhaustionError`."""
        store.check()
        if not isinstance(type_.composite, ArrayType):
            raise TypeError(f"not an array type: {type_!r}")
        refs, field, given = store.refs, type_.composite.field, list(values)
        offset = refs.heap.type_offset(type_)
        raw = refs.make(lambda: refs.heap.new_array(offset, [_raw(store, field, value) for value in given]))
        made: ArrayRef = ArrayRef.hold(refs, raw, type_)
        return made

    def _element(self, index: int) -> tuple[FieldType, int]:
        composite = self.type.composite
        assert isinstance(composite, ArrayType)
        if not 0 <= index < len(self):
            raise IndexError(f"element {index} of an array of {len(self)}")
        layout = layout_of(self.type)
        return composite.field, layout.offsets[0] + index * layout.size

    def get(self, index: int) -> Any:
        """The value of an element. `IndexError`."""
        return self._read(*self._element(index))

    def set(self, index: int, value: object) -> None:
        """Change an element. `IndexError`; `TypeError` for an immutable array or a value of another type."""
        self._write(*self._element(index), value)

    __getitem__ = get
    __setitem__ = set

    def __len__(self) -> int:
        self.store.check()
        return self.store.refs.heap.length(self.raw)

    def __iter__(self) -> Iterator[Any]:
        return (self.get(index) for index in range(len(self)))


@final
class ExceptionRef(ObjectRef):
    """An exception as an `exnref`: opaque. `type` is the type of its tag."""

    __slots__ = ()
