"""The trio store: where tasks meet trio.

Theory of operation. Guests run in whatever trio task has something to tell them: the task that calls an export runs the guest
until it blocks, and the task of a host function that has ended runs what waited for it (`happened`). What is woken otherwise is
run by the store's *pump*, one task in the store's own nursery, which sleeps while nothing is ready. Each `async def` host
function gets a task of its own in that nursery (`pending`), in the context (`contextvars`) of the call that it came of.

A guest that runs into a tick of the epoch is put aside with the whole chain of calls that it stands in. The pump then lets
everything else that is ready have its turn and continues the guest in a worker thread, one tick at a time; when the guest calls
the host, that happens here again.
"""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Awaitable, Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, final

import trio

from component_rt.namespace import Instance
from component_rt.resources import came_here
from component_rt.store import Store
from component_rt.tasks.arguments import bind_arguments
from component_rt.tasks.calls import Callee, HostCall, run_destructor
from component_rt.tasks.cancelling import Cancelling, not_ended
from component_rt.tasks.deadlock import Watch
from component_rt.tasks.instantiate import Instantiation
from component_rt.tasks.pending import Pending, waits_for_itself
from component_rt.tasks.quick import quick_call
from component_rt.tasks.scheduler import ASIDE, Tree, call_of
from component_rt.tasks.thread import Steps, Thread
from component_rt.tasks.waiting import Waiting
from core_rt.errors import StoreError, Trap, TrapCode
from core_rt.vm import structs

if TYPE_CHECKING:
    from component_rt.canon.lift import LiftedFunc
    from component_rt.handles import CallScope, ResourceType
    from component_rt.instance import ComponentInstance
    from component_rt.linker import InstancePre
    from core_rt.engine import Engine
    from core_rt.limits import Limits

__all__ = ["AsyncStore"]

_TICKS_BETWEEN_CHECKPOINTS = 64
_INTERRUPT = structs.STATUS_INTERRUPT
_HOST_CALL = structs.STATUS_HOST_CALL


