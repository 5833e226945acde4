"""Components and Python functions as guests of `http_server`.

An instance handles one request at a time. It serves `reuse` of them, one after the other, unless it fails: then it is not
used again. Instances live in trio stores of their own, so a guest that computes is put aside at every tick, one that waits
costs nothing but its memory, and both can be cancelled.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from component_rt.namespace import find_interface
from component_rt.wasi._values import Err, variant
from component_rt.wasi.http_types import IncomingRequest, ResponseOutparam
from component_rt.wasi.pollable import interruptible, unwrapping
from core_rt.errors import Trap, TrapCode, WasmError

if TYPE_CHECKING:
    from component_rt.component import Component
    from component_rt.linker import Linker
    from component_rt.wasi.http_server import Guest
    from core_rt.limits import Limits

__all__ = ["HANDLERS", "Instances", "in_thread", "instances"]

HANDLERS = ("wasi:http/handler@0.3.0", "wasi:http/incoming-handler")
"""A component must export one of these interfaces to serve. The first wins."""

_IDLE_SECONDS = 60.0
"""How long instances are kept that no request wants."""
_AFTER_SECONDS = 5.0
"""For a guest of WASI 0.3 whose response has gone out: to end what it still does."""


@attrs.define(eq=False)
class _Instance:
    store: Any
    handle: Any
    requests: int = 0
    idle_since: float = 0.0
    retired: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Instances:
    """A `Guest` of a component; made by `instances`. Cheap to call: it takes an instance that is idle, or makes one."""

    linker: Linker
    component: Component
    reuse: int
    limits: Limits | None
    fuel: int | None
    seconds: float | None
    nursery: trio.Nursery
    _idle: list[_Instance] = attrs.field(factory=list, init=False)

    async def __call__(self, request: IncomingRequest, outparam: ResponseOutparam) -> None:
        """Handle a request. Raises the runtime's errors; `Trap` when the time is over."""
        instance = self._idle.pop() if self._idle else await self.nursery.start(self._keep)
        instance.requests += 1
        sound = False
        try:
            if self.fuel is not None:
                instance.store.fuel = self.fuel
            if self.seconds is None:
                await instance.handle(request, outparam)
            else:
                await self._in_time(instance.handle(request, outparam), outparam, self.seconds)
            sound = instance.requests < self.reuse
        finally:
            if sound:
                self._put_back(instance)
            else:
                instance.retired.set()
                self.nursery.start_soon(self._prepare)

    def _put_back(self, instance: _Instance) -> None:
        """The last one to come is the first to go again, so those that a rush of requests left behind are found in front."""
        now = trio.current_time()
        instance.idle_since = now
        self._idle.append(instance)
        while now - self._idle[0].idle_since > _IDLE_SECONDS:
            self._idle.pop(0).retired.set()

    async def warm_up(self) -> None:
        """Make an instance before the first request comes. Raises what making it raises."""
        self._put_back(await self.nursery.start(self._keep))

    async def _prepare(self) -> None:
        """Have an instance ready for the next request: made while nobody waits for it, if there is such a time."""
        if not self._idle:
            # What is wrong with the guest now will be wrong when a request wants it.
            with contextlib.suppress(WasmError):
                await self.warm_up()

    async def _in_time(self, call: Any, outparam: ResponseOutparam, seconds: float) -> None:
        with trio.move_on_after(seconds) as scope:
            await call
        if scope.cancelled_caught:
            if outparam.result is None:
                outparam.set(outparam, Err(variant("HTTP-response-timeout")))
            raise Trap(TrapCode.INTERRUPT, f"the guest was stopped after {seconds:g} s")

    async def _keep(self, task_status: trio.TaskStatus[_Instance] = trio.TASK_STATUS_IGNORED) -> None:
        """An instance from its making until it is retired."""
        from component_rt.tasks.opening import open_store

        async with open_store(self.linker.engine, limits=self.limits) as store:
            if self.fuel is not None:
                store.fuel = self.fuel
            made = await self.linker.instantiate_async(store, self.component)
            instance = _Instance(store, _handle_of(made))
            task_status.started(instance)
            await instance.retired.wait()


def _handle_of(instance: Any) -> Callable[[IncomingRequest, ResponseOutparam], Awaitable[None]]:
    """The handler that an instance exports, whichever version it is of."""
    newer, older = HANDLERS
    if find_interface(newer, instance.exports) is None:
        return instance.exports[older].handle  # type: ignore[no-any-return]
    from component_rt.wasi.p3.http_body import answer

    async def handle(request: IncomingRequest, outparam: ResponseOutparam) -> None:
        await answer(instance.exports[newer].handle, request, outparam)
        with trio.move_on_after(_AFTER_SECONDS):
            await instance.store.guests_ended()
        if instance.trapped is not None:
            raise instance.trapped

    return handle


@contextlib.asynccontextmanager
async def instances(
    linker: Linker,
    component: Component,
    *,
    reuse: int = 1,
    limits: Limits | None = None,
    fuel: int | None = None,
    seconds: float | None = None,
) -> AsyncIterator[Instances]:
    """Instances of a component that exports one of `HANDLERS`, as a `Guest`; they end with the block.

    `reuse`: requests for each instance; `limits` and `fuel`: for each instance and request; `seconds`: for a guest to end.
    Raises `LinkError` if `linker` lacks something.
    """
    linker.instantiate_pre(component)
    with unwrapping():
        async with trio.open_nursery() as nursery:
            yield Instances(linker, component, reuse, limits, fuel, seconds, nursery)
            nursery.cancel_scope.cancel()


def in_thread(function: Callable[[IncomingRequest, ResponseOutparam], None]) -> Guest:
    """Plain Python code as a guest: it runs in a worker thread, and may use the blocking functions of `wasi:io`."""

    async def guest(request: IncomingRequest, outparam: ResponseOutparam) -> None:
        def work() -> None:
            # Code that nobody waits for any more ends at its next wait.
            with interruptible(trio.from_thread.check_cancelled):
                function(request, outparam)

        await trio.to_thread.run_sync(work, abandon_on_cancel=True)

    return guest
