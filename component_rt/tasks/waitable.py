"""Waitables, sets of them, and subtasks (CanonicalABI.md, "Waitable State", "Subtask State").

Wake-ups are explicit: a waitable that gets an event wakes the threads that wait for it or for its set, and nobody else is
looked at. A woken thread asks again whether it may run (another may have taken the event); if not it goes on waiting.
A set keeps its members that have events in order of arrival, so taking one does not depend on the number of idle ones.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from component_rt.handles import CallScope, trap_if
from component_rt.tasks.states import SUBTASK, SubtaskState, advance

if TYPE_CHECKING:
    from component_rt.tasks.thread import Thread

__all__ = ["NO_EVENT", "TASK_CANCELLED", "EventCode", "EventTuple", "Subtask", "Waitable", "WaitableSet"]


class EventCode(enum.IntEnum):
    """What happened, as guests see it."""

    NONE = 0
    SUBTASK = 1
    STREAM_READ = 2
    STREAM_WRITE = 3
    FUTURE_READ = 4
    FUTURE_WRITE = 5
    TASK_CANCELLED = 6


EventTuple = tuple[int, int, int]
"""Event code, index of the waitable, payload."""
NO_EVENT: EventTuple = (EventCode.NONE, 0, 0)
TASK_CANCELLED: EventTuple = (EventCode.TASK_CANCELLED, 0, 0)


class Waitable:
    """Something that has at most one event pending; a newer event takes the place of the older."""

    __slots__ = ("pending_event", "sync_waiter", "wset")

    def __init__(self) -> None:
        self.pending_event: Callable[[], EventTuple] | None = None
        self.wset: WaitableSet | None = None
        self.sync_waiter: Thread | None = None

    @property
    def has_sync_waiter(self) -> bool:
        return self.sync_waiter is not None

    def set_pending_event(self, pending_event: Callable[[], EventTuple]) -> None:
        """There is an event; what it says is worked out when it is taken."""
        self.pending_event = pending_event
        if self.sync_waiter is not None:
            self.sync_waiter.wake()
        elif self.wset is not None:
            self.wset.has_event(self)

    def has_pending_event(self) -> bool:
        return self.pending_event is not None

    def in_waitable_set(self) -> bool:
        return self.wset is not None

    def wait_for_pending_event(self, thread: Thread) -> Generator[Any, Any, None]:
        """Block `thread` until there is an event."""
        assert self.wset is None and self.sync_waiter is None
        self.sync_waiter = thread
        yield from thread.wait_until(self.has_pending_event, False)
        self.sync_waiter = None

    def get_pending_event(self) -> EventTuple:
        """Take the event."""
        event, self.pending_event = self.pending_event, None
        assert event is not None
        if self.wset is not None:
            self.wset.with_events.pop(self, None)
        return event()

    def join(self, wset: WaitableSet | None) -> None:
        """Move to another set, or out of all."""
        assert self.sync_waiter is None
        old = self.wset
        if old is not None:
            old.size -= 1
            old.with_events.pop(self, None)
        self.wset = wset
        if wset is not None:
            wset.size += 1
            if self.pending_event is not None:
                wset.has_event(self)

    def drop(self) -> None:
        assert self.sync_waiter is None
        self.pending_event = None
        self.join(None)


class WaitableSet:
    """Waitables that a thread can wait for together. `num_waiting` is how many threads do."""

    __slots__ = ("num_waiting", "size", "waiters", "with_events")

    def __init__(self) -> None:
        self.size = 0
        self.with_events: dict[Waitable, None] = {}
        self.waiters: tuple[Thread, ...] = ()
        self.num_waiting = 0

    def has_event(self, waitable: Waitable) -> None:
        """A member has an event: whoever waits may look."""
        self.with_events[waitable] = None
        for thread in self.waiters:
            thread.wake()

    def has_pending_event(self) -> bool:
        return bool(self.with_events)

    def get_pending_event(self) -> EventTuple:
        """Take the event that came first."""
        return next(iter(self.with_events)).get_pending_event()

    def wait_for_event(self, thread: Thread, cancellable: bool, gated: bool = False) -> Generator[Any, Any, EventTuple]:
        """Block until there is an event; `gated`: and the instance's exclusive thread is free."""
        if not gated and self.with_events and not thread.task.deliver_pending_cancel(cancellable):
            return self.get_pending_event()
        self.num_waiting += 1
        self.waiters += (thread,)
        cancelled = yield from thread.wait_until(self.has_pending_event, cancellable, gated)
        self.waiters = tuple([other for other in self.waiters if other is not thread])
        self.num_waiting -= 1
        return TASK_CANCELLED if cancelled else self.get_pending_event()

    def poll(self, thread: Thread, cancellable: bool) -> EventTuple:
        """An event if there is one."""
        if thread.task.deliver_pending_cancel(cancellable):
            return TASK_CANCELLED
        return self.get_pending_event() if self.with_events else NO_EVENT

    def drop(self) -> None:
        trap_if(self.size, "cannot drop waitable set with waitables in it")
        trap_if(self.num_waiting, "cannot drop waitable set with waiters")


class Subtask(Waitable):
    """A call that a guest made, until it is resolved and the guest has been told so."""

    __slots__ = ("cancellation_requested", "index", "on_cancel", "resolve_delivered", "scope", "state")

    def __init__(self, scope: CallScope) -> None:
        super().__init__()
        self.state = SubtaskState.STARTING
        self.on_cancel: Callable[[Any], Generator[Any, Any, None]] | None = None
        self.scope = scope
        self.cancellation_requested = False
        self.resolve_delivered = False
        self.index = 0
        """In the caller's handle table; 0 while it is in none."""

    def event(self) -> EventTuple:
        if self.resolved():
            self.deliver_resolve()
        return EventCode.SUBTASK, self.index, int(self.state)

    def advance(self, event: str) -> None:
        self.state = advance(SUBTASK, self.state, event)

    def resolved(self) -> bool:
        return self.state > SubtaskState.STARTED

    def deliver_resolve(self) -> None:
        """The caller learns that the call is over: what it lent may be moved again."""
        assert not self.resolve_delivered and self.resolved()
        self.scope.release()
        self.resolve_delivered = True

    def drop(self) -> None:
        trap_if(not self.resolve_delivered, "cannot drop a subtask which has not yet resolved")
        super().drop()
