"""Ending the calls that the host has cancelled.

A guest's asynchronous function is told (`task.cancel` protocol) and has `cancel_grace` seconds to end the call. One that is
computing cannot be told: it is on trial (`_trials`) until it waits, and stopped when it has gone on for `_ALLOWANCE` ticks.
A synchronous function cannot be told at all: it is stopped when its tick is over, or at once if a host function holds it up.
Stopping means that its tree of instances is poisoned; others go on.

Many guests do not import `task.cancel`: they have no idea of cancellation, and some fall over when told of it. Their calls
are left alone: the task goes on without anybody who wants its result, unless it is computing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from core_rt.errors import Trap, TrapCode

if TYPE_CHECKING:
    from component_rt.tasks.calls import HostCall
    from component_rt.tasks.driver import AsyncStore
    from component_rt.tasks.scheduler import Tree

__all__ = ["Cancelling", "not_ended"]

_ALLOWANCE = 1.5
"""How many ticks of processor time the guest of a cancelled call may go on computing before it is stopped."""


class Cancelling:
    """The cancelled calls of a store."""

    __slots__ = ("_store", "_trials")

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._trials: dict[HostCall, float] = {}
        """Cancelled calls whose guests were computing, and for how many ticks they have gone on with it since."""

    def begin(self, call: HostCall) -> trio.lowlevel.Abort:
        """Trio cancels a call: begin to end it. Nothing of a guest may run here."""
        tree = call.tree
        if not call.started or not self._store.pumped:
            call.done = True
            call.stopped = True
            return trio.lowlevel.Abort.SUCCEEDED
        if not call.task.is_async:
            self._stop(call)
        elif self._computes(call):
            self._trials[call] = 0
            if call.callee.inst in self._store.cancellers:
                self._store.scheduler.post(tree, call.cancel())
        elif call.callee.inst in self._store.cancellers:
            self._store.scheduler.post(tree, call.cancel())
            self._store.start_task(self._expire, call)
        else:
            self._leave_to_itself(call)
            return trio.lowlevel.Abort.SUCCEEDED
        return trio.lowlevel.Abort.FAILED

    @staticmethod
    def _leave_to_itself(call: HostCall) -> None:
        """Nobody waits for the call any more."""
        call.on_done = _nothing
        call.context = call.context.copy()

    def _computes(self, call: HostCall) -> bool:
        """Whether a guest of `call` is what computes just now."""
        thread = call.tree.aside if call.tree.preempted else None
        while thread is not None:
            if thread.task is not None and thread.task.call is not None and thread.task.call.call is call:
                return True
            thread = thread.resumer
        return False

    def computed(self, tree: Tree, ticks: float) -> None:
        """A guest was found computing at the end of a tick, of which it has had that much."""
        for call in self._trials:
            if call.tree is tree:
                self._trials[call] += ticks

    def judge(self) -> None:
        """Cancelled calls whose guests were computing: stop those that go on with it, treat the others like any that wait."""
        for call, ticks in list(self._trials.items()):
            if not call.done and self._computes(call):
                if ticks < _ALLOWANCE:
                    continue
                self._stop(call)
            elif not call.done and call.callee.inst in self._store.cancellers:
                self._store.start_task(self._expire, call)
            elif not call.done:
                tell = call.on_done
                self._leave_to_itself(call)
                call.stopped = True
                tell()
            del self._trials[call]

    async def _expire(self, call: HostCall) -> None:
        """Give the guest of a cancelled call its time."""
        over = trio.Event()
        tell = call.on_done

        def on_done() -> None:
            over.set()
            tell()

        ended = -1
        if not call.done:
            call.on_done = on_done
        while not call.done and ended != call.tree.ended:
            # Many calls may have been cancelled at once: as long as the guest ends some of them it is at it.
            ended = call.tree.ended
            with trio.move_on_after(self._store.cancel_grace):
                await over.wait()
        if not call.done:
            self._stop(call)

    def _stop(self, call: HostCall) -> None:
        """Poison the tree: now, or when the tick that a guest of it is computing in is over."""
        call.stopped = True
        error = not_ended()
        tree = call.tree

        async def kill() -> None:
            if tree.root is not None and not tree.killed:
                self._store.scheduler.kill(tree, error)

        self._store.start_task(kill)


def _nothing() -> None:
    return None


def not_ended() -> Trap:
    """What a tree is poisoned with when a cancelled call of it has to be stopped."""
    return Trap(TrapCode.INTERRUPT, "the call was cancelled and the guest did not end it")
