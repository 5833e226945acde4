"""`canon lift` and `canon lower` where tasks can be seen (CanonicalABI.md): calls from the host and between guests.

What travels is lifted on one side and lowered on the other by the code of `abi.codegen`. Flat arguments and results live in the
store's one buffer, which belongs to whoever runs: a call that has to wait keeps copies.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from component_rt.abi.errors import explain
from component_rt.abi.mismatch import Mismatch
from component_rt.canon.lift import LiftedFunc
from component_rt.canon.lower import HostFunc, HostImport, LowerCode
from component_rt.handles import CallScope, trap
from component_rt.tasks.scheduler import Enter, Tree
from component_rt.tasks.states import TaskState
from component_rt.tasks.thread import Steps, Task, Thread, exclusive_released, once
from component_rt.tasks.waitable import NO_EVENT, TASK_CANCELLED, EventTuple, Subtask, WaitableSet
from component_rt.tasks.waits import Wait, is_drivable
from component_rt.types import FuncType, ResultType
from component_rt.values import Err, Ok
from core_rt.errors import InstancePoisoned, Trap
from core_rt.native import ffi

if TYPE_CHECKING:
    import contextvars

    from component_rt.instance import ComponentInstance, RuntimeOptions
    from component_rt.store import Store

__all__ = ["Callee", "HostCall", "call_lifted", "lower_task", "run_destructor", "thread_body"]

_EXIT, _YIELD, _WAIT = 0, 1, 2
_WORDS = 20
"""Core values that are kept when a call has to wait: more than any call passes flat."""


class Callee:
    """A lifted function bound for calls that run as tasks: from the host, or from other guests."""

    __slots__ = ("callback", "inst", "lift_result", "lifted", "lower_args", "post_return", "site")

    def __init__(self, lifted: LiftedFunc, between_guests: bool) -> None:
        halves = lifted.code.get("callee", lifted.type)(lifted.context(between_guests))
        self.lower_args, self.lift_result = halves
        self.lifted = lifted
        self.inst = lifted.instance
        options = lifted.options
        self.site = Enter(lifted.func.site)
        self.callback = None if options.callback is None else Enter(options.callback.site)
        self.post_return = None if options.post_return is None else Enter(options.post_return.site)

    @staticmethod
    def of(store: Store, lifted: LiftedFunc, between_guests: bool) -> Callee:
        """The same for the same function, kept by the store."""
        key = (lifted, between_guests)
        found = store.callees.get(key)
        if found is None:
            found = store.callees[key] = Callee(lifted, between_guests)
        return found


# ---------------------------------------------------------------------------------------------------- lift


def thread_body(callee: Callee, task: Task) -> Generator[Any, Any, None]:
    """The implicit thread of a task: `thread_func` of `canon lift`."""
    inst = callee.inst
    store = inst.store
    thread = store.scheduler.current
    if not (yield from task.enter_implicit_thread(thread)):
        return
    args = task.start()
    try:
        callee.lower_args(args, task.scope)
    except BaseException as error:
        if task.call is None or isinstance(error, Trap) or not task.call.takes_back(error, task, thread):
            raise
        return
    del args
    if type(task.call) is HostCall:
        task.call.args = ()
    options = callee.lifted.options
    if not options.is_async:
        yield from sync_body(callee, task, callee.site)
    elif callee.callback is None:
        yield callee.site
    else:
        yield callee.site
        yield from _event_loop(callee, thread)
    task.exit_implicit_thread(thread)


def sync_body(callee: Callee, task: Task, enter: Enter) -> Generator[Any, Any, None]:
    """What follows the arguments of a function that is lifted synchronously; `enter` runs the guest."""
    inst = callee.inst
    u64 = inst.store.core.u64
    yield enter
    raw = u64[0]
    task.return_(callee.lift_result(task.scope))
    if callee.post_return is not None:
        inst.flags[1] = 0
        if callee.lifted.type.result is not None:
            u64[0] = raw
        yield from post_return(callee, task, callee.post_return)


def post_return(callee: Callee, task: Task, enter: Enter) -> Generator[Any, Any, None]:
    """The post-return function, during which the guest may not leave."""
    yield enter
    callee.inst.flags[1] = 1
    if type(task.call) is HostCall:
        task.call.finish(None)


def _event_loop(callee: Callee, thread: Thread) -> Generator[Any, Any, None]:
    """Hand events to the callback until it says EXIT."""
    inst = callee.inst
    u32 = inst.store.core.u32
    while True:
        packed = u32[0]
        code, index = packed & 15, packed >> 4
        if code == _EXIT:
            return
        exclusive_released(inst)
        event: EventTuple
        if code == _WAIT:
            wset = inst.handles.get(index)
            if type(wset) is not WaitableSet:
                raise trap(f"handle index {index} used with the wrong type, expected waitable-set")
            event = yield from wset.wait_for_event(thread, True, gated=True)
        elif code == _YIELD:
            cancelled = yield from thread.wait_until(_always, True, gated=True)
            event = TASK_CANCELLED if cancelled else NO_EVENT
        else:
            raise trap(f"unsupported callback code: {code}")
        inst.exclusive_thread = thread
        u32[0], u32[4], u32[8] = event
        yield callee.callback


def _always() -> bool:
    return True


def _enter(inst: ComponentInstance, caller: ComponentInstance | None) -> tuple[ComponentInstance, ...]:
    """Close the instances that are entered to other calls; a trap if one is closed. Who calls opens them again."""
    entering = inst.entering_set(caller)
    for member in entering:
        if not member.flags[0]:
            inst.refuse()
    for member in entering:
        member.flags[0] = 0
    return entering


def call_lifted(
    callee: Callee, task: Task, caller: ComponentInstance | None
) -> Generator[Any, Any, Callable[[Any], Steps]]:
    """Start a task and run it until it blocks; its `request_cancellation`. One of a synchronous type is over by then."""
    inst = callee.inst
    entering = _enter(inst, caller)
    scheduler = inst.store.scheduler
    tree = Tree.of(inst)
    thread = Thread(scheduler, tree, task, thread_body(callee, task))
    yield thread.resumed()
    if not task.is_async:
        yield from finish_sync(task, scheduler)
    elif task.state is TaskState.INITIAL:
        # If all that keeps the call out is a thread that could run at once, it does: callers can expect calls to start then.
        holder = inst.exclusive_thread
        if holder is not None and holder.ready():
            yield holder.resumed()
            if thread.ready():
                yield thread.resumed()
    for member in entering:
        member.flags[0] = 1
    return task.request_cancellation


def finish_sync(task: Task, scheduler: Any) -> Generator[Any, Any, None]:
    """The thread of a synchronous call has blocked: only other threads of its instance may help it on."""
    while task.state is not TaskState.RESOLVED:
        woken = itertools.chain(scheduler.ready, Tree.of(task.inst).deferred)
        helper = next((thread for thread in woken if _may_help(thread, task)), None)
        if helper is None:
            raise trap("cannot block a synchronous task before returning")
        yield helper.resumed()


def _may_help(thread: Thread, task: Task) -> bool:
    other = thread.task
    return (
        other is not None
        and other.inst is task.inst
        and thread.index is not None
        and not (other.needs_exclusive and thread is other.implicit_thread)
        and thread.ready()
    )


def run_destructor(store: Store, rt: Any, rep: int, caller: ComponentInstance | None) -> Generator[Any, Any, None]:
    """Call a guest's destructor as the synchronous task that it is."""
    inst = rt.impl
    func, wide = rt.dtor.func, rt.dtor.wide
    entering = _enter(inst, caller)
    task = Task(inst, None, lambda: None, lambda result, cancelled: None)

    def body() -> Steps:
        thread = store.scheduler.current
        assert thread is not None
        yield from task.enter_implicit_thread(thread)
        task.start()
        (store.core.u64 if wide else store.core.u32)[0] = rep
        yield Enter(func.site)
        task.return_(None)
        task.exit_implicit_thread(thread)

    yield Thread(store.scheduler, Tree.of(inst), task, body()).resumed()
    yield from finish_sync(task, store.scheduler)
    for member in entering:
        member.flags[0] = 1


