"""Streams, futures and error contexts as arguments and results: `lift_stream` and its like (CanonicalABI.md).

Between guests what travels is the rendezvous itself; for the host it becomes an object of `ends`, and objects of Python become
rendezvous whose other end the host feeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from component_rt.canon.error_context import ErrorContext, ErrorContextError
from component_rt.canon.stream import find_end
from component_rt.handles import trap, trap_if
from component_rt.tasks import ends
from component_rt.tasks.streams import (
    CopyEnd,
    ReadableFutureEnd,
    ReadableStreamEnd,
    SharedBase,
)

if TYPE_CHECKING:
    from component_rt.abi.context import LiftLowerContext
    from component_rt.store import Store

__all__ = ["AsyncValues"]

_READABLE: dict[str, type[CopyEnd]] = {"stream": ReadableStreamEnd, "future": ReadableFutureEnd}


class AsyncValues:
    """Makes the functions that generated code calls; one for each store."""

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    def lift(self, cx: LiftLowerContext, of: Any) -> Callable[[int], Any]:
        """`lift(index)`: what the handle stands for; the readable end of a stream or future leaves the table."""
        instance = cx.instance
        if of.kind == "error-context":
            return _lift_error_context(cx)
        cls, verb = _READABLE[of.kind], f"lift {of.kind}"
        handles = instance.handles

        def lift(index: int) -> SharedBase:
            end = find_end(instance, index, cls, of.t)
            end.check_idle(verb)
            trap_if(end.wset is not None, f"cannot {verb} while it's in a waitable set")
            handles.remove(index)
            return end.shared

        if cx.between_guests:
            return lift
        wrap = ends.reader_of(self._store, of)
        return lambda index: wrap(lift(index))

    def lower(self, cx: LiftLowerContext, of: Any) -> Callable[[Any], int]:
        """`lower(value)`: a handle for a stream, future or error context that is given to a guest."""
        handles = cx.instance.handles
        if of.kind == "error-context":
            return _lower_error_context(cx)
        cls = _READABLE[of.kind]
        if cx.between_guests:
            return lambda shared: handles.add(cls(shared))
        give = ends.shared_of(self._store, of, cx.resource)
        return lambda value: handles.add(cls(give(value)))


def _lift_error_context(cx: LiftLowerContext) -> Callable[[int], Any]:
    handles, between_guests = cx.instance.handles, cx.between_guests

    def lift(index: int) -> Any:
        found = handles.get(index)
        if type(found) is not ErrorContext:
            raise trap(f"handle index {index} used with the wrong type, expected error-context")
        return found if between_guests else ErrorContextError(found.message)

    return lift


def _lower_error_context(cx: LiftLowerContext) -> Callable[[Any], int]:
    handles = cx.instance.handles

    def lower(value: Any) -> int:
        if type(value) is not ErrorContext:
            value = ErrorContext(
                value if isinstance(value, str) else getattr(value, "debug_message", None) or str(value)
            )
        return handles.add(value)

    return lower
