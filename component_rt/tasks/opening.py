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

__all__ = ["open_store"]


class open_store:
    """`async with open_store(engine) as store:` — a store whose guests run under trio.

    `data`, `limits` and `handles` are as for `Store`. `cancel_grace`: seconds that a guest has to end a call after it was told that
    the call is cancelled. Leaving cancels every call, host function and stream of the store and frees it.
    """

    __slots__ = ("_manager", "_scope", "_store")

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
        self._scope = trio.CancelScope(shield=True)

    async def __aenter__(self) -> AsyncStore:
        store = self._store
        store.core.check()
        outer = await self._manager.__aenter__()
        try:
            # A task that reports its start to one who is cancelled stays with it, to be cancelled as well: this one would not be.
            with trio.CancelScope(shield=True):
                await outer.start(store.keep, self._scope, name="component_rt store")
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
        self._scope.cancel()
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
            with trio.CancelScope(shield=True):
                try:
                    store.close()
                finally:
                    await store.quiet()
                    await store.close_left_over()


def _has_cancelled(error: BaseException | None) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_has_cancelled, error.exceptions))
    return isinstance(error, trio.Cancelled)


def _only(error: BaseException) -> BaseException:
    """The one exception in a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