# ---------------------------------------------------------------------------------------------------- the host calls


class HostCall:
    """A call from the host. `done` once there is a `result` or an `error`; then `on_done()` is called."""

    __slots__ = (
        "args",
        "callee",
        "caller",
        "cancelled",
        "context",
        "done",
        "error",
        "hosts",
        "inline",
        "label",
        "on_done",
        "on_quiet",
        "result",
        "started",
        "stopped",
        "store",
        "task",
        "tree",
        "within",
    )

    def __init__(
        self,
        store: Store,
        callee: Callee,
        label: str,
        args: tuple[Any, ...],
        context: contextvars.Context | None = None,
    ) -> None:
        self.store = store
        self.callee = callee
        self.label = label
        self.args = args
        self.tree = Tree.of(callee.inst)
        self.done = False
        self.cancelled = False
        self.started = False
        self.stopped = False
        """Whether it was cancelled, and the guest stopped for that."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.on_done: Callable[[], None] = _nothing
        self.hosts = 0
        """How many host functions are being awaited for it; `on_quiet()` is called when the last has ended."""
        self.on_quiet: Callable[[], None] = _nothing
        self.inline = False
        """Whether host functions have been awaited in the task that made the call, in a host function of the call `within`."""
        self.within: HostCall | None = None
        self.caller: Any = None
        """The trio task that waits for the call."""
        self.context: Any = context
        """The caller's context, for host functions that are called on the way."""
        self.task = Task(callee.inst, callee.lifted, self._start, self._resolve, None, self)

    def steps(self) -> Steps:
        """Enter the guest."""
        callee = self.callee
        root = callee.inst.root
        if self.done:  # cancelled before it began
            return
        self.started = True
        if not root.flags[0] or root.first_trap is not None:
            try:
                callee.inst.refuse()
            except Exception as error:
                self.finish(error)
            return
        self.tree.calls[self] = None
        yield from call_lifted(callee, self.task, None)

    def cancel(self) -> Steps:
        """Tell the guest that the result is not wanted."""
        if not self.done:
            yield from self.task.request_cancellation(None)

    def _start(self) -> Any:
        return self.args

    def _resolve(self, result: Any, cancelled: bool) -> None:
        self.result = result
        self.cancelled = cancelled
        self.task.scope.release()
        if cancelled or self.callee.post_return is None:  # otherwise the call may still trap
            self.finish(None)

    def takes_back(self, error: BaseException, task: Task, thread: Thread) -> bool:
        """Lowering the arguments failed: if it was the host's fault, the call never happened."""
        if self.tree.root is not None and self.tree.root.first_trap is not None:
            return False
        task.scope.rollback()
        if isinstance(error, Mismatch):
            error = explain(self.label, self.callee.lifted.type.params, self.args)
        task.state = TaskState.RESOLVED
        task.exit_implicit_thread(thread)
        self.finish(error)
        return True

    @property
    def call(self) -> HostCall:
        return self

    def fail(self, error: BaseException, mine: bool) -> None:
        """The tree was poisoned by `error`, which came of this call (`mine`) or of another."""
        if not mine and not isinstance(error, InstancePoisoned):
            error = InstancePoisoned(error)
        self.finish(error)

    def finish(self, error: BaseException | None) -> None:
        if not self.done:
            self.done = True
            self.error = error
            self.tree.calls.pop(self, None)
            self.tree.ended += 1
            self.on_done()

    def outcome(self) -> Any:
        """The result as Python code sees it; to be asked for once. Raises what the call raised, or its `Err`."""
        del self.task  # which refers to the call
        if self.error is not None:
            raise self.error
        result, self.result = self.result, None  # the task may go on for long
        if isinstance(self.callee.lifted.type.result, ResultType):
            return opened(result)
        return result


