"""Built-ins of streams and futures: `new`, `read`, `write`, `cancel-*`, `drop-*` (CanonicalABI.md).

One maker for each verb; a table of ends says which class an end has and which argument is the length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.canon.builtins import register
from component_rt.handles import trap, trap_if
from component_rt.tasks.elements import Elements
from component_rt.tasks.same import same_type
from component_rt.tasks.states import CopyState
from component_rt.tasks.streams import (
    CopyEnd,
    GuestBuffer,
    ReadableFutureEnd,
    ReadableStreamEnd,
    SharedBase,
    SharedFuture,
    SharedStream,
    WritableFutureEnd,
    WritableStreamEnd,
)
from component_rt.tasks.thread import Steps

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin

__all__ = ["find_end"]

_KINDS: dict[str, tuple[type[SharedBase], type[CopyEnd], type[CopyEnd]]] = {
    "stream": (SharedStream, ReadableStreamEnd, WritableStreamEnd),
    "future": (SharedFuture, ReadableFutureEnd, WritableFutureEnd),
}


def find_end(instance: ComponentInstance, index: int, cls: type[CopyEnd], t: Any) -> CopyEnd:
    """The end at `index`. Traps unless it is one of class `cls` with elements of type `t`."""
    end = instance.handles.get(index)
    if type(end) is not cls:
        raise trap(f"handle index {index} used with the wrong type, expected {cls.of}")
    shared = end.shared
    if shared.t is not t or shared.resource != instance.resource:  # bound methods: equal, but never the same object
        if not same_type(shared.t, shared.resource, t, instance.resource):
            raise trap(f"handle index {index} used with the wrong type of {cls.of}")
    return end


def _new(kind: str) -> None:
    shared_type, readable, writable = _KINDS[kind]

    @register(f"{kind}.new")
    def make(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
        flags, u64, t = instance.flags, instance.store.core.u64, definition.type.t  # type: ignore[union-attr]

        def handler() -> None:
            if not flags[1]:
                instance.cannot_leave()
            shared = shared_type(t, instance.resource)
            index = instance.handles.add(readable(shared))
            u64[0] = index | instance.handles.add(writable(shared)) << 32

        return handler


def _copy(kind: str, verb: str, cls: type[CopyEnd]) -> None:
    @register(f"{kind}.{verb}")
    def make(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
        flags, core, scheduler = instance.flags, instance.store.core, instance.store.scheduler
        t, is_async, is_stream = definition.type.t, options.is_async, kind == "stream"  # type: ignore[union-attr]
        elements = Elements(instance, t, options, instance)
        u32 = core.u32
        words, at = (core.u64, 2) if options.pointer == 8 else (u32, 4)
        results = words if is_stream else u32

        def steps(index: int, address: int, length: int) -> Steps:
            end = find_end(instance, index, cls, t)
            end.check_idle(cls.verb)
            trap_if(
                end.wset is not None and not is_async,
                "waitable cannot be used synchronously while added to a waitable set",
            )
            buffer = GuestBuffer(instance, elements, address, length)
            results[0] = yield from end.copy(index, buffer, scheduler.current, is_async)

        def handler() -> object:
            if not flags[1]:
                instance.cannot_leave()
            return scheduler.begin(steps(u32[0], words[at], words[2 * at] if is_stream else 1))

        return handler


def _cancel(kind: str, verb: str, cls: type[CopyEnd]) -> None:
    @register(f"{kind}.cancel-{verb}")
    def make(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
        flags, scheduler, u32 = instance.flags, instance.store.scheduler, instance.store.core.u32
        t, is_async = definition.type.t, definition.is_async  # type: ignore[union-attr]

        def steps(index: int) -> Steps:
            end = find_end(instance, index, cls, t)
            trap_if(
                end.state is not CopyState.COPYING or end.has_sync_waiter,
                f"{kind} {verb} cancelled when no {verb} is pending",
            )
            trap_if(
                end.wset is not None and not is_async,
                "waitable cannot be used synchronously while added to a waitable set",
            )
            u32[0] = yield from end.cancel(scheduler.current, is_async)

        def handler() -> object:
            if not flags[1]:
                instance.cannot_leave()
            return scheduler.begin(steps(u32[0]))

        return handler


def _drop(kind: str, which: str, cls: type[CopyEnd]) -> None:
    @register(f"{kind}.drop-{which}")
    def make(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
        flags, u32, t = instance.flags, instance.store.core.u32, definition.type.t  # type: ignore[union-attr]

        def handler() -> None:
            if not flags[1]:
                instance.cannot_leave()
            index = u32[0]
            end = find_end(instance, index, cls, t)
            end.drop()
            instance.handles.remove(index)

        return handler


def _register_all() -> None:
    rows: list[tuple[Callable[..., None], str, str]] = [(_copy, "read", "write"), (_cancel, "read", "write")]
    for kind, (_, readable, writable) in _KINDS.items():
        _new(kind)
        for make, read, write in [*rows, (_drop, "readable", "writable")]:
            make(kind, read, readable)
            make(kind, write, writable)


_register_all()
