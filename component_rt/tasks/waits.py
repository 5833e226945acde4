"""Coroutines that a synchronous store runs: those that wait for nothing but `Sources`.

Theory of operation. Such a coroutine yields what it waits for. The store goes on with its guests, and when these have nothing to do
(`blocking.run_until`) the thread blocks until one of all the sources is ready. So what guests wait for overlaps, without a loop.
Which functions may be run so they say themselves (`drivable`): one that awaits anything else needs a trio store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from types import CodeType
from typing import Any, TypeVar, final

from component_rt.values import Err, outcome_of
from core_rt.errors import StoreError

__all__ = ["Sources", "Wait", "Waits", "drivable", "driving", "is_drivable"]

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])

_drivable: set[CodeType] = set()
_here = threading.local()


def drivable(function: F) -> F:
    """Decorator: this coroutine function waits for `Sources` only, in a synchronous store."""
    _drivable.add(function.__code__)
    return function


def is_drivable(coroutine: Any) -> bool:
    """Whether a coroutine came of a `drivable` function."""
    return coroutine.cr_code in _drivable


def driving() -> bool:
    """Whether the running coroutine is one that a synchronous store runs."""
    return getattr(_here, "depth", 0) > 0


@final
class Sources:
    """Awaitable: until one of `sources` is ready. `block(sources)` lets the thread wait for any, and answers the indices of such."""

    __slots__ = ("block", "sources")

    def __init__(self, sources: Sequence[Any], block: Callable[[Sequence[Any]], list[int]]) -> None:
        self.sources = sources
        self.block = block

    def __await__(self) -> Generator[Sources, None, None]:
        yield self


@final
class Wait:
    """A coroutine under way. `on_done()` is called once, when it has ended, unless it was abandoned."""

    __slots__ = ("_all", "_coroutine", "_error", "_result", "cancelled", "done", "on_done", "wanted")

    def __init__(self, waits: Waits, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._all = waits
        self._coroutine = coroutine
        self._result: Any = None
        self._error: BaseException | None = None
        self.done = False
        self.cancelled = False
        self.on_done: Callable[[], object] = _nothing
        self.wanted = Sources((), _none)
        """What it waits for."""

    def step(self) -> None:
        """Go on: what it waited for is ready."""
        _here.depth = getattr(_here, "depth", 0) + 1
        try:
            wanted = self._coroutine.send(None)
        except StopIteration as end:
            self._result = end.value
        except BaseException as error:
            self._error = error
        else:
            if type(wanted) is Sources:
                self.wanted = wanted
                self._all.under_way[self] = None
                return
            self._coroutine.close()
            self._error = StoreError("only a trio store can await this: use component_rt.open_store")
        finally:
            _here.depth -= 1
        self._end()

    def finish(self) -> None:
        """Let the thread wait for this one alone, until it has ended."""
        while not self.done:
            self.wanted.block(self.wanted.sources)
            self.step()

    def cancel(self) -> None:
        """Nobody wants the result; `on_done` is still called."""
        if not self.done:
            self._coroutine.close()
            self.cancelled = True
            self._end()

    def abandon(self) -> None:
        """As `cancel`, and nobody wants to know when it has ended."""
        self.on_done = _nothing
        self.cancel()

    def outcome(self) -> tuple[Any, Err | None]:
        """Result, or `Err`. Raises what the coroutine raised otherwise."""
        return outcome_of(self._result, self._error)

    def result(self) -> Any:
        """The result. Raises what the coroutine raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def _end(self) -> None:
        self._all.under_way.pop(self, None)
        self.done = True
        self.on_done()


@final
class Waits:
    """All that are under way in a store."""

    __slots__ = ("under_way",)

    def __init__(self) -> None:
        self.under_way: dict[Wait, None] = {}

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> Wait:
        """Run a coroutine as far as it goes at once."""
        wait = Wait(self, coroutine)
        wait.step()
        return wait

    def turn(self, block: bool) -> bool:
        """Go on with those that can; `block` until there is one. False: there are none at all."""
        waits = list(self.under_way)
        if not waits:
            return False
        if block:
            waits[0].wanted.block([source for wait in waits for source in wait.wanted.sources])
        for wait in waits:
            if not wait.done and any(source.ready() for source in wait.wanted.sources):
                wait.step()
        return True

    def close(self) -> None:
        """Abandon all."""
        for wait in list(self.under_way):
            wait.abandon()


def _nothing() -> None:
    return None


def _none(sources: Sequence[Any]) -> list[int]:
    return []