def opened(result: Any) -> Any:
    """The `result` of a function as Python code sees it: the value, or `Err` raised."""
    if type(result) is Err:
        raise result
    if type(result) is Ok:
        return result.value
    return result


def _nothing() -> None:
    return None


# ---------------------------------------------------------------------------------------------------- guests call


def lower_task(
    store: Store, instance: ComponentInstance, callee: HostFunc | LiftedFunc, options: RuntimeOptions, code: LowerCode
) -> Callable[[], object]:
    """What answers calls of `callee` from `instance`, where either may run as a task."""
    if isinstance(callee, HostFunc):
        call = AsyncHostImport(callee, instance, options.is_async)
        return call.handler(code.get("handler", callee.type)(options.context(instance, callee.owner, False), call))
    cx = options.context(instance, callee.instance, True)
    halves = code.get("caller", callee.type)(cx)
    lower = _LowerAsync if options.is_async else _LowerSync
    return lower(store, instance, Callee.of(store, callee, True), halves, callee.type).handler


class _Lower:
    """`canon lower` of a guest's function for another guest."""

    __slots__ = ("_buffer", "callee", "instance", "lift_args", "lower_result", "scheduler", "store", "type")

    def __init__(
        self, store: Store, instance: ComponentInstance, callee: Callee, halves: tuple[Any, Any], type_: FuncType
    ) -> None:
        self.store = store
        self.scheduler = store.scheduler
        self.instance = instance
        self.callee = callee
        self.lift_args, self.lower_result = halves
        self.type = type_
        self._buffer: Any = ffi.buffer(store.core.u64, 16 * _WORDS)

    def handler(self) -> object:
        if not self.instance.flags[1]:
            self.instance.cannot_leave()
        return self.scheduler.begin(self.steps())

    def steps(self) -> Steps:
        raise NotImplementedError

    def subtask(self) -> tuple[Subtask, Task, list[Any]]:
        """The two sides of the call; the list gets the flat result."""
        subtask = Subtask(CallScope())
        buffer, u64 = self._buffer, self.store.core.u64
        address: Any = None
        saved: bytes | None = None
        flat: list[Any] = []

        def on_delay() -> None:
            nonlocal saved
            saved = buffer[:]

        def on_start() -> Any:
            nonlocal address
            if saved is not None:
                buffer[:] = saved
            self.progress(subtask)
            subtask.advance("start")
            args, address = self.lift_args(subtask.scope)
            return args

        def on_resolve(result: Any, cancelled: bool) -> None:
            self.progress(subtask)
            if cancelled:
                subtask.advance("cancel")
            else:
                self.lower_result(result, address, subtask.scope)
                flat.append(u64[0])
                subtask.advance("return")
            self.resolved(subtask)

        current = self.scheduler.current
        call = None if current is None or current.task is None else current.task.call
        task = Task(self.callee.inst, self.callee.lifted, on_start, on_resolve, on_delay, None)
        task.call = None if call is None else _Within(call)
        return subtask, task, flat

    def progress(self, subtask: Subtask) -> None:
        pass

    def resolved(self, subtask: Subtask) -> None:
        if subtask.sync_waiter is not None:
            subtask.sync_waiter.wake()


