"""Components and Python functions as guests of `http_server`.

An instance handles one request at a time, or `concurrent` of them if it is of WASI 0.3. It serves `reuse` of them in all, unless it
fails: then it is not used again. Instances live in trio stores of their own, so a guest that computes is put aside at every tick, one that waits
costs nothing but its memory, and both can be cancelled.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from component_rt.namespace import find_interface
from component_rt.tasks.driver import AsyncStore
from component_rt.tasks.opening import Room, end_store
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
_SPARE_PLACES = 64
_AFTER_SECONDS = 5.0
"""For a guest of WASI 0.3 whose response has gone out: to end what it still does; and for what it wrote to go out."""


@attrs.define(eq=False)
class _Place:
    """A room for one store after the other. `over` ends it."""

    room: Room = attrs.field(factory=Room)
    over: trio.Event = attrs.field(factory=trio.Event)

    async def hold(self, task_status: trio.TaskStatus[_Place] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the room; what is in it at the end ends with it."""
        room = self.room
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(room.keep)
                task_status.started(self)
                try:
                    await self.over.wait()
                    if room.store is not None:
                        with trio.move_on_after(_AFTER_SECONDS):  # a peer may take what was sent to it, or not
                            await room.store.finished()
                finally:
                    room.close()
        finally:
            if room.store is not None:
                room.store.left()
                await end_store(room.store)


@attrs.define(eq=False)
class _Instance:
    place: _Place
    store: AsyncStore
    made: Any = None
    handle: Any = None
    requests: int = 0
    running: int = 0
    """How many of them are being handled."""
    failed: bool = False
    idle_since: float = 0.0


