"""Threads and tasks (CanonicalABI.md, "Threads", "Tasks").

A thread is a generator, its *body*, which asks for things by yielding (`scheduler`): enter a guest's function, run another
thread, block. While the guest's function is on its stack (`fiber`) and has called a built-in that cannot answer at once, the
thread has a second generator, `builtin`. Both are plain Python objects, so a blocked thread is data: it may be resumed from
anywhere, or dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final

from component_rt.handles import CallScope, trap, trap_if
from component_rt.tasks.states import TASK, THREAD, TaskState, ThreadState, advance

if TYPE_CHECKING:
    from component_rt.canon.lift import LiftedFunc
    from component_rt.instance import ComponentInstance
    from component_rt.tasks.scheduler import Scheduler, Tree

__all__ = ["BLOCK", "Stand", "Steps", "Switch", "Task", "Thread", "Turns", "exclusive_released", "may_enter", "once"]

Steps = Generator[Any, Any, Any]


def once(function: Callable[[], object]) -> Steps:
    """A plain function as a thread's body."""
    function()
    yield from ()


class _Block:
    """What a thread yields to give control back to whoever resumed it."""

    def __repr__(self) -> str:
        return "BLOCK"


BLOCK: Final = _Block()
CONTEXT_SLOTS: Final = 2
_SUSPENDED, _WAITING, _RUNNING, _DONE = ThreadState


class Switch:
    """What a thread yields to block and let `thread` run in its place."""

    __slots__ = ("thread",)

    def __init__(self, thread: Thread) -> None:
        self.thread = thread


def _always() -> bool:
    return True


class Thread:
    """A thread of `task` (None for work of the host). See the module."""

    __slots__ = (
        "__weakref__",
        "aside_of",
        "body",
        "builtin",
        "call",
        "cancellable",
        "fiber",
        "gated",
        "index",
        "op",
        "queued",
        "ready_func",
        "resumer",
        "scheduler",
        "state",
        "storage",
        "task",
        "tree",
        "value",
    )

    def __init__(self, scheduler: Scheduler, tree: Tree, task: Any, body: Steps) -> None:
        self.scheduler = scheduler
        self.tree = tree
        self.task = task
        self.body = body
        self.builtin: Steps | None = None
        self.fiber: Any = None
        self.op: Any = None
        self.call: Any = None
        """For work of the host: the call that it is done for."""
        self.value: bool | None = None
        """What the generator that blocked is told when the thread is resumed: whether it was cancelled."""
        self.state = _SUSPENDED
        self.ready_func: Callable[[], bool] | None = None
        self.gated = False
        self.cancellable = False
        self.queued = False
        self.index: int | None = None
        self.storage = [0] * CONTEXT_SLOTS
        self.resumer: Thread | None = None
        self.aside_of: Tree | None = None
        """The tree whose chain was put aside at this thread."""
        tree.threads[self] = None

    # ------------------------------------------------------------------------------------------------ states

    @property
    def suspended(self) -> bool:
        return self.state is _SUSPENDED

    def ready(self) -> bool:
        """Whether it waits for something that is there."""
        if self.state is not _WAITING:
            return False
        if self.gated and self.task.inst.exclusive_thread is not None:
            return False
        return self.has_news()

    def has_news(self) -> bool:
        """Whether what a waiting thread waits for is there, or a cancellation that can be delivered to it."""
        assert self.ready_func is not None
        return self.ready_func() or (self.task is not None and self.task.cancel_is_pending(self.cancellable))

    def wake(self) -> None:
        """What the thread waits for may be there."""
        if not self.queued and self.state is _WAITING:
            self.queued = True
            tree = self.tree
            if tree.deferred or tree.aside is not None:
                tree.deferred.append(self)
            else:
                self.scheduler.ready.append(self)
                self.scheduler.notify()

    def start_waiting(self, ready_func: Callable[[], bool], gated: bool = False) -> None:
        self.state = advance(THREAD, self.state, "wait")
        self.ready_func = ready_func
        self.gated = gated
        if self.ready():
            self.wake()
        elif gated and self.has_news():
            Turns.of(self.task.inst).exclusive.append(self)

    def resume_later(self) -> None:
        self.start_waiting(_always)

    def resumed(self, cancelled: bool = False) -> Thread:
        """Mark as running; what the resuming thread then yields."""
        ready_func = self.ready_func
        self.state = advance(THREAD, self.state, "resume")
        if ready_func is not None and not cancelled and not ready_func():
            # It was not for an event that the thread was woken.
            cancelled = self.task.deliver_pending_cancel(self.cancellable)
        self.ready_func = None
        self.gated = False
        if self.value is not None:
            self.value = cancelled
        return self

    def take_value(self) -> bool | None:
        value, self.value = self.value, None
        return value

    # ------------------------------------------------------------------------------------------------ blocking

    def _block(self, op: Any = BLOCK) -> Generator[Any, Any, bool]:
        self.value = False
        cancelled: bool = yield op
        self.cancellable = False
        return cancelled

    def wait_until(
        self, ready_func: Callable[[], bool], cancellable: bool = False, gated: bool = False
    ) -> Generator[Any, Any, bool]:
        """Block until `ready_func()`; whoever makes it true calls `wake`. True: cancelled.

        `gated` threads also wait for the instance's exclusive thread to be None.
        """
        if self.task.deliver_pending_cancel(cancellable):
            return True
        self.cancellable = cancellable
        self.start_waiting(ready_func, gated)
        self.value = False
        cancelled: bool = yield BLOCK  # as `_block`, with a generator less
        self.cancellable = False
        return cancelled

    def yield_(self, cancellable: bool) -> Generator[Any, Any, bool]:
        return self.wait_until(_always, cancellable)

    def suspend(self, cancellable: bool) -> Generator[Any, Any, bool]:
        if self.task.deliver_pending_cancel(cancellable):
            return True
        self.state = advance(THREAD, self.state, "suspend")
        self.cancellable = cancellable
        return (yield from self._block())

    def suspend_then_resume(self, cancellable: bool, other: Thread) -> Generator[Any, Any, bool]:
        if self.task.deliver_pending_cancel(cancellable):
            return True
        other.resumed()
        self.state = advance(THREAD, self.state, "suspend")
        self.cancellable = cancellable
        return (yield from self._block(Switch(other)))

    def yield_then_resume(self, cancellable: bool, other: Thread) -> Generator[Any, Any, bool]:
        if self.task.deliver_pending_cancel(cancellable):
            return True
        other.resumed()
        self.cancellable = cancellable
        self.start_waiting(_always)
        return (yield from self._block(Switch(other)))

    def suspend_then_promote(self, cancellable: bool, other: Thread) -> Generator[Any, Any, bool]:
        if not self.task.cancel_is_pending(cancellable) and other.ready():
            return self.suspend_then_resume(cancellable, other)
        return self.suspend(cancellable)

    def yield_then_promote(self, cancellable: bool, other: Thread) -> Generator[Any, Any, bool]:
        if not self.task.cancel_is_pending(cancellable) and other.ready():
            return self.yield_then_resume(cancellable, other)
        return self.yield_(cancellable)


