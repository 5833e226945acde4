"""Built-ins of threads: `thread.*` (CanonicalABI.md). Shared-everything threads are not among them: validation refuses those."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.canon.builtins import register
from component_rt.handles import trap, trap_if
from component_rt.tasks.scheduler import Enter, Tree
from component_rt.tasks.thread import Steps, Thread
from core_rt.errors import Trap, TrapCode

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin


def _thread(instance: ComponentInstance, index: int) -> Thread:
    try:
        return instance.threads.get(index)  # type: ignore[no-any-return]
    except Trap:
        raise trap(f"unknown thread index {index}") from None


def _suspended(instance: ComponentInstance, index: int) -> Thread:
    thread = _thread(instance, index)
    trap_if(not thread.suspended, "cannot resume thread which is not suspended")
    return thread


@register("thread.index")
def _index(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, store = instance.flags, instance.store

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        store.core.u32[0] = store.scheduler.current.index

    return handler


@register("thread.new-indirect")
def _new_indirect(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, store = instance.flags, instance.store
    core, scheduler = store.core, store.scheduler
    wanted = definition.start_type
    assert wanted is not None
    wide_index, wide = (str(of) == "i64" for of in definition.core_type.params)
    argument = core.u64 if wide else core.u32

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        index = (core.u64 if wide_index else core.u32)[0]
        value = argument[2 if wide else 4]
        if index >= table.size:
            raise Trap(TrapCode.TABLE_OUT_OF_BOUNDS)
        func = table[index]
        if func is None:
            raise Trap(TrapCode.UNINITIALIZED_ELEMENT)
        trap_if(
            func.type != wanted.func,
            "start function does not match expected type (currently only `(i32) -> ()` is supported)",
        )
        task = scheduler.current.task

        def body() -> Steps:
            argument[0] = value
            yield Enter(func.site)
            task.unregister_thread(made)

        made = Thread(scheduler, Tree.of(instance), task, body())
        task.register_thread(made)
        core.u32[0] = made.index

    return handler


@register("thread.resume-later")
def _resume_later(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, u32 = instance.flags, instance.store.core.u32

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        _suspended(instance, u32[0]).resume_later()

    return handler


def _blocking(name: str, steps: Callable[[Thread, bool], Steps]) -> None:
    """A built-in that takes nothing and blocks the current thread."""

    @register(name)
    def make(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
        flags, u32, scheduler = instance.flags, instance.store.core.u32, instance.store.scheduler
        cancellable = definition.cancellable

        def run() -> Steps:
            u32[0] = yield from steps(scheduler.current, cancellable)

        def handler() -> object:
            if not flags[1]:
                instance.cannot_leave()
            return scheduler.begin(run())

        return handler


def _switching(name: str, steps: Callable[[Thread, bool, Thread], Steps], find: Callable[..., Thread]) -> None:
    """A built-in that takes another thread."""

    @register(name)
    def make(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
        flags, u32, scheduler = instance.flags, instance.store.core.u32, instance.store.scheduler
        cancellable = definition.cancellable

        def run(other: Thread) -> Steps:
            u32[0] = yield from steps(scheduler.current, cancellable, other)

        def handler() -> object:
            if not flags[1]:
                instance.cannot_leave()
            return scheduler.begin(run(find(instance, u32[0])))

        return handler


_blocking("thread.suspend", Thread.suspend)
_blocking("thread.yield", Thread.yield_)
_switching("thread.suspend-then-resume", Thread.suspend_then_resume, _suspended)
_switching("thread.yield-then-resume", Thread.yield_then_resume, _suspended)
_switching("thread.suspend-then-promote", Thread.suspend_then_promote, _thread)
_switching("thread.yield-then-promote", Thread.yield_then_promote, _thread)
