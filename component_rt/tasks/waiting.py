"""The task of the user that waits for a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from core_rt.errors import InstancePoisoned

if TYPE_CHECKING:
    from component_rt.tasks.calls import HostCall
    from component_rt.tasks.driver import AsyncStore

__all__ = ["Waiting"]


class Waiting:
    """A task that waits for a call."""

    __slots__ = ("_raise_cancel", "_task", "_watch", "call", "store")
    give_up = None

    def __init__(self, store: AsyncStore, call: HostCall) -> None:
        assert store.watch is not None
        self.store = store
        self.call = call
        self._watch = store.watch
        self._task = trio.lowlevel.current_task()
        self._raise_cancel: Callable[[], Any] | None = None

    def _on_done(self) -> None:
        self._watch.goes_on(self._task)
        trio.lowlevel.reschedule(self._task)

    def _abort(self, raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
        self._raise_cancel = raise_cancel
        return self.store.cancelling.begin(self.call)

    async def sleep(self) -> None:
        """Until the call is over. Raises `trio.Cancelled` if it was cancelled instead of finished."""
        call = self.call
        call.on_done = self._on_done
        call.caller = self._task
        self._watch.waits(self._task, self)
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._watch.goes_on(self._task)
        cancel = self._raise_cancel
        if cancel is not None and (call.cancelled or call.stopped or isinstance(call.error, InstancePoisoned)):
            if call.error is not None and call.hosts:
                await self._quiet()
            cancel()

    async def _quiet(self) -> None:
        """Wait for the host functions of a call that was stopped: they are cancelled, and may have something to clean up."""
        quiet = trio.Event()
        self.call.on_quiet = quiet.set
        with trio.CancelScope(shield=True):
            await quiet.wait()
