"""Tables of references, whose function elements are made when they are first used.

An element of a function table is 0 until it is known; then the funcref's address with bit 0 set (null is 1). What active segments
put where is noted by C (`core_rt/native/instance.c`); element 0 is looked up there, the newest segment first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from core_rt import native
from core_rt.errors import ExhaustionError, Trap, TrapCode
from core_rt.native import ffi
from core_rt.types import RefType, TableType
from core_rt.values import reference_from_raw, reference_to_raw
from core_rt.vm import structs
from core_rt.vm.constexpr import is_funcref
from core_rt.vm.template import table_template

if TYPE_CHECKING:
    from core_rt.store import Store

__all__ = ["Table"]


@final
class Table:
    """A table. `table[i]` reads and `table[i] = ref` writes an element; `size` counts elements."""

    __slots__ = ("_elements", "_type", "address", "definition", "functions", "store")

    def __init__(self, store: Store, type_: TableType, init: object = None) -> None:
        raw = 0 if init is None and type_.element.nullable else reference_to_raw(store, type_.element, init)
        self._begin(store, type_, store.make_loose(table_template(type_), self) + structs.VMContextHeader.size)
        if raw:
            self.fill_raw(0, self.stored(raw), type_.min)
        if not self.functions:
            store.refs.add_table(self)

    @classmethod
    def at(cls, store: Store, type_: TableType, address: int) -> Table:
        """A table whose `VMTableDefinition` is at that address."""
        self = object.__new__(cls)
        self._begin(store, type_, address)
        return self

    def _begin(self, store: Store, type_: TableType, address: int) -> None:
        self.store = store
        self._type = type_
        self.functions = is_funcref(type_.element.heap)
        self.address = address
        """Of the definition."""
        self.definition: Any = ffi.cast("VMTableDefinition *", address)
        self._elements = ffi.cast("uint64_t *", self.definition.base)

    # ------------------------------------------------------------------------------------------------ for users

    @property
    def type(self) -> TableType:
        """With the current size as its minimum."""
        return TableType(self._type.element, self.size, self._type.max, self._type.is64)

    @property
    def element(self) -> RefType:
        """The type of the elements."""
        return self._type.element

    @property
    def size(self) -> int:
        """Elements."""
        self.store.check()
        return int(self.definition.elements)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return self.get(index)

    def __setitem__(self, index: int, value: object) -> None:
        self.set(index, value)

    def get(self, index: int) -> Any:
        """An element. `IndexError` where there is none."""
        self._check(index)
        return reference_from_raw(self.store, self._type.element, self.element_raw(index))

    def set(self, index: int, value: object) -> None:
        """Change an element. `IndexError`; `TypeError` for a value of another type."""
        self._check(index)
        self._elements[index] = self.stored(reference_to_raw(self.store, self._type.element, value))

    def grow(self, delta: int, init: object = None) -> int:
        """Add elements; returns the size before. `ExhaustionError` where that cannot be."""
        if delta < 0:
            raise ValueError("a table cannot shrink")
        before = self.grow_or_fail(delta, self.stored(reference_to_raw(self.store, self._type.element, init)))
        if before < 0:
            raise ExhaustionError(f"table of {self.size} elements cannot grow by {delta}")
        return before

    def _check(self, index: int) -> None:
        if not 0 <= index < self.size:
            raise IndexError(f"element {index} of a table of {self.size}")

    def __repr__(self) -> str:
        return "<Table, closed>" if self.store.closed else f"<Table of {self.size} {self._type.element}>"

    # ------------------------------------------------------------------------------------------------ for guests

    def stored(self, raw: int) -> int:
        """A raw reference as it stands in an element."""
        return raw | 1 if self.functions else raw

    def element_raw(self, index: int) -> int:
        """The raw reference in an element (index checked), which is made if need be."""
        element = int(self._elements[index])
        if not self.functions:
            return element
        if element == 0:
            self.settle(index, 1)
            element = int(self._elements[index])
        return element & ~1

    def settle(self, start: int, count: int) -> None:
        """Make those of some elements of a table of functions that are not known yet."""
        store = self.store
        while owner := native.settle_table(store.context, self.definition, start, count):
            template = store.instance_of(owner).template
            assert template.functions is not None
            template.functions.tell(template.plan)

    def check_range(self, start: int, count: int) -> None:
        """Trap unless `count` elements from `start` exist."""
        if start + count > self.definition.elements:
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)

    def fill_raw(self, start: int, element: int, count: int) -> None:
        """Set elements to one stored value."""
        self.check_range(start, count)
        if count:
            ffi.buffer(self._elements + start, 8 * count)[:] = element.to_bytes(8, "little") * count

    def put_raw(self, start: int, elements: list[int]) -> None:
        """Set elements to stored values."""
        self.check_range(start, len(elements))
        self._elements[start : start + len(elements)] = elements

    def copy_from(self, to: int, source: Table, start: int, count: int) -> None:
        """`table.copy`."""
        source.check_range(start, count)
        self.check_range(to, count)
        if self.functions:
            source.settle(start, count)  # what is 0 there must not be looked up here
        if count:
            ffi.memmove(self._elements + to, source._elements + start, 8 * count)

    def grow_or_fail(self, delta: int, element: int) -> int:
        """As the instruction does: the old size, or -1."""
        before = self.size
        new = before + delta
        type_ = self._type
        most = type_.max if type_.max is not None else (1 << (64 if type_.is64 else 32)) - 1
        if delta == 0:
            return before
        if new > most or not self.store.add_table_elements(delta):
            return -1
        if not native.grow_table(self.definition, new):
            self.store.table_elements -= delta
            return -1
        self._elements = ffi.cast("uint64_t *", self.definition.base)
        if element:
            self.fill_raw(before, element, delta)
        return before