@attrs.define(eq=False)
class Instances:
    """A `Guest` of a component; made by `instances`. Cheap to call: it takes an instance that is free, or makes one."""

    linker: Linker
    component: Component
    reuse: int
    concurrent: int
    limits: Limits | None
    fuel: int | None
    seconds: float | None
    nursery: trio.Nursery
    _idle: list[_Instance] = attrs.field(factory=list, init=False)
    """Those that may be given another request."""
    _places: list[_Place] = attrs.field(factory=list, init=False)
    """Those that no store is in."""
    _retired: list[_Instance] = attrs.field(factory=list, init=False)
    _some_retired: trio.Event = attrs.field(factory=trio.Event, init=False)
    _newer: bool = attrs.field(init=False)
    """Whether it is of WASI 0.3."""

    def __attrs_post_init__(self) -> None:
        self._newer = find_interface(HANDLERS[0], self.component.exports) is not None
        if not self._newer:
            self.concurrent = 1  # its requests would hold up each other

    async def __call__(self, request: IncomingRequest, outparam: ResponseOutparam) -> None:
        """Handle a request. Raises the runtime's errors; `Trap` when the time is over."""
        instance = self._idle.pop() if self._idle else await self._make()
        instance.requests += 1
        instance.running += 1
        if self._has_room(instance):
            self._idle.append(instance)
        sound = False
        try:
            if self.fuel is not None:
                instance.store.fuel = self.fuel
            if self.seconds is None:
                await instance.handle(request, outparam)
            else:
                await self._in_time(instance.handle(request, outparam), outparam, self.seconds)
            if self._newer:
                await self._settle(instance)
            sound = True
        finally:
            self._give_back(instance, sound)

    def _has_room(self, instance: _Instance) -> bool:
        return not instance.failed and instance.running < self.concurrent and instance.requests < self.reuse

    async def _settle(self, instance: _Instance) -> None:
        """A response of WASI 0.3 has gone out, and its guest may go on: see to it that nothing is lost when that is the end of it."""
        if self.concurrent == 1 or (instance.running == 1 and instance.requests >= self.reuse):
            with trio.move_on_after(_AFTER_SECONDS):
                await instance.store.guests_ended()
        if instance.made.trapped is not None:
            raise instance.made.trapped

    def _give_back(self, instance: _Instance, sound: bool) -> None:
        had_room = self._has_room(instance)
        instance.running -= 1
        if not sound:
            instance.failed = True
            if had_room:
                self._idle.remove(instance)
        if self._has_room(instance):
            if had_room:
                self._idle.remove(instance)
            self._put_back(instance)
        elif not instance.running:
            self._retire(instance)

    async def _make(self) -> _Instance:
        store = AsyncStore(self.linker.engine, limits=self.limits)
        place = self._places.pop() if self._places else await self.nursery.start(_Place().hold)
        place.room.take_in(store)
        instance = _Instance(place, store)
        try:
            if self.fuel is not None:
                store.fuel = self.fuel
            instance.made = await self.linker.instantiate_async(store, self.component)
            instance.handle = _handle_of(instance.made)
        except BaseException:
            self._retire(instance)
            raise
        return instance

    def _put_back(self, instance: _Instance) -> None:
        """The last one to come is the first to go again, so those that a rush of requests left behind are found in front."""
        now = trio.current_time()
        instance.idle_since = now
        self._idle.append(instance)
        while not self._idle[0].running and now - self._idle[0].idle_since > _IDLE_SECONDS:
            self._retire(self._idle.pop(0))

    async def warm_up(self) -> None:
        """Make an instance before the first request comes. Raises what making it raises."""
        self._put_back(await self._make())

    def _retire(self, instance: _Instance) -> None:
        self._retired.append(instance)
        self._some_retired.set()

    async def keep_house(self) -> None:
        """Free what has been used, and have an instance ready for the next request: while nobody waits, if there is such a time."""
        while True:
            await self._some_retired.wait()
            await trio.lowlevel.checkpoint()  # responses go first
            self._some_retired = trio.Event()
            while self._retired:
                self._free(self._retired.pop())
            if not self._idle:
                # What is wrong with the guest now will be wrong when a request wants it.
                with contextlib.suppress(WasmError):
                    await self.warm_up()

    def _free(self, instance: _Instance) -> None:
        place, store = instance.place, instance.store
        if len(self._places) >= _SPARE_PLACES or not place.room.let_go():
            place.over.set()
            return
        self._places.append(place)
        store.close()
        if store.lingers:
            self.nursery.start_soon(end_store, store)
        else:
            store.disband()

    async def _in_time(self, call: Any, outparam: ResponseOutparam, seconds: float) -> None:
        with trio.move_on_after(seconds) as scope:
            await call
        if scope.cancelled_caught:
            if outparam.result is None:
                outparam.set(outparam, Err(variant("HTTP-response-timeout")))
            raise Trap(TrapCode.INTERRUPT, f"the guest was stopped after {seconds:g} s")


def _handle_of(instance: Any) -> Callable[[IncomingRequest, ResponseOutparam], Awaitable[None]]:
    """The handler that an instance exports, whichever version it is of."""
    newer, older = HANDLERS
    if find_interface(newer, instance.exports) is None:
        return instance.exports[older].handle  # type: ignore[no-any-return]
    from component_rt.wasi.p3.http_body import answer

    return functools.partial(answer, instance.exports[newer].handle)


@contextlib.asynccontextmanager
async def instances(
    linker: Linker,
    component: Component,
    *,
    reuse: int = 1,
    concurrent: int = 1,
    limits: Limits | None = None,
    fuel: int | None = None,
    seconds: float | None = None,
) -> AsyncIterator[Instances]:
    """Instances of a component that exports one of `HANDLERS`, as a `Guest`; they end with the block.

    `reuse`: requests for each instance; `concurrent`: how many of them at the same time, for WASI 0.3; `limits` and `fuel`: for each instance and request; `seconds`: for a guest to end.
    Raises `LinkError` if `linker` lacks something; `ValueError` for `fuel` with `concurrent`, since requests at the same time cannot be
    told apart by what they use.
    """
    if fuel is not None and concurrent > 1:
        raise ValueError("fuel is counted for one request at a time, so concurrent must be 1")
    linker.instantiate_pre(component)
    with unwrapping():
        async with trio.open_nursery() as nursery:
            made = Instances(linker, component, reuse, concurrent, limits, fuel, seconds, nursery)
            nursery.start_soon(made.keep_house)
            yield made
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
