"""Builtins that Python does: one function per row of `BUILTINS` whose home is "host".

Each takes the store and the fiber that asks, finds its parameters (after `vmctx`) in `fiber.arguments`, and returns the
answer as an unsigned 64-bit value. What it raises passes through the guest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core_rt.errors import EngineBug, ExhaustionError, Trap, TrapCode
from core_rt.native import ffi
from core_rt.types import matches_def
from core_rt.vm import structs
from core_rt.vm.backtrace import Backtrace

if TYPE_CHECKING:
    from core_rt.instance import Instance
    from core_rt.store import Store
    from core_rt.table import Table

Libcall = Callable[["Store", Any], int]

_M64 = (1 << 64) - 1


def _table(store: Store, definition: int) -> Table:
    return store.table_at(ffi.cast("VMTableDefinition *", definition).handle)


def _instance(store: Store, fiber: Any) -> Instance:
    return store.instance_of(fiber.vmctx)


def _framed(libcall: Libcall) -> Libcall:
    """Traps that the host finds get the guest's frames."""

    def call(store: Store, fiber: Any) -> int:
        try:
            return libcall(store, fiber)
        except Trap as trap:
            raise Trap(trap.code, trap.message, Backtrace.of_fiber(store, fiber)) from None

    return call


def out_of_fuel(store: Store, fiber: Any) -> int:
    raise store.out_of_fuel()


def memory_grow(store: Store, fiber: Any) -> int:
    definition, pages = fiber.arguments[0], fiber.arguments[1]
    memory = store.memory_at(ffi.cast("VMMemoryDefinition *", definition).handle)
    return int(memory.grow_or_fail(pages)) & _M64


def table_get_lazy(store: Store, fiber: Any) -> int:
    return _table(store, fiber.arguments[0]).element_raw(fiber.arguments[1])


def table_grow(store: Store, fiber: Any) -> int:
    definition, delta, element = fiber.arguments[0:3]
    return _table(store, definition).grow_or_fail(delta, element) & _M64


@_framed
def table_fill(store: Store, fiber: Any) -> int:
    definition, at, element, count = fiber.arguments[0:4]
    _table(store, definition).fill_raw(at, element, count)
    return 0


@_framed
def table_copy(store: Store, fiber: Any) -> int:
    to_definition, to, from_definition, start, count = fiber.arguments[0:5]
    _table(store, to_definition).copy_from(to, _table(store, from_definition), start, count)
    return 0


@_framed
def table_init(store: Store, fiber: Any) -> int:
    definition, segment, at, start, count = fiber.arguments[0:5]
    table = _table(store, definition)
    table.check_range(at, count)
    words = _instance(store, fiber).element_slice(segment, start, count)
    table.put_raw(at, [table.stored(word) for word in words])
    return 0


def elem_drop(store: Store, fiber: Any) -> int:
    _instance(store, fiber).drop_elements(fiber.arguments[0])
    return 0


def ref_func(store: Store, fiber: Any) -> int:
    return _instance(store, fiber).funcref(fiber.arguments[0])


def throw_uncaught(store: Store, fiber: Any) -> int:
    raise store.refs.exception_error(int(fiber.arguments[0]), Backtrace.of_fiber(store, fiber))


def gc_exhausted(store: Store, fiber: Any) -> int:
    raise ExhaustionError(
        f"no room for an object of {fiber.arguments[0]} bytes on the heap of {store.limits.gc_heap_bytes} bytes"
    )


@_framed
def gc_array_new_elem(store: Store, fiber: Any) -> int:
    type_offset, segment, start, count = fiber.arguments[0:4]
    words = _instance(store, fiber).element_slice(segment, start, count)
    refs = store.refs
    return refs.make(lambda: refs.heap.new_array(type_offset, words))


@_framed
def gc_array_init_elem(store: Store, fiber: Any) -> int:
    array, at, segment, start, count = fiber.arguments[0:5]
    heap = store.refs.heap
    if at + count > heap.length(array):
        raise Trap(TrapCode.ARRAY_OUT_OF_BOUNDS)
    heap.put(array, at, _instance(store, fiber).element_slice(segment, start, count))
    return 0


def gc_subtype_asked(store: Store, fiber: Any) -> int:
    actual, wanted = (store.function_type(id_) for id_ in fiber.arguments[0:2])
    return int(matches_def(actual, wanted))


def _not_here(name: str) -> Libcall:
    def call(store: Store, fiber: Any) -> int:
        raise EngineBug(f"builtin {name} is not the host's to do")

    return call


_HERE: dict[str, Libcall] = {
    function.__name__: function
    for function in (
        out_of_fuel,
        memory_grow,
        table_get_lazy,
        table_grow,
        elem_drop,
        ref_func,
        gc_exhausted,
        throw_uncaught,
    )
}
_HERE |= {"table_fill": table_fill, "table_copy": table_copy, "table_init": table_init}
_HERE |= {"gc_array_new_elem": gc_array_new_elem, "gc_array_init_elem": gc_array_init_elem}
_HERE |= {"gc_subtype_asked": gc_subtype_asked}

LIBCALLS: tuple[Libcall, ...] = tuple(_HERE.get(b.name) or _not_here(b.name) for b in structs.BUILTINS)
"""By index in the builtin-function array."""

__all__ = ["LIBCALLS", "TrapCode"]
