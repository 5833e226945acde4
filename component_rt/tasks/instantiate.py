"""Instantiating a component under trio: start functions of its core modules are tasks that may be held up."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

from component_rt.tasks.calls import HostCall, finish_sync
from component_rt.tasks.scheduler import Enter, Tree
from component_rt.tasks.thread import Steps, Task, Thread

if TYPE_CHECKING:
    from component_rt.instance import Runtime
    from component_rt.tasks.driver import AsyncStore
    from core_rt.func import Func

__all__ = ["Instantiation"]


class Instantiation(HostCall):
    """All of it, as a call from the host of a function of synchronous type."""

    __slots__ = ("_runtime",)

    def __init__(self, store: AsyncStore, runtime: Runtime, context: contextvars.Context) -> None:
        root = runtime.instance(0)
        self.store = store
        self.label = "instantiate"
        self.tree = Tree.of(root)
        self.done = self.cancelled = self.started = self.stopped = self.inline = False
        self.result = self.error = self.caller = self.within = None
        self.on_done = self.on_quiet = _nothing
        self.hosts = 0
        self.context = context
        self.task = _task(root, self)
        self._runtime = runtime

    def steps(self) -> Steps:
        """Interpret the plan."""
        if self.done:  # cancelled before it began
            return
        self.started = True
        self.tree.calls[self] = None
        scheduler = self.store.scheduler
        for instance, start in self._runtime.starting():
            task = _task(instance, self)
            yield Thread(scheduler, self.tree, task, _body(scheduler, task, start)).resumed()
            yield from finish_sync(task, scheduler)
        self.finish(None)

    def takes_back(self, error: BaseException, task: Task, thread: Thread) -> bool:
        return False

    def outcome(self) -> None:
        """Raises what went wrong. Nothing is asked of it after that."""
        del self.task
        if self.error is not None:
            raise self.error


def _nothing() -> None:
    return None


def _task(instance: Any, call: Instantiation) -> Task:
    return Task(instance, None, lambda: None, lambda result, cancelled: None, None, call)


def _body(scheduler: Any, task: Task, start: Func) -> Steps:
    thread = scheduler.current
    yield from task.enter_implicit_thread(thread)
    task.start()
    yield Enter(start.site)
    task.return_(None)
    task.exit_implicit_thread(thread)