@final
class AsyncStore(Store):
    """A store whose guests run under trio; made by `open_store`. Exports are `async def` here.

    It belongs to the trio loop in which it was opened, and all of it must be used from there.
    """

    is_async = True

    def __init__(
        self,
        engine: Engine,
        data: object = None,
        limits: Limits | None = None,
        handles: int = 1_000_000,
        cancel_grace: float = 1.0,
    ) -> None:
        super().__init__(engine, data, limits, handles=handles)
        self.cancel_grace = cancel_grace
        self.awaited = 0
        self._nursery: trio.Nursery | None = None
        self._left_over: list[Awaitable[object]] = []
        """Resources of the host that are being closed, when there is no nursery any more."""
        self._home = 0
        """The thread of the loop."""
        self.watch: Watch | None = None
        self.hosts: dict[trio.lowlevel.Task, HostCall] = {}
        """The tasks of host functions that are awaited, and the calls of the host that they came of."""
        self.token: trio.lowlevel.TrioToken | None = None
        """For what happens outside the loop: the garbage collector may run anywhere."""
        self._pump_task: trio.lowlevel.Task | None = None
        self._asleep = False
        self._asides: list[Tree] = []
        """Trees whose awaited host function has ended."""
        self._preempted: dict[Tree, None] = {}
        self.cancelling = Cancelling(self)
        self._quiet: trio.Event | None = None
        self._unfinished = 0
        """Tasks of `start_last`."""
        self._all_finished: trio.Event | None = None
        self._closed_roots: list[ComponentInstance] = []
        self._no_threads: trio.Event | None = None
        """Set when no thread of a guest is left, if anybody waits for that."""
        self._here = False
        """Whether the task of a call of synchronous type is running that call's guest."""
        self._handed: tuple[Pending, Any] | None = None
        """A host function that holds up the call which is being run so."""
        self.scheduler.notify = self.notify
        self.core.on_interrupt = self._interrupted

    # ------------------------------------------------------------------------------------------------ life

    async def __aenter__(self) -> AsyncStore:
        raise StoreError("use `async with component_rt.open_store(engine) as store`")

    def close(self) -> None:
        """Free everything. `open_store` does that; calling it before closes the store to further use as well."""
        if self.core.closed:
            return
        if self.working:
            raise StoreError("a store cannot be closed while a guest of it is running")
        error = StoreError("the store was closed")
        for root in list(self.roots):
            tree = root.tree
            if tree is not None:
                self.scheduler.kill(tree, error)
        self.scheduler.ready.clear()
        self._preempted.clear()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        self._closed_roots = list(self.roots)
        super().close()

    def disband(self) -> None:
        """The store is closed, and all that it awaited has ended: it is in no cycle of references any more.

        So it goes with its last user, and leaves its stacks and contexts to the next store; the collector may come much later.
        """
        for root in self._closed_roots:
            root.tree = root.turns = None
        self._closed_roots.clear()
        self.callees.clear()
        self.scheduler.notify = _nothing
        self.core.on_interrupt = self.watch = self._pump_task = None
        del self.cancelling

    def ended(self) -> None:
        """A host function has ended."""
        self.awaited -= 1
        if not self.awaited and self._quiet is not None:
            self._quiet.set()

    async def quiet(self) -> None:
        """Wait until no host function is being awaited: those in tasks of the user's have been cancelled, and may clean up."""
        if self.awaited:
            self._quiet = trio.Event()
            await self._quiet.wait()

    async def guests_ended(self) -> None:
        """Wait until all tasks of guests have ended: they may go on when their calls have returned."""
        while self._has_threads():
            if self._no_threads is None:
                self._no_threads = trio.Event()
            await self._no_threads.wait()

    def _has_threads(self) -> bool:
        return any(root.tree is not None and root.tree.threads for root in self.roots)

    def _look_for_threads(self) -> None:
        if self._no_threads is not None and not self._has_threads():
            self._no_threads.set()
            self._no_threads = None

    def statistics(self) -> dict[str, int]:
        """As for any store; `awaited` are host functions being awaited, `threads` guest threads that are not done."""
        trees = [root.tree for root in self.roots if root.tree is not None]
        return {
            **super().statistics(),
            "awaited": self.awaited,
            "threads": sum(len(tree.threads) for tree in trees),
            "calls": sum(len(tree.calls) for tree in trees),
        }

    # ------------------------------------------------------------------------------------------------ the pump

    @property
    def idle(self) -> bool:
        """Whether there is nothing for the pump to do."""
        return self._asleep

    def notify(self) -> None:
        """There is something to do for the pump."""
        if self._asleep:
            self._asleep = False
            assert self._pump_task is not None
            trio.lowlevel.reschedule(self._pump_task)

    def happened(self, tell: Callable[[], object]) -> None:
        """`tell()` makes guests go on: run them here and now, which saves waking the pump for it."""
        if not self._asleep or self.working or self.scheduler.busy:
            tell()
            return
        self._asleep = False
        try:
            tell()
            for _ in range(_TICKS_BETWEEN_CHECKPOINTS):
                if not self._turn():
                    break
        finally:
            self._asleep = True
            if self._preempted or self._asides or self.scheduler.ready:
                self.notify()
            self._look_for_threads()
            if not self.awaited:
                assert self.watch is not None
                self.watch.look()

    def enter(self, nursery: trio.Nursery, keeper: trio.lowlevel.Task, pump: trio.lowlevel.Task) -> None:
        """Have a nursery, which `keeper` holds open, for the store's tasks, and `pump`, a task in it that waits to be told of work."""
        self._nursery = nursery
        self.token = trio.lowlevel.current_trio_token()
        self._home = get_ident()
        self._pump_task = pump
        self._asleep = True
        self.watch = Watch.here()
        self.watch.add(self, (keeper, pump))

    def left(self) -> None:
        """The nursery is closed, or belongs to another store: nothing can be started any more."""
        self._nursery = None
        self._asleep = False
        if self.watch is not None:
            self.watch.remove(self)

    async def pump(self) -> bool:
        """Do something of what there is to do. True: there is nothing, and `notify` reschedules the pump, which must sleep now."""
        for _ in range(_TICKS_BETWEEN_CHECKPOINTS):
            if not self._turn():
                break
        else:
            await trio.lowlevel.checkpoint()
            return False
        if self._preempted:
            await self._slices()
        elif not self.scheduler.ready and not self._asides:
            self._asleep = True
            self._look_for_threads()
            if not self.awaited and self.watch is not None:
                self.watch.look()
            return True
        return False

    def pump_cancelled(self) -> None:
        """The pump sleeps no longer, and will not come back."""
        self._asleep = False

    def _turn(self) -> bool:
        if self._asides:
            tree = self._asides.pop(0)
            if tree.aside is not None and not tree.preempted:
                self.scheduler.continue_aside(tree)
            return True
        return self.scheduler.tick()  # type: ignore[no-any-return]

    async def _slices(self) -> None:
        """One tick in a worker thread for each guest that computes."""
        for tree in list(self._preempted):
            self._preempted.pop(tree, None)
            thread = tree.aside
            if thread is None or not tree.preempted:
                continue
            await self._slice(tree, thread)
            for _ in range(_TICKS_BETWEEN_CHECKPOINTS):  # some threads yield for ever
                if not self._turn():
                    break
            self.cancelling.judge()

    async def _slice(self, tree: Tree, thread: Thread) -> None:
        fiber = thread.fiber
        core = self.core
        before = core.seconds_in_slices
        self.working = tree.working = True
        failure: BaseException | None = None
        status = 0
        try:
            status = await trio.to_thread.run_sync(core.resume_slice, fiber)
        except trio.Cancelled:
            raise
        except BaseException as error:
            failure = error
        finally:
            self.working = tree.working = False
        doom, tree.doom = tree.doom, None
        if doom is not None and failure is None:
            if status not in (_INTERRUPT, _HOST_CALL):
                thread.fiber = None  # it has returned or trapped
            self.scheduler.kill(tree, doom)
            return
        if failure is None and status == _INTERRUPT:
            self._preempted[tree] = None
            # On a busy machine a tick may pass in which the guest has hardly run.
            self.cancelling.computed(
                tree, max(0.1, (core.seconds_in_slices - before) / self.engine.config.tick_seconds)
            )
            return
        problem = failure

        def settle() -> Any:
            if problem is not None:
                raise problem
            return core.settle(fiber, status)

        thread.op = settle
        self.scheduler.continue_aside(tree)

    def _interrupted(self) -> object:
        """A guest has run into a tick."""
        answer = self.scheduler.interrupted()
        if answer is not None:
            # The chain is put aside when the stack of Python is empty: the pump finds it at the tree of its outermost thread.
            thread = self.scheduler.current
            assert thread is not None
            while thread.resumer is not None:
                thread = thread.resumer
            self._preempted[thread.tree] = None
            self.cancelling.computed(thread.tree, 0.5)
            self.notify()
        return answer

    # ------------------------------------------------------------------------------------------------ calls of the host

    def task_function(self, lifted: LiftedFunc, name: str, label: str) -> Callable[..., Any]:
        """The `async def` for an export."""
        count, bind = bind_arguments(lifted.type, name)
        scheduler, core = self.scheduler, self.core
        checkpoint_if_cancelled = trio.lowlevel.checkpoint_if_cancelled
        checkpoint = trio.lowlevel.cancel_shielded_checkpoint
        flags, tree = lifted.instance.root.flags, Tree.of(lifted.instance)
        brings_resources = lifted.type.result is not None and lifted.type.result.has_resource
        callee: Callee | None = None
        quick: Callable[[tuple[Any, ...]], Any] | None = None

        async def function(*args: Any, **kwargs: Any) -> Any:
            nonlocal callee, quick
            if kwargs or len(args) != count:
                args = bind(*args, **kwargs)
            await checkpoint_if_cancelled()
            if core.closed:
                core.check()
            if get_ident() != self._home:
                raise StoreError("a store belongs to the trio loop that it was opened in")
            if self.orphans and not self.working:
                self.drop_orphans()
            if callee is None:
                callee = Callee.of(self, lifted, False)
                quick = quick_call(self, callee, label)
            free = flags[0] and tree.aside is None and not self.working
            if quick is not None and free:
                self._here = True
                try:
                    call = quick(args)
                except Exception:
                    await checkpoint()
                    raise
                finally:
                    self._here = False
                if type(call) is not HostCall:
                    await checkpoint()
                    return call
                if self._handed is not None:
                    await self._hold(call)
            else:
                call = HostCall(self, callee, label, args, self.caller_context())
                if free:
                    scheduler.run(tree, call.steps())
                elif waits_for_itself(call, self.hosts):
                    raise Trap(TrapCode.CANNOT_ENTER_COMPONENT)
                else:
                    scheduler.post(tree, call.steps(), call)
            if call.done:
                await checkpoint()
            else:
                await Waiting(self, call).sleep()
            result = call.outcome()
            if brings_resources:
                came_here(result)
            return result

        function.__name__ = function.__qualname__ = name
        function.__doc__ = lifted.code.doc(lifted.type, label)
        return function

    async def _hold(self, call: HostCall) -> None:
        """A host function holds up a call of synchronous type: await it right here, and go on with the guest, as often as that happens."""
        while self._handed is not None:
            (pending, coroutine), self._handed = self._handed, None
            try:
                await pending.run_here(coroutine, self)
            except trio.Cancelled:
                call.stopped = True
                self.scheduler.kill(call.tree, not_ended())
                raise
            tree = call.tree
            if call.done:
                return
            if self.working or self.scheduler.busy:
                pending.on_done()
                return
            self._here = True
            try:
                self.scheduler.continue_aside(tree)
            finally:
                self._here = False

    @property
    def pumped(self) -> bool:
        """Whether there is a pump that runs what is posted."""
        return self._pump_task is not None and self._pump_task.coro.cr_frame is not None

    def caller_context(self) -> contextvars.Context:
        """The context of the trio task that makes a call. It can change nothing in it before the call is over."""
        return trio.lowlevel.current_task().context

    # ------------------------------------------------------------------------------------------------ host functions

    def spawn(self, coroutine: Any, name: str) -> Pending:
        """Await a host function in a task of its own."""
        if self._nursery is None:
            coroutine.close()
            raise StoreError(f"the host function `{name}` cannot be awaited: the store is closed")
        thread = self.scheduler.current
        call = None if thread is None or thread.task is None or thread.task.call is None else thread.task.call.call
        pending = Pending(call)
        context = None if call is None else call.context
        start = self._nursery.start_soon
        if context is None or context is trio.lowlevel.current_task().context:
            start(pending.run, coroutine, self, name=name)
        else:
            context.run(start, pending.run, coroutine, self, name=name)
        self.awaited += 1
        if call is not None:
            call.hosts += 1
        return pending

    def start_task(self, function: Callable[..., Any], *args: Any, name: str | None = None) -> None:
        """Run an async function in the store's nursery until the store closes."""
        assert self._nursery is not None
        self._nursery.start_soon(function, *args, name=name)

    def start_last(self, function: Callable[..., Any], *args: Any, name: str | None = None) -> None:
        """As `start_task`, for what a guest has left to the host: `finished` waits for its end."""
        self._unfinished += 1
        self.start_task(self._finish, function, *args, name=name)

    async def _finish(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            await function(*args)
        finally:
            self._unfinished -= 1
            if not self._unfinished and self._all_finished is not None:
                self._all_finished.set()

    async def finished(self) -> None:
        """Wait until what guests have written has gone where it belongs. Leaving `open_store` does so, unless cancelled."""
        while self._unfinished:
            self._all_finished = trio.Event()
            await self._all_finished.wait()

    def suspend(self, coroutine: Any, complete: Any, address: int | None, scope: CallScope | None, name: str) -> object:
        """A function of a synchronous type answered a coroutine: the whole chain waits for it."""
        thread = self.scheduler.current
        if thread is None or not self.core.can_park or self.scheduler.nested:
            coroutine.close()
            raise StoreError(
                f"the host function `{name}` is `async def`, which cannot be awaited while a value is being passed"
            )
        call, at = None, thread
        while self._here and call is None and at is not None:  # destructors are no calls of the host
            call, at = call_of(at), at.resumer
        if call is not None:
            pending = Pending(call)
            self._handed = pending, coroutine
            self.awaited += 1
        else:
            pending = self.spawn(coroutine, name)
        return self.scheduler.begin(self._await_aside(pending, complete, address, scope))

    def _await_aside(self, pending: Pending, complete: Any, address: int | None, scope: CallScope | None) -> Steps:
        thread = self.scheduler.current

        def on_done() -> None:
            if thread.aside_of is not None:
                self._asides.append(thread.aside_of)
                self.notify()

        pending.on_done = on_done
        try:
            yield ASIDE
        finally:
            pending.abandon()
        if pending.cancelled:
            raise StoreError("the host function was cancelled")
        result, error = pending.outcome()
        complete(result, error, address, scope)

    # ------------------------------------------------------------------------------------------------ resources

    def drop_guest_resource(self, rt: ResourceType, rep: int) -> Any:
        """The host drops an own handle: its destructor runs as soon as the instance can be entered."""
        if self.core.closed or rt.dtor is None:
            return
        assert rt.impl is not None
        tree = Tree.of(rt.impl)
        if rt.impl.root.first_trap is not None:
            return
        if self.working or tree.aside is not None or self.scheduler.busy:
            self.scheduler.post(tree, run_destructor(self, rt, rep, None))
        else:
            self.scheduler.run(tree, run_destructor(self, rt, rep, None))

    def close_host_resource(self, value: Any) -> None:
        """A guest dropped its last own handle to a host object: `aclose()` or `close()` it, if it can be."""
        close = getattr(value, "aclose", None) or getattr(value, "close", None)
        if close is None:
            return
        result = close()
        if inspect.isawaitable(result):
            if self.core.closed or self._nursery is None:
                self._left_over.append(result)
                return

            async def wait() -> None:
                await result

            self._nursery.start_soon(wait, name=f"close {value!r}")

    @property
    def lingers(self) -> bool:
        """Whether resources that were closed together with the store have not ended yet: `close_left_over` waits for them."""
        return bool(self._left_over)

    async def close_left_over(self) -> None:
        """Wait for the resources that are closed together with the store, at most `cancel_grace`, whoever is cancelled."""
        left_over, self._left_over = self._left_over, []
        if left_over:
            with trio.move_on_after(self.cancel_grace, shield=True):
                async with trio.open_nursery() as nursery:
                    for closing in left_over:
                        nursery.start_soon(_awaited, closing)

    # ------------------------------------------------------------------------------------------------ streams

    def open_stream(self) -> tuple[trio.abc.SendStream, trio.abc.ReceiveStream]:
        """Two ends of a `stream<u8>`. The receiving one may be given to a guest."""
        from component_rt.tasks import channels

        return channels.open_stream(self)

    def open_channel(self) -> tuple[trio.abc.SendChannel[Any], trio.abc.ReceiveChannel[Any]]:
        """Two ends of a `stream<T>`. The receiving one may be given to a guest, which says what T is."""
        from component_rt.tasks import channels

        return channels.open_channel(self)

    # ------------------------------------------------------------------------------------------------ instances

    async def instantiate_async(self, pre: InstancePre) -> Instance:
        """As `InstancePre.instantiate`; a checkpoint. What start functions call is awaited."""
        await trio.lowlevel.checkpoint()
        runtime = pre.runtime(self)
        call = Instantiation(self, runtime, self.caller_context())
        if self.working:
            self.scheduler.post(call.tree, call.steps(), call)
        else:
            self.scheduler.run(call.tree, call.steps(), call)
        if not call.done:
            await Waiting(self, call).sleep()
        call.outcome()
        return Instance(runtime)


def _nothing() -> None:
    return None


async def _awaited(closing: Awaitable[object]) -> None:
    await closing
