"""Calls from the host of functions of synchronous type, as quick as they can be.

Nothing can tell whether such a call has a task before something asks for the current thread: a built-in of tasks, a host function
that must be awaited, the tick of the epoch that puts a guest aside. So the guest is entered without one, and `Absent` makes
it when it is asked for (`Scheduler.current`). Most calls are over without; where a task was made the scheduler goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from component_rt.canon.lift import HostCall as Failing
from component_rt.handles import CallScope
from component_rt.tasks.calls import Callee, HostCall, finish_sync, opened, post_return, sync_body
from component_rt.tasks.states import TaskState
from component_rt.tasks.thread import Steps, Thread
from component_rt.types import ResultType
from core_rt.native import call as vm_call

if TYPE_CHECKING:
    from component_rt.tasks.driver import AsyncStore

__all__ = ["quick_call"]

_HERE: Any = object()
"""Yielded by the body of a thread made late, for what has been done already."""


def quick_call(store: AsyncStore, callee: Callee, label: str) -> Callable[[tuple[Any, ...]], Any] | None:
    """`call(args)`: the result, or a `HostCall` that is under way; None if `callee` is no function for that.

    It may only be called while the instance's root may be entered. Raises what the call raises.
    """
    lifted, inst = callee.lifted, callee.inst
    if lifted.type.is_async or lifted.options.is_async:
        return None
    core, scheduler = store.core, store.scheduler
    failed = Failing(lifted, label).failed
    entered = [member.flags for member in inst.chain]
    own, u64, root = inst.flags, core.u64, inst.root
    lower_args, lift_result, site = callee.lower_args, callee.lift_result, callee.site.site
    post_site = None if callee.post_return is None else callee.post_return.site
    scoped, result_type = lifted.type.has_resource, lifted.type.result
    has_result, own_result = result_type is not None, isinstance(result_type, ResultType)
    absent = Absent(store, callee, label)

    def call(args: tuple[Any, ...]) -> Any:
        for flags in entered:
            flags[0] = 0
        scope = CallScope() if scoped else None
        started, problem, fiber = False, None, None
        absent.args, absent.scope, absent.rest = args, scope, _lowering
        scheduler.absent, scheduler.ticked = absent, False
        try:
            lower_args(args, scope)
            started = True
            if absent.call is None:
                absent.rest = _running
                status = vm_call(site)
                if status:
                    fiber = core.start(site, status)
                if absent.call is None:
                    raw = u64[0] if post_site is not None else 0
                    result = lift_result(scope)
                    if scope is not None:
                        scope.finish()
                    if post_site is not None:
                        own[1] = 0
                        if has_result:
                            u64[0] = raw
                        absent.rest, absent.result = _returning, result
                        status = vm_call(post_site)
                        if status:
                            fiber = core.start(post_site, status)
                        own[1] = absent.call is None
        except BaseException as error:
            if absent.call is None or not started:
                absent.take_back()
                try:
                    failed(error, started, scope, args)
                finally:
                    if root.first_trap is not None:
                        scheduler.kill(root.tree, root.first_trap)
                raise
            problem = error
        finally:
            scheduler.absent = None
        if absent.call is not None:
            scheduler.current = None
            return absent.go_on(fiber, problem)
        for flags in entered:
            flags[0] = 1
        if scope is not None:
            scope.release()
        return opened(result) if own_result else result

    return call


class Absent:
    """The task and the thread that a call does not have yet. `rest(call)` is the thread's body from where the call stands."""

    __slots__ = ("_callee", "_label", "_store", "_thread", "args", "call", "rest", "result", "scope")

    def __init__(self, store: AsyncStore, callee: Callee, label: str) -> None:
        self._store = store
        self._callee = callee
        self._label = label
        self._thread: Any = None
        self.args: tuple[Any, ...] = ()
        self.scope: CallScope | None = None
        self.rest: Callable[[Absent, HostCall], Generator[Any, Any, None]] = _lowering
        self.result: Any = None
        self.call: HostCall | None = None
        """What was made."""

    def make(self) -> Thread:
        """Somebody asks for the current thread: make everything as if it had been there from the beginning."""
        store, scheduler = self._store, self._store.scheduler
        call = self.call = HostCall(store, self._callee, self._label, self.args, store.caller_context())
        call.started = True
        call.tree.calls[call] = None
        if self.scope is not None:
            call.task.scope = self.scope
        thread = self._thread = Thread(scheduler, call.tree, call.task, _body(self, call, self.rest))
        host = Thread(scheduler, call.tree, None, _steps(call, thread))
        host.resumed().body.send(None)
        thread.resumer = host
        scheduler.current = thread
        thread.body.send(None)
        return thread

    def take_back(self) -> None:
        """The guest was never entered: what was made meanwhile is not needed."""
        call, self.call = self.call, None
        thread, self._thread = self._thread, None
        if call is not None:
            call.task.state = TaskState.RESOLVED
            call.task.exit_implicit_thread(thread)
            self._store.scheduler.current = None
            for each in (thread, thread.resumer):
                call.tree.threads.pop(each, None)
                each.body.close()
            call.tree.calls.pop(call, None)

    def go_on(self, fiber: Any, problem: BaseException | None) -> HostCall:
        """The scheduler takes over: where the guest has parked (`fiber`), returned, or failed with `problem`."""
        call, self.call = self.call, None
        thread, self._thread = self._thread, None
        assert call is not None
        thread.fiber = fiber

        def first() -> Any:
            if problem is not None:
                raise problem
            op, thread.op = thread.op, None
            return op

        self._store.scheduler.go_on(thread, first if fiber is not None or problem is not None else None)
        return call


def _steps(call: HostCall, thread: Thread) -> Steps:
    """What the host does around the guest's thread."""
    yield thread.resumed()
    yield from finish_sync(call.task, call.store.scheduler)
    for member in call.callee.inst.chain:
        member.flags[0] = 1


def _body(absent: Absent, call: HostCall, rest: Callable[[Absent, HostCall], Generator[Any, Any, None]]) -> Steps:
    """The implicit thread."""
    task = call.task
    thread = call.store.scheduler.current
    yield from task.enter_implicit_thread(thread)
    task.start()
    yield from rest(absent, call)
    task.exit_implicit_thread(thread)


def _lowering(absent: Absent, call: HostCall) -> Generator[Any, Any, None]:
    yield _HERE
    yield from sync_body(call.callee, call.task, call.callee.site)


def _running(absent: Absent, call: HostCall) -> Generator[Any, Any, None]:
    return sync_body(call.callee, call.task, _HERE)


def _returning(absent: Absent, call: HostCall) -> Generator[Any, Any, None]:
    call.task.return_(absent.result)
    yield from post_return(call.callee, call.task, _HERE)
