"""Opening and leaving a trio store."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import trio

from component_rt.tasks.driver import AsyncStore
from core_rt.errors import StoreError

if TYPE_CHECKING:
    from core_rt.engine import Engine
    from core_rt.limits import Limits

__all__ = ["Room", "end_store", "open_store"]


class Room:
    """Where the tasks of a store run: a nursery and the pump in it. Of several stores in turn, where that is possible.

    A room takes four turns of the loop and some dozens of microseconds to make. `store` is the one that is in it.
    """

    __slots__ = ("_keeper", "_nursery", "_pump_task", "_scope", "store")

    _nursery: trio.Nursery
    _keeper: trio.lowlevel.Task
    _pump_task: trio.lowlevel.Task

    def __init__(self) -> None:
        self._scope = trio.CancelScope(shield=True)
        self.store: AsyncStore | None = None

    async def keep(self, task_status: trio.TaskStatus[Room] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the nursery open until the room is closed; gives the room.

        It is shielded: cancellation around a store reaches the calls in it, and these need the pump to end guests properly.
        """
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                self._keeper = trio.lowlevel.current_task()
                self._pump_task = await self._nursery.start(self._pump, name="component_rt pump")
                task_status.started(self)
                try:
                    await trio.sleep_forever()
                finally:
                    if self.store is not None and self.store.watch is not None:
                        self.store.watch.remove(self.store)

    async def _pump(self, task_status: trio.TaskStatus[trio.lowlevel.Task]) -> None:
        task_status.started(trio.lowlevel.current_task())
        while True:
            if self.store is None or await self.store.pump():
                await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, raise_cancel: object) -> trio.lowlevel.Abort:
        if self.store is not None:
            self.store.pump_cancelled()
        return trio.lowlevel.Abort.SUCCEEDED

    def take_in(self, store: AsyncStore) -> None:
        """A store begins to use the room, which is empty."""
        assert self.store is None
        self.store = store
        store.enter(self._nursery, self._keeper, self._pump_task)

    def let_go(self) -> bool:
        """The store has been used: whether it can leave as it is, because nothing of it is going on. If not, `close`."""
        store = self.store
        assert store is not None
        if not store.idle or store.awaited or len(self._nursery.child_tasks) > 1 or self._scope.cancel_called:
            return False
        self.store = None
        store.left()
        return True

    def close(self) -> None:
        """Cancel all tasks; `keep` returns when they have ended."""
        self._scope.cancel()


async def end_store(store: AsyncStore) -> None:
    """Free a store that has left its room, and wait for what that brings about."""
    with trio.CancelScope(shield=True):
        try:
            store.close()
        finally:
            await store.quiet()
            await store.close_left_over()
            store.disband()


class open_store:
    """`async with open_store(engine) as store:` — a store whose guests run under trio.

    `data`, `limits` and `handles` are as for `Store`. `cancel_grace`: seconds that a guest has to end a call after it was told that
    the call is cancelled. Leaving cancels every call, host function and stream of the store and frees it.
    """

    __slots__ = ("_manager", "_room", "_store")

    def __init__(
        self,
        engine: Engine,
        data: object = None,
        limits: Limits | None = None,
        *,
        handles: int = 1_000_000,
        cancel_grace: float = 1.0,
    ) -> None:
        if not trio.lowlevel.in_trio_run():
            raise StoreError("a store of `open_store` needs trio, and no trio loop is running here")
        self._store = AsyncStore(engine, data, limits, handles, cancel_grace)
        self._manager = trio.open_nursery()
        self._room = Room()

    async def __aenter__(self) -> AsyncStore:
        store = self._store
        store.core.check()
        outer = await self._manager.__aenter__()
        try:
            # A task that reports its start to one who is cancelled stays with it, to be cancelled as well: this one would not be.
            with trio.CancelScope(shield=True):
                await outer.start(self._room.keep, name="component_rt store")
            self._room.take_in(store)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return store

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if not _has_cancelled(error):
            try:
                await self._store.finished()
            except BaseException as problem:
                await self._leave(type(problem), problem, problem.__traceback__)
                raise
        await self._leave(kind, error, at)

    async def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        store, cancelled = self._store, _has_cancelled(error)
        self._room.close()
        try:
            if cancelled:
                # Of a scope around the store, or because one of its tasks has failed: the nursery knows.
                await self._manager.__aexit__(kind, error, at)
            else:
                await self._manager.__aexit__(None, None, None)
        except BaseException as problem:
            inner = _only(problem)
            if error is None or cancelled or not isinstance(inner, trio.Cancelled | Exception):
                raise inner from None
        finally:
            store.left()
            await end_store(store)


def _has_cancelled(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_has_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)


def _only(error: BaseException) -> BaseException:
    """The one exception in a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
