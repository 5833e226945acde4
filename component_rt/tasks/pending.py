"""Host functions that are being awaited, each in a trio task of its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, final

import trio

from component_rt.tasks.scheduler import call_of
from component_rt.values import Err, outcome_of

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
        """Await the function, which `store.awaited` counts already, in a task of its own."""
        task, call = trio.lowlevel.current_task(), self._call
        if call is not None:
            store.hosts[task] = call
        try:
            await self._await(coroutine, store)
        finally:
            if call is not None:
                del store.hosts[task]
                call.hosts -= 1
                if not call.hosts:
                    call.on_quiet()
        if not self.abandoned:
            store.happened(self.on_done)

    async def run_here(self, coroutine: Coroutine[Any, Any, Any], store: AsyncStore) -> None:
        """Await the function in the task of the call that it holds up. Raises `trio.Cancelled` for that task's sake only."""
        task, call, hosts = trio.lowlevel.current_task(), self._call, store.hosts
        assert call is not None
        outer = hosts.get(task)
        if not call.inline:
            call.inline, call.within = True, host_call_of(task, hosts)
        hosts[task] = call
        try:
            await self._await(coroutine, store)
        finally:
            if outer is None:
                del hosts[task]
            else:
                hosts[task] = outer

    async def _await(self, coroutine: Coroutine[Any, Any, Any], store: AsyncStore) -> None:
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
            store.ended()
        self.cancelled = self._scope.cancelled_caught
        self.done = True

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
        return outcome_of(self._result, self._error)


def _nothing() -> None:
    return None


def host_call_of(task: trio.lowlevel.Task | None, hosts: Mapping[trio.lowlevel.Task, HostCall]) -> HostCall | None:
    """The call for which `task` runs a host function, or a part of one."""
    while task is not None:
        found = hosts.get(task)
        if found is not None:
            return found
        nursery = task.parent_nursery
        task = None if nursery is None else nursery.parent_task
    return None


def waits_for_itself(call: HostCall, hosts: Mapping[trio.lowlevel.Task, HostCall]) -> bool:
    """Whether the running task calls, in a host function, an instance which that host function holds up."""
    outer = host_call_of(trio.lowlevel.current_task(), hosts)
    while outer is not None:
        thread = None if outer.tree.preempted else outer.tree.aside
        while thread is not None:
            if thread.tree is call.tree and call_of(thread) is outer:
                return True
            thread = thread.resumer
        outer = outer.within if outer.inline else host_call_of(outer.caller, hosts)
    return False