class Stand:
    """Stands for the thread of its own that a guest's `realloc` is run by. All that can be seen of it is its storage."""

    __slots__ = ("resumer", "storage")

    def __init__(self) -> None:
        self.resumer = None
        self.storage = [0] * CONTEXT_SLOTS


class Turns:
    """Who waits to enter an instance, and for its exclusive thread. One for each instance that has tasks."""

    __slots__ = ("entry", "exclusive")

    def __init__(self) -> None:
        self.entry: deque[Thread] = deque()
        self.exclusive: list[Thread] = []

    @staticmethod
    def of(inst: ComponentInstance) -> Turns:
        turns = inst.turns
        if turns is None:
            turns = inst.turns = Turns()
        return turns  # type: ignore[no-any-return]


def exclusive_released(inst: ComponentInstance) -> None:
    """The exclusive thread is free, or backpressure has ended: the next may look."""
    inst.exclusive_thread = None
    may_enter(inst)
    turns = inst.turns
    if turns is not None and turns.exclusive:
        waiting, turns.exclusive = turns.exclusive, []
        for thread in waiting:
            thread.wake()


def may_enter(inst: ComponentInstance) -> None:
    """Wake the first who waits to enter `inst`. It wakes the next when it is in."""
    turns = inst.turns
    if turns is not None and turns.entry:
        turns.entry[0].wake()


