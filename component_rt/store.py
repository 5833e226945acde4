"""The component store: a core store plus host resources, and what runs calls.

A synchronous store calls host functions as they are; a function that turns out to be `async def` is refused. The store of
`open_store` (trio) replaces `is_async` and `suspend` (`tasks/`).
"""

from __future__ import annotations

import contextlib
import inspect
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any

from core_rt.errors import StoreError, Trap, WasmError
from core_rt.store import Store as CoreStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from component_rt.canon.lift import LiftedFunc
    from component_rt.canon.lower import LowerCode
    from component_rt.handles import CallScope, ResourceType
    from component_rt.instance import ComponentInstance, RuntimeOptions
    from core_rt.engine import Engine
    from core_rt.limits import Limits

__all__ = ["Store"]


class Store:
    """Holds component instances; a context manager, `close()` frees everything at once.

    `data` is the user's own. `handles` limits how many handles one component instance may hold. A store may be used by one
    thread at a time (`StoreError` otherwise).
    """

    is_async = False
    working = False
    """Whether a worker thread is inside the core store."""

    def __init__(
        self, engine: Engine, data: object = None, limits: Limits | None = None, *, handles: int = 1_000_000
    ) -> None:
        self.core = CoreStore(engine, data, limits)
        self.engine = engine
        self.max_handles = handles
        self.orphans: list[tuple[ResourceType, int]] = []
        """Guest resources whose Python objects were collected without being closed."""
        self.roots: list[ComponentInstance] = []
        self.host_types: dict[Any, ResourceType] = {}
        self.ends = 0
        """How many ends of streams and futures Python holds."""
        self._scheduler: Any = None
        self._async_values: Any = None
        self._waits: Any = None
        self._feeds: weakref.WeakSet[Any] | None = None
        self.callees: dict[Any, Any] = {}
        """Lifted functions bound for calls as tasks (`tasks.calls.Callee`)."""
        self.cancellers: set[ComponentInstance] = set()
        """Instances that import `task.cancel`, and so understand what being cancelled means."""
        self.returned_types: dict[int, Any] = {}
        """Function types made for `task.return`, by the id of the function type that they belong to."""

    # ------------------------------------------------------------------------------------------------ life

    def __enter__(self) -> Store:
        self.core.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def data(self) -> object:
        """The user's own."""
        return self.core.data

    @data.setter
    def data(self, value: object) -> None:
        self.core.data = value

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.core.closed

    def close(self) -> None:
        """Free instances and memories, and close the host resources that guests still owned.

        Guests' destructors are not run: their memory is gone. Raises what closing a resource raised, when all are closed.
        """
        if self.core.closed:
            return
        self.core.close()
        for feed in list(self._feeds or ()):
            feed.stop()
        self.orphans.clear()
        for root in self.roots:
            root.release()
        self.roots.clear()
        self.cancellers.clear()
        if not self.is_async:
            self.callees.clear()
            if self._waits is not None:
                self._waits.close()
            self._scheduler = self._async_values = self._waits = None
        hosts = [rt.host for rt in self.host_types.values()]
        self.host_types.clear()
        problems = [problem for host in hosts for problem in host.close()]
        if len(problems) > 1:
            raise ExceptionGroup("while resources of the host were closed", problems)
        for problem in problems:
            raise problem

    # ------------------------------------------------------------------------------------------------ limits

    @property
    def fuel(self) -> int:
        """Fuel left, in instructions; the engine's config must have `consume_fuel`."""
        return self.core.fuel

    @fuel.setter
    def fuel(self, value: int) -> None:
        self.core.fuel = value

    def set_epoch_deadline(self, ticks: int) -> None:
        """Trap guests once the engine's epoch has been incremented `ticks` times from now."""
        self.core.set_epoch_deadline(ticks)

    def statistics(self) -> dict[str, int]:
        """Counts of what the store holds; `host_resources` are objects of the host that guests own or borrow."""
        return {
            **self.core.statistics(),
            "component_instances": sum(len(root.members) for root in self.roots),
            "handles": sum(len(handles) for root in self.roots for _, handles in root.tables()),
            "host_resources": sum(len(rt.host) for rt in self.host_types.values()),
            "orphans": len(self.orphans),
        }

    # ------------------------------------------------------------------------------------------------ resources

    def drop_guest_resource(self, rt: ResourceType, rep: int) -> Any:
        """The host drops an own handle: run the destructor in the instance that implements the resource."""
        if self.core.closed or rt.dtor is None:
            return None
        rt.dtor.from_host(rep)
        return None

    def drop_orphans(self) -> None:
        """Drop guest resources that were never closed. Called where guests may be entered anyway."""
        while self.orphans:
            rt, rep = self.orphans.pop()
            if rt.impl is not None and rt.impl.root.flags[0]:
                with contextlib.suppress(Trap):
                    self.drop_guest_resource(rt, rep)

    def close_host_resource(self, value: Any) -> None:
        """A guest dropped its last own handle to a host object: `close()` it, if it can be."""
        close = getattr(value, "close", None)
        if close is None:
            if getattr(value, "aclose", None) is not None:
                raise WasmError(f"{value!r} has only `aclose()`: a synchronous store cannot await it, use open_store")
            return
        result = close()
        if inspect.iscoroutine(result):
            result.close()
            raise WasmError(
                f"`close()` of {value!r} is `async def`: a synchronous store cannot await it, use open_store"
            )

    # ------------------------------------------------------------------------------------------------ asynchronous functions

    @property
    def scheduler(self) -> Any:
        """What runs tasks (`tasks.scheduler.Scheduler`), made when something first has tasks."""
        if self._scheduler is None:
            from component_rt.tasks.scheduler import Scheduler

            self._scheduler = Scheduler(self.core)
        return self._scheduler

    def stop_at_end(self, feed: Any) -> None:
        """Call `feed.stop()` when the store is closed, if it is still there (`tasks.supplies`)."""
        if self._feeds is None:
            self._feeds = weakref.WeakSet()
        self._feeds.add(feed)

    @property
    def waits(self) -> Any:
        """The coroutines that a synchronous store runs (`tasks.waits.Waits`)."""
        if self._waits is None:
            from component_rt.tasks.waits import Waits

            self._waits = Waits()
        return self._waits

    @property
    def async_values(self) -> Any:
        """What lifts and lowers streams, futures and error contexts."""
        if self._async_values is None:
            from component_rt.tasks.values import AsyncValues

            self._async_values = AsyncValues(self)
        return self._async_values

    def task_function(self, lifted: LiftedFunc, name: str, label: str) -> Callable[..., Any]:
        """The Python function for an export that runs as a task."""
        from component_rt.tasks.blocking import task_function

        return task_function(self, lifted, name, label)

    def lower_async(
        self, instance: ComponentInstance, callee: Any, options: RuntimeOptions, code: LowerCode
    ) -> Callable[[], object]:
        """What answers calls of an import where caller or callee may run as tasks."""
        from component_rt.tasks.calls import lower_task

        return lower_task(self, instance, callee, options, code)

    # ------------------------------------------------------------------------------------------------ host calls

    def suspend(self, coroutine: Any, complete: Any, address: int | None, scope: CallScope | None, name: str) -> object:
        """A host function answered a coroutine. Here: refuse."""
        coroutine.close()
        raise StoreError(
            f"the host function `{name}` is `async def`: a synchronous store cannot await it, use component_rt.open_store"
        )
