"""A component: decoded and validated, with its plan and the code generated for it; shared by any number of stores."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

from component_rt.abi.codegen import CodeCache
from component_rt.features import Features
from component_rt.plan import Plan, make_plan
from core_rt.collector import without_collections
from core_rt.module import Module

if TYPE_CHECKING:
    from component_rt.links import Links
    from component_rt.model import CoreModuleDef, ValidatedComponent
    from component_rt.types import ComponentType, ExternType
    from core_rt.compile.cache import CodeCache as DiskCache
    from core_rt.engine import Engine

__all__ = ["Component"]

_SMALL = 8192
"""Bytes up to which a component's function bodies are validated when it is made."""
_KEPT_FROM = 64 << 10
"""Bytes from which what was found out about a component is kept in the code cache."""


@final
class Component:
    """A component, from its binary format.

    `features` says which parts of the component model are accepted (default: those that have shipped). Raises
    `DecodeError` or `ValidationError`. Function bodies of the core modules inside are read when they are first compiled;
    `validate()` reads them all.
    """

    def __init__(self, engine: Engine, data: bytes | bytearray | memoryview, features: Features | None = None) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"a component is made from bytes, not {type(data).__name__}; see Component.from_file")
        # What is read later, or known by its hash, must not change.
        if isinstance(data, memoryview) and isinstance(data.obj, bytes) and data.c_contiguous:
            data = data.cast("B")
        elif not isinstance(data, bytes):
            data = bytes(data)
        self.engine = engine
        self.code = CodeCache()
        self._lock = threading.Lock()
        self._modules: dict[int, Module] = {}
        self.shapes: dict[int, Any] = {}
        """What namespaces remember about types, by the identity of the mapping."""
        self.type: ComponentType
        self._data = data
        self._features = Features() if features is None else features
        self._facts_key: bytes | None = None
        self._plan: Plan | None = None
        if len(data) >= _KEPT_FROM and engine.cache is not None and self._recall(engine.cache):
            return
        self.type = self.validated.type

    @classmethod
    def from_file(cls, engine: Engine, path: str | os.PathLike[str], features: Features | None = None) -> Component:
        """The component in a file."""
        with open(path, "rb") as file:
            return cls(engine, file.read(), features)

    def _recall(self, cache: DiskCache) -> bool:
        """Whether the cache knows the component: then nothing of it has to be read."""
        from component_rt.facts import facts_key, load_facts

        features = self.engine.config.features
        self._facts_key = facts_key(self._data, self._features, features)
        with without_collections():
            facts = load_facts(cache, self._facts_key, self._data, features)
        if facts is None:
            return False
        self.type, self._plan = facts
        return True

    @cached_property
    def validated(self) -> ValidatedComponent:
        """The component's definitions and what is known about them."""
        from component_rt.binary import decode_component
        from component_rt.validate.component import validate_component

        # Small components are checked to the last instruction at once: it costs next to nothing.
        bodies = len(self._data) <= _SMALL
        with without_collections():
            decoded = decode_component(self._data, self._features)
            return validate_component(decoded, self.engine.config.features, bodies=bodies)

    @property
    def imports(self) -> Mapping[str, ExternType]:
        """Types of the imports by name."""
        return self.type.imports

    @property
    def exports(self) -> Mapping[str, ExternType]:
        """Types of the exports by name."""
        return self.type.exports

    @cached_property
    def world(self) -> Any:
        """Imports and exports as a WIT world; `str(component.world)` is WIT text."""
        from component_rt.world import world_of

        return world_of(self.validated)

    @cached_property
    def plan(self) -> Plan:
        """The steps of instantiation. Raises `ExhaustionError` for a component out of all proportion."""
        if self._plan is None:
            with self._lock, without_collections():
                self._plan = make_plan(self.validated)
            if self._facts_key is not None and self.engine.cache is not None:
                from component_rt.facts import store_facts

                with without_collections():
                    store_facts(self.engine.cache, self._facts_key, (self.type, self._plan))
        return self._plan

    @cached_property
    def links(self) -> Links:
        """Where the imports of its core modules come from."""
        from component_rt.links import Links

        return Links(self)

    @cached_property
    def resource_exports(self) -> Mapping[int, tuple[str, str]]:
        """Slots of the plan that hold a guest's resource type: the interface that exports it, and its name there."""
        from component_rt.namespace import resource_exports

        return resource_exports(self)

    def validate(self) -> None:
        """Read and validate all function bodies now. Raises `DecodeError` or `ValidationError`."""
        from component_rt.plan import LoadModule

        for step in self.plan.steps:
            if isinstance(step, LoadModule):
                self.module(step.definition).validate()

    def module(self, definition: CoreModuleDef) -> Module:
        """The core module of a definition; made once."""
        with self._lock:
            made = self._modules.get(id(definition))
            if made is None:
                made = self._modules[id(definition)] = Module.from_decoded(self.engine, definition.module)
        return made

    def __repr__(self) -> str:
        return f"<Component: {len(self.imports)} imports, {len(self.exports)} exports>"
