"""`canon resource.new`, `resource.drop`, `resource.rep` (CanonicalABI.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.abi.site import Entry, LiftedSite, Refused
from component_rt.handles import ResourceHandle, ResourceType, resource_handle, trap, trapped
from core_rt.native import call_int, lifted_int
from core_rt.vm.structs import CALL_LEFT_MOST, MODE_VALUE, RESULT_NONE

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance
    from core_rt.func import Func

_ENTRY = Entry(params=1, result=RESULT_NONE, mode=MODE_VALUE, size=0, align=1, blocks=(), direct=True)

__all__ = ["Destructor", "resource_drop", "resource_new", "resource_rep"]


class Destructor:
    """A guest's destructor function. `func` and `wide` are for stores with tasks, where it is called as one (`tasks.calls`)."""

    __slots__ = ("_instance", "_pack", "_site", "func", "wide")

    def __init__(self, instance: ComponentInstance, func: Func, wide: bool) -> None:
        self._instance = instance
        self._site: LiftedSite | None = None
        self._pack = struct.Struct("Q8x" if wide else "I12x").pack
        self.func = func
        self.wide = wide

    def __call__(self, rep: int) -> None:
        """Call it. Whoever does has entered the instance."""
        packed = self.func.head + self._pack(rep)
        left = call_int(packed)
        if left <= CALL_LEFT_MOST:
            self.func.go_on(packed, left)

    def from_host(self, rep: int) -> None:
        """Enter the instance from the host, and call it."""
        site, instance = self._site, self._instance
        if site is None:
            site = self._site = LiftedSite(instance, self.func, _ENTRY)
        packed = site.head + self._pack(rep)
        try:
            left = lifted_int(packed)
            if left <= CALL_LEFT_MOST:
                site.answer(packed, left)
        except Refused as refused:
            raise refused.reason from None
        except BaseException as error:
            instance.store.core.unwind(error)
            error = trapped(error)
            instance.poison(error)
            raise error


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
