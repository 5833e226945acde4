"""Substitution: types with resources and named types replaced (Explainer, "Type Checking").

Instantiating a component replaces the types that it imports by those it is given, and makes its exported resource types
anew; importing or exporting an instance type makes its resource types anew. A `Substitution` is one such replacement.
Types are shared graphs: each distinct node is rewritten once per substitution, and comes back as the same object when
nothing in it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from component_rt.model import ResourcePath
from component_rt.types import (
    ComponentType,
    ExternType,
    FuncType,
    InstanceType,
    ResourceId,
    ResourceType,
    TypeBound,
    TypeName,
    ValType,
    ValueExtern,
)

__all__ = ["Substitution", "fresh", "resource_paths"]


class Substitution:
    """`resources` maps resources to what stands in for them, `names` named types to the types given for them."""

    __slots__ = ("_done", "_renamed", "names", "resources")

    def __init__(
        self, resources: dict[ResourceId, ResourceType] | None = None, names: dict[TypeName, Any] | None = None
    ) -> None:
        self.resources: dict[ResourceId, ResourceType] = {} if resources is None else resources
        self.names: dict[TypeName, Any] = {} if names is None else names
        # Results by identity of the argument, which is kept alive beside them.
        self._done: dict[int, tuple[Any, Any]] = {}
        self._renamed: dict[TypeName, TypeName] = {}

    def apply(self, t: Any) -> Any:
        """`t` (any def type or extern type) with everything replaced. Mappings must not grow after the first call."""
        # Nothing in it could be replaced. (Extern types do not tell of names.)
        if not self.names and not t.has_resource:
            return t
        found = self._done.get(id(t))
        if found is not None:
            return found[1]
        made = self._rewrite(t)
        self._done[id(t)] = (t, made)
        return made

    def _rewrite(self, t: Any) -> Any:
        if isinstance(t, FuncType | ValType | ResourceType):
            return self._rewrite_type(t)
        match t:
            case TypeBound():
                inner = self.apply(t.t)
                return t if inner is t.t else TypeBound(inner, t.sub)
            case ValueExtern():
                inner = self.apply(t.t)
                return t if inner is t.t else ValueExtern(inner)
            case InstanceType():
                exports = self._externs(t.exports)
                return t if exports is t.exports else InstanceType(exports, t.defined, t.attributes)
            case ComponentType():
                imports, exports = self._externs(t.imports), self._externs(t.exports)
                if imports is t.imports and exports is t.exports:
                    return t
                return ComponentType(imports, exports, t.imported, t.defined, t.import_attributes, t.export_attributes)
        return t  # a core module

    def _rewrite_type(self, t: Any) -> Any:
        if not t.has_names and not t.has_resource:
            return t
        if t.name is not None and t.name in self.names:
            return self.names[t.name]
        name = self._rename(t.name) if self.names and t.name is not None else t.name
        if isinstance(t, ResourceType):
            target = self.resources.get(t.id)
            return t.named(name) if target is None else ResourceType(target.id, name=name or target.name)
        children = t.children()
        made = [self.apply(child) for child in children]
        # Children are compared by identity: another name is a change too.
        return t.named(name) if all(a is b for a, b in zip(made, children)) else t.rebuild(made, name)

    def _rename(self, name: TypeName) -> TypeName:
        """`name`, with its origins replaced where they lead to a type that is."""
        done = self._renamed.get(name)
        if done is not None:
            return done
        chain = [name]
        while (before := chain[-1].origin) is not None and before not in self.names and before not in self._renamed:
            chain.append(before)
        if before is not None:
            before = self.names[before].name if before in self.names else self._renamed[before]
        while chain:
            link = chain.pop()
            before = self._renamed[link] = link if link.origin is before else TypeName(link.label, before)
        return self._renamed[name]

    def _externs(self, externs: Mapping[str, ExternType]) -> Mapping[str, ExternType]:
        made = {name: self.apply(extern) for name, extern in externs.items()}
        return made if any(made[name] is not externs[name] for name in made) else externs


def fresh(t: InstanceType) -> tuple[InstanceType, tuple[ResourceId, ...]]:
    """The type of one instance of type `t`: its resource types made anew, and which they are."""
    if not t.defined:
        return t, ()
    made = {old: ResourceType(ResourceId(old.debug)) for old in t.defined}
    exports = Substitution(dict(made)).apply(InstanceType(t.exports, (), t.attributes))
    return exports, tuple([new.id for new in made.values()])


def resource_paths(extern: ExternType, wanted: Iterable[ResourceId]) -> tuple[ResourcePath, ...]:
    """Where in `extern` each of `wanted` is first exported: the names that lead to it. Others are left out."""
    open_ = set(wanted)
    return tuple(_paths(extern, open_, ())) if open_ else ()


def _paths(extern: ExternType, open_: set[ResourceId], path: tuple[str, ...]) -> Iterator[ResourcePath]:
    match extern:
        case TypeBound(t=ResourceType(id=found)) if found in open_:
            open_.discard(found)
            yield found, path
        case InstanceType() if open_ and extern.resources & open_:
            # An instance defines its own types before instances within it refer to them, but a type may come
            # from either; all are the same resource, so the first place is as good as any.
            for name, inner in extern.exports.items():
                yield from _paths(inner, open_, (*path, name))
