"""Waiting: what a guest waits for, how a thread waits for it, and how a trio task does.

Anything that can be waited for answers three questions (`Source`): is it ready now; what should a thread watch until it
may be (`wake`); and how does a trio task wait (`wait`). A pollable handed to a guest is a thin face over one source.

Waits are level-triggered and may end early: whoever waits asks `ready()` again. A thread waits in slices, so that
signals and other stores' deadlines are noticed; a trio task really sleeps and holds up nobody.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import attrs

from component_rt.tasks.waits import Sources, driving
from component_rt.wasi.dual import Dual
from core_rt.errors import Trap, TrapCode, WasmError

__all__ = [
    "ALWAYS",
    "READ",
    "WRITE",
    "Notice",
    "Pollable",
    "Source",
    "Wake",
    "check_interrupt",
    "fd_ready",
    "interruptible",
    "needs_trio",
    "ready_indices",
    "sources_of",
    "unwrapping",
    "wait_any",
    "wait_any_sync",
    "wait_fd",
    "watch",
]

READ = select.POLLIN
WRITE = select.POLLOUT
_SLICE = 0.1
"""Seconds a thread waits at most before it looks again."""
_MAX_SLEEP = 3600.0
"""Seconds a trio task sleeps at most before it looks again: a guest's deadline may be centuries away."""


class Wake(NamedTuple):
    """What a thread should watch: a file descriptor with poll events, a time span in nanoseconds, or both."""

    fd: int | None = None
    events: int = 0
    remaining: int | None = None


class Source(Protocol):
    """Something that becomes ready."""

    def ready(self) -> bool:
        """Whether it is ready now; never blocks."""

    def wake(self) -> Wake:
        """What to watch until it may be ready. Raises `WasmError` if only a trio task can wait for it."""

    async def wait(self) -> None:
        """Wait in trio until it is ready (or may be)."""


class _Always:
    """A source that is always ready."""

    def ready(self) -> bool:
        return True

    def wake(self) -> Wake:
        return Wake(remaining=0)

    async def wait(self) -> None:
        return None


ALWAYS: Source = _Always()


def fd_ready(fd: int, events: int) -> bool:
    """Whether an operation on `fd` would not block now; errors and hang-ups count, the operation then reports them."""
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(0))


async def wait_fd(fd: int, events: int) -> None:
    """Wait in trio until `fd` is ready; files that cannot be polled (regular files, `/dev/null`) always are."""
    import trio

    waiter = trio.lowlevel.wait_readable if events & READ else trio.lowlevel.wait_writable
    try:
        await waiter(fd)
    except trio.BusyResourceError:
        # trio allows one waiter for a descriptor; a duplicate is another descriptor of the same file.
        copy = os.dup(fd)
        try:
            await waiter(copy)
        finally:
            trio.lowlevel.notify_closing(copy)
            os.close(copy)
    except PermissionError:
        await trio.lowlevel.checkpoint()


