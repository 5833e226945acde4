"""Instances, contexts of components, and functions of the host, as C makes them (`instance.c`)."""

from __future__ import annotations

from collections.abc import Sequence

from core_rt.errors import Trap, TrapCode
from core_rt.native.lib import CData, exhausted, ffi, lib

__all__ = [
    "component",
    "grow_table",
    "host_func",
    "host_funcs",
    "instantiate",
    "instantiate_linked",
    "keep",
    "put_segment",
    "settle_table",
    "share_memory",
]

_instantiate = lib.vm_instantiate
_host_func = lib.vm_host_func
_NULL = ffi.NULL


def instantiate(context: CData, plan: CData, number: int, imports: Sequence[int]) -> int:
    """Instance `number` of a store from a `VMTemplate *`; the address of its context. `ExhaustionError`.

    `imports` has the address of a `VMFuncRef` or a definition for each import.
    """
    made = _instantiate(context, plan, number, imports or _NULL)
    if not made:
        exhausted("no memory for an instance")
    return made


def instantiate_linked(context: CData, plan: CData, number: int, links: CData, bases: CData) -> int:
    """As `instantiate`; import i is found `links[i].offset` bytes from `bases[links[i].base]`."""
    made = lib.vm_instantiate_linked(context, plan, number, links, bases)
    if not made:
        exhausted("no memory for an instance")
    return made


def component(context: CData, prefix: bytes, handle: int) -> int:
    """The address of a component's context, which begins as a copy of `prefix` (instance header included). `ExhaustionError`."""
    made = lib.vm_component(context, prefix, len(prefix), handle)
    if not made:
        exhausted("no memory for an instance")
    return made


def host_func(context: CData, index: int, native_call: CData, signature: CData, type_id: int, handle: int) -> int:
    """The address of a `VMFuncRef` to the store's host function `index`. `ExhaustionError`."""
    made = _host_func(context, index, native_call, signature, type_id, handle)
    if not made:
        exhausted("no memory for a function")
    return made


def keep(context: CData, size: int) -> int:
    """The address of `size` zeroed bytes on a 16-byte boundary that live as long as the store. `ExhaustionError`."""
    made = lib.vm_keep(context, size)
    if not made:
        exhausted("no memory for what a guest uses")
    return made


def host_funcs(context: CData, plans: CData, index: int, component: int) -> int:
    """As `host_func` for a `VMHostPlan[]`: the functions from `index` on; each next one `VMHostFuncContext.size` bytes further.

    They are noted in the context of a component, at the places that their plans say.
    """
    made = lib.vm_host_funcs(context, plans, len(plans), index, component)
    if not made:
        exhausted("no memory for functions")
    return made


def share_memory(to: CData, source: CData) -> None:
    """Let a `VMMemoryDefinition *` that is still empty be another definition of the same memory."""
    lib.vm_share(to, source)


def grow_table(table: CData, elements: int) -> bool:
    """Give a `VMTableDefinition *` that many elements, new ones zero; False if there is no memory."""
    return lib.vm_table_grow(table, elements) == 0


def put_segment(context: CData, table: int, plan: CData, owner: int, segment: CData, start: int) -> None:
    """Put a `VMTableSegment *` of the instance `owner` into the `VMTableDefinition` at an address. Traps; `ExhaustionError`."""
    status = lib.vm_table_segment(context, table, plan, owner, segment, start)
    if status > 0:
        raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
    if status:
        exhausted("no memory for a table")


settle_table = lib.vm_table_settle
"""`(context, table, start, count)`: make elements of a table of functions that are 0. An instance (its context) whose template lacks its
functions, or 0 when all is done."""
