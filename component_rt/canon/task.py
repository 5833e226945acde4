"""Built-ins of tasks: `task.return`, `task.cancel`, `subtask.*`, `context.*`, `backpressure.*` (CanonicalABI.md).

Components whose plan `uses_tasks` run every call under a `Thread` of a `Task`; the others have no way to tell and skip it.
Importing this module adds the built-ins of all modules beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from component_rt.abi.codegen import Signature
from component_rt.abi.context import LiftLowerContext
from component_rt.canon import error_context, resource_task, stream, waitable  # noqa: F401  (they add built-ins)
from component_rt.canon import thread as _threads  # noqa: F401
from component_rt.canon.builtins import register
from component_rt.handles import trap, trap_if
from component_rt.tasks.same import same_type
from component_rt.tasks.scheduler import Tree
from component_rt.tasks.streams import BLOCKED
from component_rt.tasks.thread import Steps, Task, Thread, may_enter
from component_rt.tasks.waitable import Subtask
from component_rt.types import FuncType

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin
    from component_rt.store import Store
    from component_rt.tasks.scheduler import Scheduler

__all__ = ["starting"]

MAX_BACKPRESSURE = 1 << 16


def _no_steps() -> Steps:
    yield from ()


class _Starting:
    """The task and the thread that a core module is instantiated in, made when something asks for them (`Scheduler.absent`)."""

    __slots__ = ("_inst", "_scheduler", "_thread")

    def __init__(self, scheduler: Scheduler, inst: ComponentInstance) -> None:
        self._scheduler = scheduler
        self._inst = inst
        self._thread: Thread | None = None

    def make(self) -> Thread:
        inst, scheduler = self._inst, self._scheduler
        task = Task(inst, None, lambda: None, lambda result, cancelled: None)
        scheduler.current = self._thread = thread = Thread(scheduler, Tree.of(inst), task, _no_steps()).resumed()
        task.threads[thread] = None
        thread.index = inst.threads.add(thread)
        return thread

    def end(self) -> None:
        thread = self._thread
        if thread is not None:
            assert thread.index is not None
            thread.tree.threads.pop(thread, None)
            del thread.task.threads[thread]
            self._inst.threads.remove(thread.index)


@contextmanager
def starting(store: Store, inst: ComponentInstance) -> Iterator[None]:
    """A core module of `inst` is instantiated inside, under a synchronous task: what its start function calls must not block."""
    scheduler = store.scheduler
    outer, absent = scheduler.current, scheduler.absent
    scheduler.current, scheduler.absent = None, (made := _Starting(scheduler, inst))
    scheduler.nested += 1
    try:
        yield
    finally:
        scheduler.nested -= 1
        made.end()
        scheduler.current, scheduler.absent = outer, absent


# ---------------------------------------------------------------------------------------------------- task.return, task.cancel


def _returned_type(result: Any) -> FuncType:
    return FuncType([] if result is None else [("result", result)])


@register("task.return")
def _task_return(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    store, flags = instance.store, instance.flags
    scheduler = store.scheduler
    lifters: dict[tuple[int, bool], Any] = {}

    def lifter(task: Task) -> Any:
        """How the result of `task` is lifted. Traps if the definition does not fit the task."""
        lifted = task.lifted
        trap_if(
            lifted is None or not lifted.options.is_async, "`task.return` called by a task of a synchronous function"
        )
        assert lifted is not None
        between = not getattr(task.call, "label", None)
        found = lifters.get((id(lifted), between))
        if found is None:
            fits = same_type(lifted.type.result, instance.resource, definition.type, instance.resource)
            trap_if(not fits, "invalid `task.return` signature and/or options for current task")
            # Validation lets `task.return` leave out a memory that the result does not need.
            same_memory = options.memory is None or options.memory is lifted.options.memory
            same = options.encoding == lifted.options.encoding and same_memory
            trap_if(not same, "invalid `task.return` signature and/or options for current task")
            made = store.returned_types.get(id(lifted.type))
            if made is None:
                made = store.returned_types[id(lifted.type)] = (lifted.type, _returned_type(lifted.type.result))
            signature = Signature(type=made[1], context="lower", pointer=options.pointer)
            cx = LiftLowerContext.of(instance, options, instance, between)
            found = lifters[id(lifted), between] = lifted.code.cache.get("caller", signature)(cx)[0]
        return found

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        task = scheduler.current.task
        args, _ = lifter(task)(task.scope)
        task.return_(args[0] if args else None)

    return handler


@register("task.cancel")
def _task_cancel(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, scheduler = instance.flags, instance.store.scheduler

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        task = scheduler.current.task
        trap_if(
            task.lifted is None or not task.lifted.options.is_async,
            "`task.cancel` called by a task of a synchronous function",
        )
        task.cancel()

    return handler


# ---------------------------------------------------------------------------------------------------- subtasks


def _subtask(instance: ComponentInstance, index: int) -> Subtask:
    subtask = instance.handles.get(index)
    if type(subtask) is not Subtask:
        raise trap(f"handle index {index} used with the wrong type, expected subtask")
    return subtask


@register("subtask.cancel")
def _subtask_cancel(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, store = instance.flags, instance.store
    scheduler, u32 = store.scheduler, store.core.u32
    is_async = definition.is_async

    def steps(index: int) -> Steps:
        subtask = _subtask(instance, index)
        trap_if(subtask.resolve_delivered, "`subtask.cancel` called after terminal status delivered")
        trap_if(subtask.cancellation_requested, "`subtask.cancel` called more than once")
        trap_if(
            subtask.in_waitable_set() and not is_async,
            "waitable cannot be used synchronously while added to a waitable set",
        )
        if not subtask.resolved():
            subtask.cancellation_requested = True
            assert subtask.on_cancel is not None
            yield from subtask.on_cancel(instance)
            if not subtask.resolved():
                if is_async:
                    u32[0] = BLOCKED
                    return
                # Waiting may be woken by "started", which is no answer.
                while not subtask.resolved():
                    subtask.pending_event = None
                    yield from subtask.wait_for_pending_event(scheduler.current)
        subtask.get_pending_event()
        u32[0] = int(subtask.state)

    def handler() -> object:
        if not flags[1]:
            instance.cannot_leave()
        return scheduler.begin(steps(u32[0]))

    return handler


@register("subtask.drop")
def _subtask_drop(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    flags, u32 = instance.flags, instance.store.core.u32

    def handler() -> None:
        if not flags[1]:
            instance.cannot_leave()
        index = u32[0]
        _subtask(instance, index).drop()
        instance.handles.remove(index)

    return handler


# ---------------------------------------------------------------------------------------------------- context, backpressure


def _context(instance: ComponentInstance, definition: CanonBuiltin) -> tuple[Any, Any]:
    core = instance.store.core
    return instance.store.scheduler, core.u64 if str(definition.value_type) == "i64" else core.u32


@register("context.get")
def _context_get(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    scheduler, slots = _context(instance, definition)
    slot = definition.slot

    def handler() -> None:
        slots[0] = scheduler.current.storage[slot]

    return handler


@register("context.set")
def _context_set(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    scheduler, slots = _context(instance, definition)
    slot = definition.slot

    def handler() -> None:
        scheduler.current.storage[slot] = slots[0]

    return handler


@register("backpressure.inc")
def _backpressure_inc(
    instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any
) -> Any:
    def handler() -> None:
        instance.backpressure += 1
        if instance.backpressure == MAX_BACKPRESSURE:
            raise trap("backpressure counter overflow")

    return handler


@register("backpressure.dec")
def _backpressure_dec(
    instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any
) -> Any:
    def handler() -> None:
        if not instance.backpressure:
            raise trap("backpressure counter underflow")
        instance.backpressure -= 1
        if not instance.backpressure:
            may_enter(instance)

    return handler
