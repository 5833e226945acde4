"""Function types as compiled Python: calls into a guest, calls out of it, and the four halves that these are made of.

| what | is | used by |
|---|---|---|
| `call` | `call(*args)`: lower, enter, run, lift, post-return, leave in one function | exports, synchronous |
| `handler` | `handler()`: lift arguments, call the host function, lower its result | imports |
| `callee` | `lower_args(args, scope)`, `lift_result(scope)` | calls between guests, asynchronous exports |
| `caller` | `lift_args(scope)`, `lower_result(result, address, scope)` | calls between guests, asynchronous imports |

`CodeCache.get(what, signature)` gives a factory, which is called with a context and makes them; it keeps factories by signature.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any

from component_rt.abi.call import CallWriter
from component_rt.abi.writer import Signature, Writer

if TYPE_CHECKING:
    from component_rt.abi.adapter_code import AdapterCode

__all__ = ["CodeCache", "Signature", "named_code"]

_LOCK = threading.Lock()


def named_code(code: CodeType, name: str, params: tuple[str, ...]) -> CodeType:
    """The code of a generated function under another name, with other parameter names.

    Generated source numbers its parameters, so that no name of a component can clash with a name in the code, and
    functions of the same shape share one code object.
    """
    return code.replace(co_name=name, co_qualname=name, co_varnames=(*params, *code.co_varnames[len(params) :]))


class CodeCache:
    """Factories by what they are and by signature; one for each component, filled when functions are first called."""

    __slots__ = ("_adapters", "_made")

    def __init__(self) -> None:
        self._adapters: AdapterCode | None = None
        self._made: dict[tuple[str, Signature], Callable[..., Any]] = {}

    @property
    def adapters(self) -> AdapterCode:
        """Machine code of adapters. Only components that call each other load what makes it."""
        found = self._adapters
        if found is None:
            from component_rt.abi.adapter_code import AdapterCode

            with _LOCK:
                found = self._adapters = self._adapters or AdapterCode()
        return found

    def get(self, what: str, signature: Signature) -> Callable[..., Any]:
        """The factory `what`: "call", "handler", "callee" or "caller"."""
        made = self._made.get((what, signature))
        if made is None:
            writer = CallWriter if what == "call" else Writer
            made = self._made[what, signature] = getattr(writer(signature), what)()
        return made