class Notice:
    """A flag that threads, trio tasks and pollables can wait for.

    Threads watch an eventfd, which is made when the first of them wants it; tasks leave an event. The lock makes looking at
    the flag and leaving word for the one who raises it one step.
    """

    __slots__ = ("_fd", "_lock", "_set", "_waiters")

    def __init__(self) -> None:
        self._fd = -1
        self._set = False
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []

    def set(self) -> None:
        """Raise the flag; callable from any thread."""
        with self._lock:
            if self._set:
                return
            self._set = True
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.wake()

    def clear(self) -> None:
        """Lower the flag."""
        with self._lock:
            if self._set:
                self._set = False
                if self._fd >= 0:
                    os.eventfd_read(self._fd)

    def ready(self) -> bool:
        return self._set

    def wake(self) -> Wake:
        with self._lock:
            if self._fd < 0:
                self._fd = os.eventfd(int(self._set), os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return Wake(self._fd, READ)

    async def wait(self) -> None:
        waiter = _Waiter()
        with self._lock:
            if self._set:
                return
            self._waiters.append(waiter)
        try:
            await waiter.event.wait()
        finally:
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def __del__(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class _Waiter:
    """A task that waits for a notice, which any thread may give."""

    __slots__ = ("_thread", "_token", "event")

    def __init__(self) -> None:
        import trio

        self.event = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()

    def wake(self) -> None:
        if threading.get_ident() == self._thread:
            self.event.set()
            return
        import trio

        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.event.set)


_thread = threading.local()


def check_interrupt() -> None:
    """Raise what this thread's checks want raised (see `interruptible`)."""
    for check in getattr(_thread, "checks", ()):
        check()


@contextlib.contextmanager
def interruptible(check: Callable[[], object]) -> Iterator[None]:
    """Call `check` at every slice that this thread waits; what it raises ends the wait. May be nested."""
    before = getattr(_thread, "checks", ())
    _thread.checks = (*before, check)
    try:
        yield
    finally:
        _thread.checks = before


def watch(wakes: Sequence[Wake]) -> None:
    """Let this thread wait until one of `wakes` may have come true, or one slice has passed."""
    check_interrupt()
    timeout = _SLICE
    poll = select.poll()
    masks: dict[int, int] = {}
    for fd, events, remaining in wakes:
        if remaining is not None:
            timeout = min(timeout, remaining / 1e9)
        if fd is not None:
            masks[fd] = masks.get(fd, 0) | events
    if not masks:
        time.sleep(max(timeout, 0.0))
        return
    for fd, mask in masks.items():
        poll.register(fd, mask)
    # poll counts in milliseconds: rounding up may be late by one, rounding down would spin.
    poll.poll(-(-timeout * 1000 // 1))


def ready_indices(sources: Sequence[Source]) -> list[int]:
    """Which of `sources` are ready now."""
    return [index for index, source in enumerate(sources) if source.ready()]


def wait_any_sync(sources: Sequence[Source]) -> list[int]:
    """Block this thread until some of `sources` are ready; returns their indices (never empty)."""
    while not (found := ready_indices(sources)):
        watch([source.wake() for source in sources])
    return found


async def wait_any(sources: Sequence[Source]) -> list[int]:
    """Wait until some of `sources` are ready; returns their indices (never empty). In trio, or run by a synchronous store."""
    if driving():
        for source in sources:
            source.wake()  # raises for what only trio can wait for
        while not (found := ready_indices(sources)):
            await Sources(sources, wait_any_sync)
        return found
    import trio

    await trio.lowlevel.checkpoint()
    while not (found := ready_indices(sources)):
        if len(sources) == 1:
            await sources[0].wait()
            continue
        with unwrapping():
            async with trio.open_nursery() as nursery:

                async def first(source: Source, scope: trio.CancelScope = nursery.cancel_scope) -> None:
                    await source.wait()
                    scope.cancel()

                for source in sources:
                    nursery.start_soon(first, source)
    return found


@contextlib.contextmanager
def unwrapping() -> Iterator[None]:
    """Let a lone exception leave a nursery as itself: callers look for errors of the runtime, not for groups."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


@attrs.define(eq=False)
class Deadline:
    """Ready once a monotonic clock has reached `when` (nanoseconds of that clock)."""

    clock: Callable[[], int]
    when: int

    def ready(self) -> bool:
        return self.clock() >= self.when

    def wake(self) -> Wake:
        return Wake(remaining=max(self.when - self.clock(), 0))

    async def wait(self) -> None:
        import trio

        await trio.sleep(min(max(self.when - self.clock(), 0) / 1e9, _MAX_SLEEP))


class Pollable:
    """The resource `wasi:io/poll.pollable`: one event that a guest may wait for."""

    __slots__ = ("__weakref__", "source")

    def __init__(self, source: Source) -> None:
        self.source = source

    def ready(self) -> bool:
        """Whether the event has come; never blocks."""
        return self.source.ready()

    def _block_sync(self) -> None:
        """Wait for the event."""
        wait_any_sync((self.source,))

    def _block_async(self) -> Coroutine[Any, Any, None] | None:
        return None if self.source.ready() else self._block_later()

    async def _block_later(self) -> None:
        await wait_any((self.source,))

    block = Dual(_block_sync, _block_async)


def sources_of(pollables: Iterable[Any]) -> list[Source]:
    """The sources behind a guest's list of pollables. Raises `Trap` if it is empty, as `wasi:io/poll` demands."""
    sources = [pollable.source for pollable in pollables]
    if not sources:
        raise Trap(TrapCode.HOST, "empty poll list")
    return sources


def needs_trio(what: str) -> WasmError:
    """The error for a source that a synchronous store cannot wait for."""
    return WasmError(f"{what} can be waited for in a trio store only: open it with component_rt.open_store")
