"""Tasks in a synchronous store: a call runs the scheduler until its result is there, or nothing can ever bring it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from component_rt.tasks.arguments import bind_arguments
from component_rt.tasks.calls import Callee, HostCall
from core_rt.errors import Trap, TrapCode

if TYPE_CHECKING:
    from component_rt.canon.lift import LiftedFunc
    from component_rt.store import Store

__all__ = ["run_until", "task_function"]

_TURNS: Final = 64
"""Turns of guests that are never through, after which the host looks whether what it waits for is there."""


def deadlock() -> Trap:
    return Trap(TrapCode.DEADLOCK, "deadlock detected: event loop cannot make further progress")


def run_until(store: Store, done: Callable[[], bool]) -> bool:
    """Run tasks until `done()`, waiting for what the host waits for (`waits`). False: nothing is left that could run."""
    tick = store.scheduler.tick
    turns = 0
    while not done():
        if tick():
            turns += 1
            if not turns % _TURNS and store._waits is not None:
                store._waits.turn(False)
        elif store._waits is None or not store._waits.turn(True):
            return False
    return True


def task_function(store: Store, lifted: LiftedFunc, name: str, label: str) -> Callable[..., Any]:
    """The Python function for an export that runs as a task. It blocks; what can never finish is a `Trap`."""
    scheduler = store.scheduler
    count, bind = bind_arguments(lifted.type, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != count:
            args = bind(*args, **kwargs)
        store.core.check()
        call = HostCall(store, Callee.of(store, lifted, False), label, args)
        scheduler.run(call.tree, call.steps())
        if not call.done:
            try:
                if not run_until(store, lambda: call.done):
                    raise deadlock()
            except BaseException as error:  # of an interrupted wait, too
                scheduler.kill(call.tree, error)
                if not call.done:
                    raise
        return call.outcome()

    function.__name__ = function.__qualname__ = name
    function.__doc__ = lifted.code.doc(lifted.type, label)
    return function
