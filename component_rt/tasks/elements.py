"""Elements of streams and futures in a guest's memory: loaded and stored by code generated once for each type and kind of context."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from component_rt import types as t
from component_rt.abi import layout as lay
from component_rt.abi.context import NO_MEMORY, LiftLowerContext
from component_rt.abi.errors import explain_value
from component_rt.abi.lift import list_loader
from component_rt.abi.lower import list_elements_storer
from component_rt.abi.mismatch import Mismatch
from component_rt.abi.unit import MAX_LIFTED, Unit
from component_rt.abi.writer import amplifies
from component_rt.handles import CallScope
from component_rt.tasks.flat import flat_of

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions

__all__ = ["Elements"]

_factories: dict[tuple[int, int], tuple[t.ValType, Callable[..., Any]]] = {}


class _NoScope(CallScope):
    """Handles that travel through streams belong to no call: nothing is lent, nothing is given back."""

    __slots__ = ()

    @property
    def moved(self) -> list[Any]:
        return []  # nobody keeps it


def _factory(of: t.ValType, pointer: int) -> Callable[..., Any]:
    """`bind(cx)` → `(load(mem, address, count), store(values, address, count))`."""
    found = _factories.get((id(of), pointer))
    if found is None:
        unit = Unit(pointer)
        unit.counting = amplifies(t.ListType(of))
        unit.source.constants["NoScope"] = _NoScope
        unit.bind("scope", "NoScope()")
        load = list_loader(unit, t.ListType(of))
        store = list_elements_storer(unit, of)
        found = _factories[id(of), pointer] = (of, unit.factory("", f"{load}, {store}"))
    return found[1]


class Elements:
    """How one definition (`stream.read` and its like) reads and writes elements of type `of`.

    `flat`: how elements are copied to another guest's memory without looking at them, if they can be.
    """

    __slots__ = ("_context", "_guest", "_host", "_pointer", "align", "byte", "flat", "memory", "of", "size")

    def __init__(
        self, inst: ComponentInstance, of: t.ValType | None, options: RuntimeOptions, owner: ComponentInstance
    ) -> None:
        self.of = of
        self.size, self.align = (0, 1) if of is None else lay.layout(of, options.pointer)
        self.flat = None if of is None else flat_of(of)
        self.byte = of is not None and of.kind == "u8"
        self.memory: Any = NO_MEMORY if options.memory is None else options.memory
        self._context = partial(LiftLowerContext.of, inst, options, owner)
        self._pointer = options.pointer
        self._host: Any = None
        self._guest: Any = None

    def _codec(self, between_guests: bool) -> Any:
        made = self._guest if between_guests else self._host
        if made is None:
            cx = self._context(between_guests)
            made = *_factory(self.of, self._pointer)(cx), cx.budget  # type: ignore[arg-type]
            if between_guests:
                self._guest = made
            else:
                self._host = made
        return made

    def load(self, address: int, n: int) -> Any:
        """`n` elements as Python values; of `u8` as bytes, of no type as a list of None."""
        if self.of is None:
            return [None] * n
        if self.byte:
            return bytes(self.memory.data[address : address + n])
        return self._load(False, address, n)

    def load_for_guest(self, address: int, n: int) -> Any:
        """`n` elements as another guest's context takes them."""
        if self.of is None:
            return None
        return self._load(True, address, n)

    def _load(self, between_guests: bool, address: int, n: int) -> Any:
        load, _, budget = self._codec(between_guests)
        budget[0] = MAX_LIFTED  # lists may overlap in the guest's memory, and come to far more than there is of it
        return load(self.memory.data, address, n)

    def store(self, values: Any, address: int, n: int, between_guests: bool = False) -> None:
        """Put `n` elements at `address`. Raises `TypeError` and its like for Python values of another type."""
        if self.of is None:
            return
        if self.byte:
            self.memory.data[address : address + n] = values
            return
        try:
            self._codec(between_guests)[1](values, address, n)
        except (Mismatch, UnicodeEncodeError, struct.error):
            raise explain_value("values for a stream or future", t.ListType(self.of), list(values)) from None
