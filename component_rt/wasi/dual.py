"""Host functions that may have to wait come in pairs: plain code for a synchronous store, a coroutine for a trio store.

The linker tells such a pair by its two attributes, `sync` and `asynchronous`, and takes the one that suits the store.
Called directly, a pair is its plain half.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["Dual"]

P = ParamSpec("P")
R = TypeVar("R")


class Dual(Generic[P, R]):
    """One host function in two halves with the same parameters and results.

    As an attribute of a class it binds as functions do: `pollable.block` is a `Dual` of two bound methods.
    """

    def __init__(self, sync: Callable[P, R], asynchronous: Callable[P, Awaitable[R]]) -> None:
        self.sync = sync
        self.asynchronous = asynchronous
        self.__name__ = getattr(sync, "__name__", "dual").removeprefix("_").removesuffix("_sync")
        self.__doc__ = sync.__doc__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.sync)

    def __get__(self, instance: object, owner: type | None = None) -> Dual[..., R]:
        if instance is None:
            return self
        sync: Any = self.sync
        asynchronous: Any = self.asynchronous
        return Dual(sync.__get__(instance, owner), asynchronous.__get__(instance, owner))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.sync(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Dual {self.__name__}>"
