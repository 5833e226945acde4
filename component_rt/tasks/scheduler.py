"""Runs threads: plain synchronous code that neither waits nor polls (Concurrency.md; CanonicalABI.md "Embedding API").

Theory of operation. `tick` takes one woken thread and runs it until control comes back. Running is a loop over an explicit chain of
threads, never recursion: a guest that calls another guest yields the other's thread, and when that one blocks or ends, the
one that resumed it (`Thread.resumer`) goes on. So the whole of what is going on in a store is data at any time, and can be
put aside as it is (`ASIDE`): when a guest has computed for a whole epoch tick, or when a synchronous guest has called a host
function that must be awaited.

What a thread's generators may yield:

| yielded | means |
|---|---|
| `Enter(site)` | call a core function on a fiber of the thread's own; arguments are in the values buffer, and then results |
| a `Thread` that was marked `resumed()` | run it; go on when it blocks or ends |
| `BLOCK`, `Switch(thread)` | control goes back to the resumer, or to `thread` |
| `ASIDE` | the whole chain stops; nothing else enters this tree of instances before it has gone on |

A built-in that cannot answer at once starts as a generator (`begin`); if it yields, the guest's fiber is parked and the yielded
thing is done when the stack of Python is empty again.

Rules:
- Between ticks `may_enter` is on for all instances of a tree, unless the tree has something aside. Threads of such a tree that
  are woken wait in `Tree.deferred`.
- An exception out of a thread goes through every frame of the chain, poisons the trees that these belong to, and ends the calls
  of the host into them (`fail`). Other trees do not notice.
- The order is that in which threads were woken, so the same events give the same run; `choose` may pick another (tests).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, Protocol

from component_rt.handles import trap, trapped
from component_rt.tasks.states import THREAD, ThreadState, advance
from component_rt.tasks.streams import CopyEnd
from component_rt.tasks.thread import BLOCK, Stand, Switch, Thread, Turns, once
from core_rt.errors import EngineBug, StoreError
from core_rt.store import PARK

if TYPE_CHECKING:
    from component_rt.instance import ComponentInstance

__all__ = ["ASIDE", "Enter", "Scheduler", "Tree", "call_of"]


class _Aside:
    def __repr__(self) -> str:
        return "ASIDE"


class _Exit:
    def __repr__(self) -> str:
        return "EXIT"


ASIDE: Final = _Aside()
_EXIT: Final = _Exit()


class Enter:
    """What a thread yields to call a core function."""

    __slots__ = ("site",)

    def __init__(self, site: Any) -> None:
        self.site = site


class Core(Protocol):
    """What the scheduler wants of a core store."""

    def start(self, site: Any) -> Any: ...
    def resume(self, fiber: Any) -> Any: ...
    def discard(self, fiber: Any, error: BaseException | None) -> None: ...
    @property
    def can_park(self) -> bool: ...


class MakesThread(Protocol):
    """Stands for a current thread that nothing has asked for yet; `make` sets `Scheduler.current`."""

    def make(self) -> Thread: ...


class Tree:
    """What the scheduler knows about one tree of instances (everything that one call of `instantiate` made)."""

    __slots__ = (
        "aside",
        "aside_entered",
        "calls",
        "deferred",
        "doom",
        "ended",
        "host",
        "killed",
        "pendings",
        "preempted",
        "root",
        "threads",
        "working",
    )

    def __init__(self, root: ComponentInstance | None) -> None:
        self.root = root
        self.threads: dict[Thread, None] = {}
        self.calls: dict[Any, None] = {}
        """Calls of the host that are not over: anything with `fail(error)`."""
        self.ended = 0
        """How many calls of the host have ended."""
        self.aside: Thread | None = None
        """The innermost thread of a chain that was put aside."""
        self.aside_entered: tuple[Any, ...] = ()
        self.preempted = False
        """Whether what is aside is a guest that has been computing."""
        self.working = False
        """Whether a worker thread is running what is aside."""
        self.doom: BaseException | None = None
        """What the tree is poisoned with as soon as no worker thread is in it."""
        self.killed = False
        """Whether all that went on in the tree has been ended. A root may be poisoned before that is done."""
        self.pendings: dict[Any, None] = {}
        """What the host does for guests of the tree besides: anything with `abandon()`."""
        self.host: Thread | None = None
        """The thread of what the host does in the tree (`Scheduler.perform`)."""
        self.deferred: deque[Thread] = deque()
        """Threads that were woken while something was aside. One is let go when the tree is free, and the next after it."""

    @staticmethod
    def of(inst: ComponentInstance) -> Tree:
        root = inst.root
        tree = root.tree
        if tree is None:
            tree = root.tree = Tree(root)
        return tree  # type: ignore[no-any-return]


class Scheduler:
    """See the module. `core` runs fibers; `notify` is called when there is something to do again."""

    __slots__ = (
        "_blamed",
        "_crossed",
        "_current",
        "_preempting",
        "absent",
        "choose",
        "core",
        "nested",
        "notify",
        "ready",
        "ticked",
    )

    def __init__(self, core: Core) -> None:
        self.core = core
        self.ready: deque[Thread] = deque()
        self._current: Thread | None = None
        self.absent: MakesThread | None = None
        """What makes the current thread if somebody asks for it: a call is being done without one (`quick`)."""
        self.choose: Callable[[int], int] | None = None
        """Which of n ready threads is next; None: the first."""
        self.notify: Callable[[], None] = lambda: None
        self._blamed: set[Any] = set()
        """Calls of the host that the error that is just going through guests belongs to."""
        self._preempting = False
        self.ticked = False
        """Whether what is being run has run into a tick of the epoch."""
        self._crossed: dict[Tree, None] = {}
        """Trees that a chain of another tree is in, and that have threads deferred for that."""
        self.nested = 0
        """How many chains are being run inside Python frames that cannot be put aside."""

    @property
    def current(self) -> Thread | None:
        """The specification's `current_thread()`."""
        thread = self._current
        if thread is None and self.absent is not None:
            thread = self.absent.make()
        return thread

    @current.setter
    def current(self, thread: Thread | None) -> None:
        self._current = thread

    @property
    def busy(self) -> bool:
        """Whether a guest is being run further up the stack of Python."""
        return self._current is not None or self.absent is not None

    def with_fresh_storage(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, a guest's `realloc`, with thread-local storage that holds zeros on entry and is forgotten afterwards."""

        def call(*args: int) -> Any:
            outer = self._current
            self._current = Stand()  # type: ignore[assignment]
            try:
                return function(*args)
            finally:
                self._current = outer

        return call

    # ------------------------------------------------------------------------------------------------ turns

    def tick(self) -> bool:
        """Run one thread that can run. False: there is none."""
        ready = self.ready
        while ready:
            if self.choose is not None and len(ready) > 1:
                ready.rotate(-self.choose(len(ready)))
            thread = ready.popleft()
            tree = thread.tree
            if tree.aside is not None:
                tree.deferred.append(thread)
                continue
            thread.queued = False
            if thread.state is ThreadState.WAITING:
                if thread.ready():
                    self.enter(tree, thread)
                    return True
                _wait_for_turn(thread)
            if tree.deferred:
                self._undefer(tree)
        return False

    def enter(self, tree: Tree, thread: Thread) -> None:
        """Run a thread that the host resumes."""
        chain = () if thread.task is None else thread.task.inst.chain
        call, root = thread.call, tree.root
        busy = root is not None and not root.flags[0] and root.first_trap is None
        if busy and thread.task is None and call is not None and not call.started:
            self._cross(tree, thread)
            return
        for member in chain:
            if not member.flags[0]:
                self._cross(tree, thread)
                return
        for member in chain:
            member.flags[0] = 0
        self._go(tree, thread.resumed(), chain)

    def _cross(self, tree: Tree, thread: Thread) -> None:
        """A chain that is aside in another tree stands in this one too: the thread waits for its turn."""
        thread.queued = True
        tree.deferred.appendleft(thread)
        self._crossed[tree] = None

    def run(self, tree: Tree, body: Generator[Any, Any, Any], call: Any = None) -> Thread:
        """Run work of the host that resumes threads, such as a call. Exceptions of guests end up with the calls of the trees."""
        thread = Thread(self, tree, None, body)
        thread.call = call
        self._go(tree, thread.resumed(), ())
        return thread

    def perform(self, tree: Tree, function: Callable[[], object], call: Any = None) -> None:
        """Have `function` done for `call` when the tree is free, as work of the host that wakes threads: now if possible."""
        if self.ready or self.busy or tree.aside is not None or tree.deferred:
            self.post(tree, once(function), call)
            return
        host = tree.host
        if host is None:
            host = tree.host = Thread(self, tree, None, once(_nothing)).resumed()
            tree.threads.pop(host)
        host.call = call
        self._current = host
        try:
            function()
        except BaseException as error:
            tree.host = None
            error = trapped(error)
            self._unwind(host, error)
            self._failed(tree, error)
        finally:
            self._current = None

    def post(self, tree: Tree, body: Generator[Any, Any, Any], call: Any = None) -> Thread:
        """Have work of the host done when the tree is free; it is done for `call`."""
        thread = Thread(self, tree, None, body)
        thread.call = call
        thread.resume_later()
        return thread

    def continue_aside(self, tree: Tree) -> None:
        """Go on with what is aside."""
        thread, entered = tree.aside, tree.aside_entered
        assert thread is not None
        preempted = tree.preempted
        tree.aside = None
        tree.aside_entered = ()
        tree.preempted = False
        self._go(tree, thread, entered, None, preempted)

    def go_on(self, thread: Thread, first: Callable[[], Any] | None) -> None:
        """Go on with a thread that is running already; `first()` is what it yields first."""
        self._go(thread.tree, thread, (), first)

    def _go(
        self,
        tree: Tree,
        thread: Thread,
        entered: tuple[Any, ...],
        first: Callable[[], Any] | None = None,
        ticked: bool = False,
    ) -> None:
        self.ticked = ticked
        try:
            aside = self._chain(thread, first)
        except BaseException as error:
            self._failed(tree, error)
            return
        if aside is not None:
            tree.aside, tree.aside_entered = aside, entered
            tree.preempted, self._preempting = self._preempting, False
            aside.aside_of = tree
            return
        for member in entered:
            member.flags[0] = 1
        self._undefer(tree)

    def _failed(self, tree: Tree, error: BaseException) -> None:
        """`error` has gone through a chain of the tree. Raises it if it is none for guests and nobody else will."""
        if tree.root is not None and not tree.killed:
            self.kill(tree, error)
        someone_knows = bool(self._blamed)
        self._blamed.clear()
        self._undefer(tree)
        if not isinstance(error, Exception) and not someone_knows:
            raise error

    def _undefer(self, tree: Tree) -> None:
        """The tree is free: the first who waited for that may look again."""
        if tree.deferred:
            self.ready.append(tree.deferred.popleft())
            self.notify()
        if self._crossed:
            crossed, self._crossed = self._crossed, {}
            for other in crossed:
                if other.deferred and other is not tree:
                    self.ready.append(other.deferred.popleft())
                    self.notify()

    # ------------------------------------------------------------------------------------------------ chains

    def _chain(self, thread: Thread, first: Callable[[], Any] | None = None) -> Thread | None:
        """Run `thread` and whomever it resumes. None: it is over; a thread: it was put aside there."""
        outer = self._current
        value = thread.take_value() if first is None else None
        try:
            while True:
                self._current = thread
                if first is None:
                    op = self._step(thread, value)
                else:
                    op, first = first(), None
                if op is BLOCK:
                    back, thread.resumer = thread.resumer, None
                elif op is _EXIT:
                    back, thread.resumer = thread.resumer, None
                    thread.state = advance(THREAD, thread.state, "exit")
                    thread.tree.threads.pop(thread, None)
                elif op is ASIDE:
                    return thread
                elif type(op) is Switch:
                    op.thread.resumer, thread.resumer = thread.resumer, None
                    thread = op.thread
                    value = thread.take_value()
                    continue
                else:
                    op.resumer = thread
                    thread = op
                    value = thread.take_value()
                    continue
                if back is None:
                    return None
                thread, value = back, None
        except BaseException as error:
            error = trapped(error)
            self._unwind(thread, error)
            raise error
        finally:
            self._current = outer

    def _step(self, thread: Thread, value: bool | None) -> Any:
        """Run one thread until it yields something that concerns others."""
        core = self.core
        while True:
            builtin = thread.builtin
            if builtin is not None:
                try:
                    return builtin.send(value)
                except StopIteration:
                    thread.builtin = None
            fiber = thread.fiber
            if fiber is not None:
                thread.fiber = None
                settle, thread.op = thread.op, None
                thread.fiber = core.resume(fiber) if settle is None else settle()
                if thread.fiber is not None:
                    op, thread.op = thread.op, None
                    return op
                value = None
            try:
                op = thread.body.send(value)
            except StopIteration:
                return _EXIT
            if type(op) is not Enter:
                return op
            thread.fiber = core.start(op.site)
            if thread.fiber is not None:
                op, thread.op = thread.op, None
                return op
            value = None

    def begin(self, steps: Generator[Any, Any, Any]) -> object:
        """For handlers of built-ins that may have to wait: do as much as can be done; PARK if that is not all."""
        try:
            op = steps.send(None)
        except StopIteration:
            return None
        thread = self.current
        if thread is not None and self.core.can_park:
            thread.builtin = steps
            thread.op = op
            return PARK
        self._drive(steps, op)
        return None

    def interrupted(self) -> object:
        """A guest has run into a tick: put the chain aside, if that can be done and it has been computing for a whole tick.

        Most calls take much less, and a tick in them is chance: going on in a worker thread would cost them more than they take.
        """
        if self.nested or not self.core.can_park:
            return None
        if not self.ticked:
            self.ticked = True
            return None
        thread = self.current
        if thread is None:
            return None
        thread.op = ASIDE
        self._preempting = True
        return PARK

    def _drive(self, steps: Generator[Any, Any, Any], op: Any) -> None:
        """Do what `steps` wants inside Python frames that cannot be left: start functions and destructors run like that."""
        self.nested += 1
        try:
            while True:
                if op is BLOCK or type(op) is Switch:
                    raise trap("cannot block a synchronous task before returning")
                if op is ASIDE:
                    raise StoreError("a host function cannot be awaited while a value is being passed")
                if self._chain(op) is not None:
                    raise EngineBug("a nested chain was put aside")
                try:
                    op = steps.send(None)
                except StopIteration:
                    return
        finally:
            self.nested -= 1

    # ------------------------------------------------------------------------------------------------ failure

    def _unwind(self, thread: Thread | None, error: BaseException) -> None:
        """`error` goes through the chain that ends in `thread`."""
        chain = []
        while thread is not None:
            back, thread.resumer = thread.resumer, None
            chain.append(thread)
            self._drop(thread, error)
            thread = back
        self._blamed = {call_of(thread) for thread in chain} - {None}
        for thread in chain:
            tree = thread.tree
            if thread.task is not None and tree.root is not None and not tree.killed:
                self.kill(tree, error)

    def _drop(self, thread: Thread, error: BaseException | None) -> None:
        """Forget a thread with what is on its stack."""
        thread.state = ThreadState.DONE
        thread.tree.threads.pop(thread, None)
        fiber, thread.fiber = thread.fiber, None
        if fiber is not None:
            self.core.discard(fiber, error)
        builtin, thread.builtin = thread.builtin, None
        for steps in (builtin, thread.body):
            if isinstance(steps, GeneratorType) and not steps.gi_running:
                try:
                    steps.close()
                except Exception as problem:  # whatever the cleanup says, the first error counts
                    if error is not None:
                        error.add_note(f"while leaving: {problem!r}")

    def kill(self, tree: Tree, error: BaseException) -> None:
        """Poison a tree and end all that goes on in it."""
        root = tree.root
        if root is not None:
            root.poison(error)
        if tree.working:
            tree.doom = tree.doom or error
            return
        tree.killed = True
        aside, tree.aside = tree.aside, None
        while aside is not None:  # the chain may have come from another tree
            back, aside.resumer = aside.resumer, None
            self._drop(aside, error)
            if aside.task is not None and aside.tree is not tree:
                self.kill(aside.tree, error)
            aside = back
        running = self._running()
        for thread in list(tree.threads):
            if thread not in running:
                self._drop(thread, None)
        tree.deferred.clear()
        for member, handles in () if root is None else root.tables():
            for handle in handles:
                if isinstance(handle, CopyEnd):
                    handle.shared.fail(member, error)
        pendings, tree.pendings = list(tree.pendings), {}
        for pending in pendings:
            pending.abandon()
        calls, tree.calls = list(tree.calls), {}
        for call in calls:
            call.fail(error, call in self._blamed or len(calls) == 1)

    def _running(self) -> set[Thread]:
        found, thread = set(), self._current
        while thread is not None:
            found.add(thread)
            thread = thread.resumer
        return found


def call_of(thread: Thread) -> Any:
    """The call of the host that a thread works for."""
    call = thread.call if thread.task is None else thread.task.call
    return None if call is None else call.call


def _wait_for_turn(thread: Thread) -> None:
    """A woken thread cannot run yet. If the exclusive thread is in its way, it is woken when that is free."""
    if thread.gated and thread.has_news():
        Turns.of(thread.task.inst).exclusive.append(thread)


def _nothing() -> None:
    return None
