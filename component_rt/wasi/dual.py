"""Host functions that may have to wait come in pairs: plain code for a synchronous store, trio's way for a trio store.

The linker tells such a pair by its two attributes, `sync` and `asynchronous`, and takes the one that suits the store.
The asynchronous half may be an `async def`; better it is plain code that answers at once where nothing is to be waited for,
and a coroutine otherwise: a guest that must be held up for a coroutine costs ten times as much.
Called directly, a pair is its synchronous half.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["Dual", "Overlap"]

P = ParamSpec("P")
R = TypeVar("R")


class Dual(Generic[P, R]):
    """One host function in two halves with the same parameters and results.

    As an attribute of a class it binds as functions do: `pollable.block` is a `Dual` of two bound methods.
    """

    def __init__(self, sync: Callable[P, R], asynchronous: Callable[P, R | Coroutine[Any, Any, R]]) -> None:
        self.sync = sync
        self.asynchronous = asynchronous
        self.__name__ = getattr(sync, "__name__", "dual").removeprefix("_").removesuffix("_sync")
        self.__doc__ = sync.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.sync)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else _Bound(self, instance)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.sync(*args, **kwargs)

    async def awaited(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The asynchronous half, for Python code under trio."""
        result: Any = self.asynchronous(*args, **kwargs)
        found: R = await result if inspect.iscoroutine(result) else result
        return found

    def __repr__(self) -> str:
        return f"<Dual {self.__name__}>"


class Overlap(Dual[P, Any]):
    """Decorator: a host function for stores of both kinds, which answers at once or with a coroutine that waits for `waits.Sources` only.

    Called directly it waits here. `asynchronous` is for a trio store, where it is to be done in another way.
    """

    def __init__(self, function: Callable[P, Any], asynchronous: Callable[P, Any] | None = None) -> None:
        super().__init__(function, function if asynchronous is None else asynchronous)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        from component_rt.tasks.waits import Waits

        result: Any = self.sync(*args, **kwargs)
        if inspect.iscoroutine(result):
            wait = Waits().begin(result)
            wait.finish()
            result = wait.result()
        return result


class _Bound:
    """A pair bound to an object: made for every call of a method, so it does next to nothing."""

    __slots__ = ("_instance", "_pair")

    def __init__(self, pair: Dual[..., Any], instance: object) -> None:
        self._pair = pair
        self._instance = instance

    @property
    def sync(self) -> Any:
        sync: Any = self._pair.sync
        return sync.__get__(self._instance)

    @property
    def asynchronous(self) -> Any:
        asynchronous: Any = self._pair.asynchronous
        return asynchronous.__get__(self._instance)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.sync)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._pair(self._instance, *args, **kwargs)

    async def awaited(self, *args: Any, **kwargs: Any) -> Any:
        return await self._pair.awaited(self._instance, *args, **kwargs)
