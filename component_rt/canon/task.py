"""Tasks and threads as far as synchronous calls can see them: context storage, backpressure, what only async tasks may do.

Components whose plan `uses_tasks` run every call under a `Thread` of a `Task` (`store.current_thread`); the others have no
way to tell and skip it. The built-ins of asynchronous tasks (`tasks/`) replace the ones that only refuse here.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.canon.builtins import register
from component_rt.handles import trap

if TYPE_CHECKING:
    from component_rt.canon.lift import LiftedFunc
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.model import CanonBuiltin
    from component_rt.store import Store

__all__ = ["Task", "Thread", "with_thread"]

CONTEXT_SLOTS = 2
MAX_BACKPRESSURE = 1 << 16


class Task:
    """A call of a lifted function. `lifted` is None while modules are being instantiated."""

    __slots__ = ("inst", "lifted", "state")

    class State(enum.Enum):
        INITIAL = 1
        STARTED = 2
        PENDING_CANCEL = 3
        CANCEL_DELIVERED = 4
        RESOLVED = 5

    def __init__(self, inst: ComponentInstance, lifted: LiftedFunc | None) -> None:
        self.inst = inst
        self.lifted = lifted
        self.state = Task.State.INITIAL


class Thread:
    """A thread of a task; `storage` is what `context.get` and `context.set` see."""

    __slots__ = ("storage", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.storage = [0] * CONTEXT_SLOTS


def with_thread(store: Store, inst: ComponentInstance, lifted: LiftedFunc | None, function: Callable[..., Any]) -> Any:
    """`function`, run under a new task and thread."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        outer = store.current_thread
        store.current_thread = Thread(Task(inst, lifted))
        try:
            return function(*args, **kwargs)
        finally:
            store.current_thread = outer

    return run


def _context(instance: ComponentInstance, definition: CanonBuiltin) -> tuple[Any, Any]:
    core = instance.store.core
    return instance.store, core.u64 if str(definition.value_type) == "i64" else core.u32


@register("context.get")
def _context_get(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    store, slots = _context(instance, definition)
    slot = definition.slot

    def handler() -> None:
        slots[0] = store.current_thread.storage[slot]

    return handler


@register("context.set")
def _context_set(instance: ComponentInstance, definition: CanonBuiltin, options: RuntimeOptions, table: Any) -> Any:
    store, slots = _context(instance, definition)
    slot = definition.slot

    def handler() -> None:
        store.current_thread.storage[slot] = slots[0]

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
        instance.backpressure -= 1
        if instance.backpressure < 0:
            raise trap("backpressure counter underflow")

    return handler
