"""Notices under trio that what is waited for can never come.

A synchronous store is in deadlock when nothing is left to run. Under trio the rest of the program may still do something: call
another function, send to a stream. So this looks at the whole loop, at the moment when trio itself has nothing to do: if every task of
the user, host functions among them, waits for a guest (or for other tasks that do) and no store has anything to run, then only
the guests could go on, and they wait too. What waits then ends with a `Trap` that says deadlock.

A deadline is something that may still happen. Where one is set, only calls whose guests would not learn of being cancelled
count, and only while the host holds no end of any stream: for these the deadline could change nothing.

What this cannot see: a foreign thread that is about to enter the loop (`trio.from_thread` with a token).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import trio

from component_rt.tasks.blocking import deadlock

if TYPE_CHECKING:
    from component_rt.tasks.calls import HostCall
    from component_rt.tasks.driver import AsyncStore

__all__ = ["Waiter", "Watch"]

_FAR: Final = 3600.0
"""trio's loop never sleeps longer than a day; it does for an hour only if no deadline is near."""
_here: trio.lowlevel.RunVar[Watch | None] = trio.lowlevel.RunVar("component_rt.watch", default=None)


class Waiter(Protocol):
    """A trio task that waits in `store`: for a call, or at the end of a stream.

    `give_up(error)` ends the latter; None: nobody is there to tell.
    """

    @property
    def store(self) -> AsyncStore: ...
    @property
    def call(self) -> HostCall | None: ...
    @property
    def give_up(self) -> Callable[[BaseException], None] | None: ...


class Watch(trio.abc.Instrument):
    """All stores of one trio loop."""

    def __init__(self) -> None:
        self._waiting: dict[trio.lowlevel.Task, Waiter] = {}
        self._stores: dict[AsyncStore, tuple[trio.lowlevel.Task, trio.lowlevel.Task]] = {}
        self._blocker: trio.lowlevel.Task | None = None
        self._timeout = 0.0
        self._looks = False
        self._token = trio.lowlevel.current_trio_token()

    @staticmethod
    def here() -> Watch:
        """The one of the running loop."""
        watch = _here.get()
        if watch is None:
            watch = Watch()
            _here.set(watch)
        return watch

    def add(self, store: AsyncStore, own: tuple[trio.lowlevel.Task, trio.lowlevel.Task]) -> None:
        """A store was opened, with two tasks of its own that wait for guests."""
        self._stores[store] = own

    def remove(self, store: AsyncStore) -> None:
        self._stores.pop(store, None)
        if not self._stores and self._looks:
            self._looks = False
            trio.lowlevel.remove_instrument(self)

    def look(self) -> None:
        """A store has nothing to run and awaits no host function: begin to watch the loop, if anything waits."""
        if self._waiting and not self._looks:
            self._looks = True
            trio.lowlevel.add_instrument(self)

    def waits(self, task: trio.lowlevel.Task, waiter: Waiter) -> None:
        """`task` begins to wait."""
        self._waiting[task] = waiter
        if not waiter.store.awaited or task in waiter.store.hosts:
            self.look()

    def goes_on(self, task: trio.lowlevel.Task) -> None:
        """`task` waits no longer."""
        self._waiting.pop(task, None)

    # ------------------------------------------------------------------------------------------------ looking

    def before_io_wait(self, timeout: float) -> None:
        """The loop is about to sleep."""
        if timeout and self._waiting and self._stuck(timeout):
            self._timeout = timeout
            self._token.run_sync_soon(self._break, idempotent=True)

    def _stuck(self, timeout: float) -> bool:
        for store in self._stores:
            if not store.idle:
                return False
        blocker = self._blocker
        if blocker is not None and blocker.coro.cr_frame is not None and not self._waits(blocker):
            return False
        if timeout < _FAR:
            for waiter in self._waiting.values():
                if waiter.call is None or waiter.store.ends or waiter.store.cancellers:
                    return False
        self._blocker = self._find_blocker()
        return self._blocker is None

    def _find_blocker(self) -> trio.lowlevel.Task | None:
        """A task of the user that does not wait for guests; None if there is none."""
        root = trio.lowlevel.current_root_task()
        assert root is not None
        if len(root.child_nurseries) < 3:  # the last of trio's own has the main task, and nothing else
            return root
        own = {task for pair in self._stores.values() for task in pair}
        left = list(root.child_nurseries[-1].child_tasks)
        known = 0
        while left:
            task = left.pop()
            if task in self._waiting:
                known += 1
            elif task not in own and not self._waits(task):
                return task
            for nursery in task.child_nurseries:
                left += nursery.child_tasks
        return None if known == len(self._waiting) else root

    def _waits(self, task: trio.lowlevel.Task) -> bool:
        """Whether `task` waits for guests, or for the tasks in a nursery that it is about to leave."""
        if task in self._waiting:
            return True
        nurseries = task.child_nurseries
        return bool(nurseries) and bool(getattr(nurseries[-1], "_parent_waiting_in_aexit", False))

    def _break(self) -> None:
        """End what can never end."""
        if not self._waiting or not self._stuck(self._timeout):
            return
        stuck = list(self._waiting.values())
        trees = {}
        for waiter in stuck:
            call = waiter.call
            if call is not None and not call.done:
                error = deadlock()
                trees[call.tree] = waiter.store, error
                call.finish(error)
        for tree, (store, error) in trees.items():
            store.scheduler.kill(tree, error)
        for waiter in stuck:
            if waiter.give_up is not None:
                waiter.give_up(deadlock())