class _Within:
    """Stands for the call of the host in the tasks that came of it."""

    __slots__ = ("call",)

    def __init__(self, call: Any) -> None:
        self.call: Any = call.call

    started = True

    def takes_back(self, error: BaseException, task: Task, thread: Thread) -> bool:
        return False

    def finish(self, error: BaseException | None) -> None:
        """The host's call is over when its own task is, not with one that came of it."""

    @property
    def context(self) -> Any:
        return self.call.context


class _LowerSync(_Lower):
    __slots__ = ()

    def steps(self) -> Steps:
        subtask, task, flat = self.subtask()
        thread = self.scheduler.current
        yield from call_lifted(self.callee, task, self.instance)
        if not subtask.resolved():
            assert thread is not None
            subtask.sync_waiter = thread
            yield from thread.wait_until(subtask.resolved)
            subtask.sync_waiter = None
        subtask.deliver_resolve()
        self.store.core.u64[0] = flat[0]


class _LowerAsync(_Lower):
    __slots__ = ()

    def steps(self) -> Steps:
        subtask, task, _ = self.subtask()
        subtask.on_cancel = yield from call_lifted(self.callee, task, self.instance)
        self.store.core.u32[0] = give_subtask(self.instance, subtask)

    def progress(self, subtask: Subtask) -> None:
        if subtask.index:
            subtask.set_pending_event(subtask.event)

    def resolved(self, subtask: Subtask) -> None:
        pass


