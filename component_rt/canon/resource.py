"""`canon resource.new`, `resource.drop`, `resource.rep` (CanonicalABI.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.handles import ResourceHandle, ResourceType, resource_handle, trap
from core_rt.native import call_int
from core_rt.vm.structs import CALL_LEFT

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance
    from core_rt.func import Func

__all__ = ["destructor", "resource_drop", "resource_new", "resource_rep"]


def destructor(func: Func, wide: bool) -> Callable[[int], None]:
    """`dtor(rep)`: call the guest's destructor function. Whoever calls it has entered the instance."""
    head, go_on = func.head, func.go_on
    pack = (struct.Struct("16sQ8x") if wide else struct.Struct("16sI12x")).pack

    def dtor(rep: int) -> None:
        packed = pack(head, rep)
        if call_int(packed) == CALL_LEFT:
            go_on(packed)

    # For stores with tasks, where a destructor is called as one (`tasks.calls`).
    dtor.func = func  # type: ignore[attr-defined]
    dtor.wide = wide  # type: ignore[attr-defined]
    return dtor


def resource_new(instance: ComponentInstance, rt: ResourceType, wide: bool) -> Callable[[], object]:
    """`resource.new`: a new own handle for a rep."""
    flags, cannot_leave, add = instance.flags, instance.cannot_leave, instance.handles.add
    view = instance.store.core.view
    u32 = view("I")
    reps = view("Q") if wide else u32

    def handler() -> None:
        if not flags[1]:
            cannot_leave()
        u32[0] = add(ResourceHandle(rt, reps[0], True))

    return handler


def resource_rep(instance: ComponentInstance, rt: ResourceType, wide: bool) -> Callable[[], object]:
    """`resource.rep`: the rep behind a handle."""
    handles = instance.handles
    view = instance.store.core.view
    u32 = view("I")
    reps = view("Q") if wide else u32

    def handler() -> None:
        reps[0] = resource_handle(handles, u32[0], rt).rep

    return handler


def resource_drop(instance: ComponentInstance, rt: ResourceType) -> Callable[[], object]:
    """`resource.drop`: remove a handle; an own handle's resource is destroyed in the instance that implements it."""
    flags, cannot_leave, handles = instance.flags, instance.cannot_leave, instance.handles
    u32 = instance.store.core.view("I")

    def drop_own(rep: int) -> Any:
        if rt.impl is not None:
            if rt.dtor is not None:
                rt.impl.run_destructor(rt, rep, instance)
            elif rt.impl.entering_set(instance) and not all(m.flags[0] for m in rt.impl.entering_set(instance)):
                rt.impl.refuse()
        elif rt.dtor is not None:
            return rt.dtor(rep)
        return None

    def handler() -> Any:
        if not flags[1]:
            cannot_leave()
        index = u32[0]
        handle = resource_handle(handles, index, rt)
        if handle.num_lends:
            raise trap("cannot remove owned resource while borrowed")
        handles.remove(index)
        if handle.own:
            return drop_own(handle.rep)
        scope = handle.borrow_scope
        assert scope is not None
        scope.num_borrows -= 1
        return None

    return handler
