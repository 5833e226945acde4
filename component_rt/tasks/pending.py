"""Host functions that are being awaited, each in a trio task of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, final

import trio

from component_rt.tasks.scheduler import call_of
from component_rt.values import Err

if TYPE_CHECKING:
    from component_rt.tasks.calls import HostCall
    from component_rt.tasks.driver import AsyncStore

__all__ = ["Pending", "waits_for_itself"]


@final
class Pending:
    """A host function being awaited, for `call`. `on_done()` is called once, when it has ended."""

    __slots__ = ("_call", "_error", "_result", "_scope", "abandoned", "cancelled", "done", "on_done")

    def __init__(self, call: HostCall | None) -> None:
        self._call = call
        self.done = False
        self.cancelled = False
        self.abandoned = False
        self.on_done: Callable[[], object] = _nothing
        self._result: Any = None
        self._error: BaseException | None = None
        self._scope = trio.CancelScope()

    async def run(self, coroutine: Coroutine[Any, Any, Any], store: AsyncStore) -> None:
        """Await the function, which `store.awaited` counts already."""
        task = trio.lowlevel.current_task()
        if self._call is not None:
            store.hosts[task] = self._call
        try:
            with self._scope:
                try:
                    self._result = await coroutine
                except trio.Cancelled:
                    raise
                except BaseException as error:
                    self._error = error
        finally:
            coroutine.close()
            store.awaited -= 1
            call = store.hosts.pop(task, None)
            if call is not None:
                call.hosts -= 1
                if not call.hosts:
                    call.on_quiet()
        self.cancelled = self._scope.cancelled_caught
        self.done = True
        if not self.abandoned:
            store.happened(self.on_done)

    def cancel(self) -> None:
        """Nobody wants the result; `on_done` is still called."""
        self._scope.cancel()

    def abandon(self) -> None:
        """As `cancel`, and nobody wants to know when it has ended."""
        if not self.done:
            self.abandoned = True
            self._scope.cancel()

    def outcome(self) -> tuple[Any, Err | None]:
        """Result, or `Err`. Raises what the function raised otherwise."""
        if self._error is None:
            return self._result, None
        if isinstance(self._error, Err):
            return None, self._error
        raise self._error


def _nothing() -> None:
    return None


def waits_for_itself(call: HostCall, hosts: Mapping[trio.lowlevel.Task, HostCall]) -> bool:
    """Whether the running task calls, in a host function, an instance which that host function holds up."""
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    while task is not None:
        outer = hosts.get(task)
        if outer is None:
            nursery = task.parent_nursery
            task = None if nursery is None else nursery.parent_task
            continue
        thread = None if outer.tree.preempted else outer.tree.aside
        while thread is not None:
            if thread.tree is call.tree and call_of(thread) is outer:
                return True
            thread = thread.resumer
        task = outer.caller
    return False
