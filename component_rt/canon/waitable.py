"""Built-ins of waitables and their sets: `waitable-set.*`, `waitable.join` (CanonicalABI.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from component_rt.canon.builtins import register
from component_rt.handles import trap, trap_if
from component_rt.tasks.thread import Steps
from component_rt.tasks.waitable import EventTuple, Waitable, WaitableSet

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin


def _set(instance: ComponentInstance, index: int) -> WaitableSet:
    wset = instance.handles.get(index)
    if type(wset) is not WaitableSet:
        raise trap(f"handle index {index} used with the wrong type, expected waitable-set")
    return wset


@register("waitable-set.new")
def _new(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, u32 = instance.flags, instance.store.core.u32

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        u32[0] = instance.handles.add(WaitableSet())

    return handler


def _unpack_event(memory: Any, address: int, event: EventTuple) -> int:
    """Store what an event says; its code is the result."""
    code, index, payload = event
    trap_if(address & 3, "pointer not aligned")
    trap_if(address + 8 > memory.length, "pointer out of bounds of memory")
    memory.data[address : address + 8] = index.to_bytes(4, "little") + payload.to_bytes(4, "little")
    return code


@register("waitable-set.wait")
def _wait(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, core, scheduler = instance.flags, instance.store.core, instance.store.scheduler
    u32, addresses, at = (core.u32, core.u64, 2) if options.pointer == 8 else (core.u32, core.u32, 4)
    cancellable, memory = definition.cancellable, options.memory

    def steps(index: int, address: int) -> Steps:
        event = yield from _set(instance, index).wait_for_event(scheduler.current, cancellable)
        u32[0] = _unpack_event(memory, address, event)

    def handler() -> object:
        if not flags[1]:
            instance.cannot_leave()
        return scheduler.begin(steps(u32[0], addresses[at]))

    return handler


@register("waitable-set.poll")
def _poll(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, core, scheduler = instance.flags, instance.store.core, instance.store.scheduler
    u32, addresses, at = (core.u32, core.u64, 2) if options.pointer == 8 else (core.u32, core.u32, 4)
    cancellable, memory = definition.cancellable, options.memory

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        index, address = u32[0], addresses[at]
        u32[0] = _unpack_event(memory, address, _set(instance, index).poll(scheduler.current, cancellable))

    return handler


@register("waitable-set.drop")
def _drop(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, u32 = instance.flags, instance.store.core.u32

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        index = u32[0]
        _set(instance, index).drop()
        instance.handles.remove(index)

    return handler


@register("waitable.join")
def _join(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, u32 = instance.flags, instance.store.core.u32

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        index, set_index = u32[0], u32[4]
        waitable = instance.handles.get(index)
        if not isinstance(waitable, Waitable):
            raise trap(f"handle index {index} used with the wrong type, expected waitable")
        trap_if(waitable.has_sync_waiter, "waitable cannot be used synchronously while added to a waitable set")
        waitable.join(_set(instance, set_index) if set_index else None)

    return handler
