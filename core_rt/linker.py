"""Linking by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from core_rt.errors import LinkError
from core_rt.func import Func, python_func
from core_rt.globals import Global
from core_rt.instance import Extern, Instance, describe, instantiate
from core_rt.memory import Memory
from core_rt.record import record
from core_rt.table import Table
from core_rt.tag import Tag
from core_rt.types import DefType, FuncType

if TYPE_CHECKING:
    from core_rt.engine import Engine
    from core_rt.module import Module
    from core_rt.store import Store

__all__ = ["Linker"]


@record
class _HostDefinition:
    """A Python function that is not bound to a store yet."""

    type: DefType
    function: Callable[..., Any]
    name: str


@final
class Linker:
    """Names for imports. A function defined here serves any store; other items belong to theirs.

    Defining a name again replaces it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._definitions: dict[tuple[str, str], Extern | _HostDefinition] = {}

    def define(self, module: str, name: str, item: Extern) -> None:
        """Define a name as an item of a store."""
        if not isinstance(item, Func | Memory | Table | Global | Tag):
            raise TypeError(f"cannot define {module!r} {name!r} as {item!r}; for a Python function use define_func")
        self._definitions[module, name] = item

    def define_func(self, module: str, name: str, type_: FuncType, function: Callable[..., Any]) -> None:
        """Define a name as a Python function, called with converted arguments."""
        if not isinstance(type_, FuncType):
            raise TypeError(f"{type_!r} is no FuncType")
        if not callable(function):
            raise TypeError(f"{function!r} is not callable")
        self._definitions[module, name] = _HostDefinition(DefType.of(type_), function, name)

    def define_instance(self, module: str, instance: Instance) -> None:
        """Define all exports of an instance under a module name."""
        for name, item in instance.exports.items():
            self._definitions[module, name] = item

    def get(self, store: Store, module: str, name: str) -> Extern | None:
        """What a name stands for in a store, or None."""
        item = self._definitions.get((module, name))
        if isinstance(item, _HostDefinition):
            return python_func(store, item.type, item.function, item.name)
        return item

    def instantiate(self, store: Store, module: Module) -> Instance:
        """Instantiate a module with the definitions. Raises `LinkError`, `Trap`, `ExhaustionError`."""
        imports: list[Extern] = []
        missing: list[str] = []
        for wanted in module.decoded.imports:
            item = self.get(store, wanted.module, wanted.name)
            if item is None:
                missing.append(self._missing(wanted.module, wanted.name, describe(wanted.type)))
            else:
                imports.append(item)
        if missing:
            raise LinkError("\n".join(missing))
        return instantiate(store, module, imports)

    def _missing(self, module: str, name: str, wanted: str) -> str:
        text = f"unknown import: {module!r} {name!r} ({wanted}) is not defined"
        known = [f"{m} {n}" for m, n in self._definitions]
        import difflib

        near = difflib.get_close_matches(f"{module} {name}", known, 1)
        return f"{text}; did you mean {near[0]!r}?" if near else text