def give_subtask(instance: ComponentInstance, subtask: Subtask) -> int:
    """What an asynchronous call answers: that it is over, or the handle of the subtask."""
    if subtask.resolved():
        subtask.deliver_resolve()
        return int(subtask.state)
    subtask.index = instance.handles.add(subtask)
    return int(subtask.state) | subtask.index << 4


class AsyncHostImport(HostImport):
    """A function of the host with an asynchronous type: calls that must be awaited block a thread, or become subtasks."""

    __slots__ = ("_instance", "_lowered_async")

    def __init__(self, host: HostFunc, instance: ComponentInstance, lowered_async: bool) -> None:
        super().__init__(host, host.function, instance)
        self._instance = instance
        self._lowered_async = lowered_async

    def handler(self, generated: Callable[[], object]) -> Callable[[], object]:
        """The core function's handler around the generated one."""
        if not self._lowered_async:
            return generated
        u32 = self._store.core.u32

        def handler() -> None:
            answer = generated()
            u32[0] = 2 if answer is None else give_subtask(self._instance, answer)  # type: ignore[arg-type]

        return handler

    def suspend(self, coroutine: Any, complete: Any, address: int | None, scope: CallScope | None) -> object:
        """The function answered a coroutine."""
        store: Any = self._store
        if not store.is_async:
            if not is_drivable(coroutine):
                return super().suspend(coroutine, complete, address, scope)
            return self._drive(store.waits.begin(coroutine), complete, address, scope)
        if not self._lowered_async:
            return store.scheduler.begin(self._wait(store.spawn(coroutine, self._host.name), complete, address, scope))
        return self._subtask(store.spawn(coroutine, self._host.name), complete, address, scope)

    def _drive(self, wait: Wait, complete: Any, address: int | None, scope: CallScope | None) -> object:
        """The same in a synchronous store: others go on meanwhile, unless the guest's function is one that cannot be put aside."""
        if not self._lowered_async and not wait.done:
            thread = self._store.scheduler.current
            if thread is not None and thread.task is not None and thread.task.is_async:
                return self._store.scheduler.begin(self._wait(wait, complete, address, scope))
            wait.finish()
        if not wait.done:
            return self._subtask(wait, complete, address, scope)
        result, error = wait.outcome()
        return complete(result, error, address, scope)

    def _wait(self, pending: Any, complete: Any, address: int | None, scope: CallScope | None) -> Steps:
        thread = self._store.scheduler.current
        pending.on_done = thread.wake
        try:
            yield from thread.wait_until(lambda: pending.done)
        finally:
            pending.abandon()
        result, error = pending.outcome()
        complete(result, error, address, scope)

    def _subtask(self, pending: Any, complete: Any, address: int | None, scope: CallScope | None) -> Subtask:
        return Awaited(self._store, self._instance, pending, complete, address, scope).subtask


class Awaited:
    """A host function that a guest called asynchronously and that is being awaited."""

    __slots__ = ("_address", "_call", "_complete", "_pending", "_scheduler", "_scope", "_tree", "subtask")

    def __init__(
        self,
        store: Store,
        instance: ComponentInstance,
        pending: Any,
        complete: Any,
        address: int | None,
        scope: CallScope | None,
    ) -> None:
        self._scheduler = store.scheduler
        self._tree = tree = Tree.of(instance)
        current = self._scheduler.current
        self._call = None if current is None or current.task is None else current.task.call
        self._pending = pending
        self._complete = complete
        self._address = address
        self._scope = scope
        self.subtask = subtask = Subtask(CallScope() if scope is None else scope)
        subtask.advance("start")
        subtask.on_cancel = self._on_cancel
        pending.on_done = self._on_done
        tree.pendings[pending] = None

    def _on_done(self) -> None:
        self._scheduler.perform(self._tree, self._finish, self._call)

    def _finish(self) -> None:
        pending, subtask = self._pending, self.subtask
        self._tree.pendings.pop(pending, None)
        if pending.cancelled:
            subtask.advance("cancel")
        else:
            result, error = pending.outcome()
            # `complete` releases what was lent; the guest learns of the end when it takes the event.
            self._complete(result, error, self._address, self._scope)
            subtask.advance("return")
        if subtask.index:
            subtask.set_pending_event(subtask.event)

    def _on_cancel(self, caller: Any) -> Steps:
        return once(self._pending.cancel)