class Task:
    """A call of a lifted function of `inst`. `lifted` is None for destructors and while modules are instantiated.

    `on_start()` gives the arguments, `on_resolve(result, cancelled)` takes what came of it. `scope` counts the borrows that the
    callee holds. `call` is the call of the host that this one is a part of (None when it came of nothing).
    """

    __slots__ = (
        "call",
        "implicit_thread",
        "inst",
        "is_async",
        "lifted",
        "needs_exclusive",
        "on_delay",
        "on_resolve",
        "on_start",
        "scope",
        "state",
        "threads",
    )

    def __init__(
        self,
        inst: ComponentInstance,
        lifted: LiftedFunc | None,
        on_start: Callable[[], Any],
        on_resolve: Callable[[Any, bool], None],
        on_delay: Callable[[], None] | None = None,
        call: Any = None,
    ) -> None:
        self.inst = inst
        self.lifted = lifted
        self.on_start = on_start
        self.on_resolve = on_resolve
        self.on_delay = on_delay
        self.call = call
        self.state = TaskState.INITIAL
        self.scope = CallScope()
        self.implicit_thread: Thread | None = None
        self.threads: dict[Thread, None] = {}
        self.is_async = lifted is not None and lifted.type.is_async
        self.needs_exclusive = (
            self.is_async
            and lifted is not None
            and (not lifted.options.is_async or lifted.options.callback is not None)
        )

    # ------------------------------------------------------------------------------------------------ entering

    def _has_backpressure(self) -> bool:
        inst = self.inst
        return inst.backpressure > 0 or (self.needs_exclusive and inst.exclusive_thread is not None)

    def enter_implicit_thread(self, thread: Thread) -> Generator[Any, Any, bool]:
        """Wait for the instance to take the call. False: it was cancelled before that."""
        inst = self.inst
        self.implicit_thread = thread
        if self.is_async:
            if self._has_backpressure() or inst.num_waiting_to_enter > 0:
                if self.on_delay is not None:
                    self.on_delay()
                turns = Turns.of(inst)
                inst.num_waiting_to_enter += 1
                turns.entry.append(thread)
                cancelled = yield from thread.wait_until(lambda: not self._has_backpressure(), True)
                turns.entry.remove(thread)
                inst.num_waiting_to_enter -= 1
                if cancelled:
                    may_enter(inst)
                    self.cancel()
                    return False
            if self.needs_exclusive:
                assert inst.exclusive_thread is None
                inst.exclusive_thread = thread
            may_enter(inst)
        self.register_thread(thread)
        return True

    def register_thread(self, thread: Thread) -> None:
        self.threads[thread] = None
        thread.index = self.inst.threads.add(thread)

    def unregister_thread(self, thread: Thread) -> None:
        del self.threads[thread]
        if not self.threads and self.state is not TaskState.RESOLVED:
            raise trap("async-lifted export failed to produce a result")
        assert thread.index is not None
        self.inst.threads.remove(thread.index)
        thread.index = None

    def exit_implicit_thread(self, thread: Thread) -> None:
        self.unregister_thread(thread)
        self.implicit_thread = None
        if self.needs_exclusive:
            assert self.inst.exclusive_thread is thread
            exclusive_released(self.inst)

    # ------------------------------------------------------------------------------------------------ life

    def _advance(self, event: str) -> None:
        self.state = advance(TASK, self.state, event)

    def start(self) -> Any:
        self._advance("start")
        return self.on_start()

    def return_(self, result: Any) -> None:
        """The guest gives its result."""
        trap_if(
            self.state is TaskState.RESOLVED, "`task.return` or `task.cancel` called more than once for current task"
        )
        self.scope.finish()
        self.on_resolve(result, False)
        self._advance("return")

    def cancel(self) -> None:
        """The guest acknowledges the cancellation that was delivered to it."""
        trap_if(
            self.state is TaskState.RESOLVED, "`task.return` or `task.cancel` called more than once for current task"
        )
        trap_if(
            self.state is not TaskState.CANCEL_DELIVERED, "`task.cancel` called by task which has not been cancelled"
        )
        self.scope.finish()
        self.on_resolve(None, True)
        self._advance("cancel")

    # ------------------------------------------------------------------------------------------------ cancellation

    def cancel_is_pending(self, cancellable: bool) -> bool:
        return cancellable and self.state is TaskState.PENDING_CANCEL

    def deliver_pending_cancel(self, cancellable: bool) -> bool:
        if cancellable and self.state is TaskState.PENDING_CANCEL:
            self._advance("deliver cancel")
            return True
        return False

    def request_cancellation(self, caller: ComponentInstance | None) -> Steps:
        """Tell the guest that nobody wants the result any more: now if it can be told, else when it next can."""
        if self.state is TaskState.INITIAL:
            self._advance("deliver cancel")
            assert self.implicit_thread is not None
            yield self.implicit_thread.resumed(True)
            return
        if self.state is not TaskState.STARTED:
            return
        inst = self.inst
        thread = self._cancel_candidate()
        entering = inst.entering_set(caller)
        if thread is None or not all(member.flags[0] for member in entering):
            self._advance("request cancel")
            # The specification tells the guest when it next waits. One that waits already is told when it can be entered.
            for waiting in self.threads:
                if waiting.cancellable:
                    waiting.wake()
            return
        self._advance("deliver cancel")
        for member in entering:
            member.flags[0] = 0
        yield thread.resumed(True)
        for member in entering:
            member.flags[0] = 1

    def _cancel_candidate(self) -> Thread | None:
        exclusive = self.inst.exclusive_thread
        blocked = self.needs_exclusive and exclusive is not None and exclusive is not self.implicit_thread
        for thread in self.threads:
            if thread.cancellable and not (blocked and thread is self.implicit_thread):
                return thread
        return None
