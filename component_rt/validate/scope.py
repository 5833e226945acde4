"""A scope: the index spaces, names and resources of a component, component type or instance type while it is validated.

Names and visibility (Explainer, "Name Uniqueness" and "External Visibility of Types") are rules about a scope, so they
are here. Visible types are remembered by identity of the type object, which is what distinguishes the type behind one
type index from an equal one behind another (see `component_rt.types.TypeName`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NoReturn

from component_rt.binary.syntax import ExternName
from component_rt.features import Features
from component_rt.model import NO_ATTRIBUTES, Definition, Sort
from component_rt.names import (
    ExternLabel,
    InvalidName,
    check_implements,
    check_version_suffix,
    parse_extern_name,
    strong_key,
)
from component_rt.types import (
    Attributes,
    BorrowType,
    ComponentType,
    CoreModuleType,
    ExternType,
    FuncType,
    InstanceType,
    OwnType,
    ResourceId,
    ResourceType,
    ResultType,
    TypeBound,
    TypeName,
    ValueExtern,
)
from component_rt.validate.subtype import kind_of
from core_rt import types as core
from core_rt.config import Features as CoreFeatures
from core_rt.errors import ValidationError

__all__ = ["NameTable", "Scope", "Visible"]

ScopeKind = Literal["component", "component type", "instance type"]
Side = Literal["import", "export"]

_NOMINAL = ("record", "variant", "flags", "enum", "resource")
"""Types that functions of imports and exports may use only under a visible name."""

MAX_WORK = 1_000_000
"""Limit of `Scope.charge`: a small component can import a large type many times."""

_SORTS = tuple(Sort)
_NO_IDS: frozenset[int] = frozenset()


class Visible:
    """Types with an externally visible name, by identity.

    `outer` is what is visible besides, for a look into an instance type that leaves no trace.
    """

    __slots__ = ("_nominal", "outer", "types")

    def __init__(self, outer: Visible | None = None) -> None:
        self.outer = outer
        self.types: dict[int, Any] = {}
        self._nominal: dict[int, tuple[Any, frozenset[int]]] = {}

    def add(self, t: Any) -> None:
        """`t` itself, as introduced by an import or export, is visible."""
        self.types[id(t)] = t

    def needs(self, t: Any) -> frozenset[int]:
        """Identities of the outermost types in `t` that must be visible."""
        if t.kind in _NOMINAL:
            return frozenset((id(t),))
        children = t.children()
        if not children:
            return _NO_IDS
        found = self._nominal.get(id(t))
        if found is None:
            found = (t, self.inside(t))
            self._nominal[id(t)] = found
        return found[1]

    def inside(self, t: Any) -> frozenset[int]:
        """What the parts of `t` need."""
        needed: set[int] = set()
        for child in t.children():
            needed |= self.needs(child)
        return frozenset(needed) if needed else _NO_IDS

    def _has(self, needed: frozenset[int]) -> bool:
        scope: Visible | None = self
        left: frozenset[int] | set[int] = needed
        while left and scope is not None:
            left = {i for i in left if i not in scope.types}
            scope = scope.outer
        return not left

    def covers(self, extern: ExternType) -> bool:
        """Whether `extern` uses visible types only; types that an instance exports count for what follows in it."""
        match extern:
            case FuncType():
                return self._has(self.needs(extern))
            case ValueExtern():
                return self._has(self.needs(extern.t))
            case TypeBound(t=InstanceType() as inner):
                return Visible(self).covers(inner)
            case TypeBound(t=ComponentType()):
                return True
            case TypeBound():
                if not self._has(self.inside(extern.t)):
                    return False
                self.add(extern.t)
                return True
            case InstanceType():
                return all(self.covers(inner) for inner in extern.exports.values())
        # Component types are checked where they are defined; core modules mention no component types.
        return True


class NameTable:
    """The imports or the exports of a scope: names, types, attributes, and which resource has which name."""

    __slots__ = ("_keys", "_labels", "_named", "attributes", "externs", "side")

    def __init__(self, side: Side) -> None:
        self.side: Side = side
        self.externs: dict[str, ExternType] = {}
        self.attributes: dict[str, Attributes] = {}
        self._keys: dict[str, str] = {}
        # Names of resources by identity of the type object, and labels of resources.
        self._named: dict[int, str] = {}
        self._labels: set[str] = set()

    def add(
        self, given: ExternName, extern: ExternType, features: Features, offset: int, *, binds: bool = True
    ) -> Attributes:
        """Add an import or export after checking its name against its type and against the names before it.

        `binds`: a resource type gets its name here, which annotated names may refer to.
        """
        name = given.name
        try:
            label = self._parse(given, extern, features)
        except InvalidName as error:
            raise ValidationError(str(error), offset) from None
        key = strong_key(name)
        if key in self._keys:
            raise ValidationError(f"{self.side} name `{name}` conflicts with previous name `{self._keys[key]}`", offset)
        self._keys[key] = name
        self.externs[name] = extern
        attributes = NO_ATTRIBUTES
        if given.implements is not None or given.external_id is not None or given.version_suffix is not None:
            attributes = Attributes(given.implements, given.external_id, given.version_suffix)
            self.attributes[name] = attributes
        if binds and label.kind == "label" and isinstance(extern, TypeBound) and isinstance(extern.t, ResourceType):
            self._named[id(extern.t)] = name
            self._labels.add(name)
        return attributes

    def _parse(self, given: ExternName, extern: ExternType, features: Features) -> ExternLabel:
        name = given.name
        try:
            label = parse_extern_name(name, features)
        except InvalidName as error:
            raise InvalidName(f"{self.side} name `{name}` is not a valid extern name: {error}") from None
        if label.resource is not None:
            if not isinstance(extern, FuncType):
                raise InvalidName(f"{self.side} name `{name}` is not valid: item is not a func")
            try:
                _ANNOTATED[label.kind](self, label.resource, extern)
            except InvalidName as error:
                raise InvalidName(f"{self.side} name `{name}` is not valid: {error}") from None
        if given.implements is not None:
            check_implements(name, label, given.implements, kind_of(extern), features)
        if given.version_suffix is not None:
            check_version_suffix(name, label, given.version_suffix)
        return label

    # The rules of annotated names (Binary.md, "Import and Export Definitions").

    def _constructor(self, resource: str, func: FuncType) -> None:
        result = func.result
        if result is None:
            raise InvalidName("function should return one value")
        if isinstance(result, ResultType):
            result = result.ok
        if not isinstance(result, OwnType):
            raise InvalidName("function should return `(own $T)` or `(result (own $T))`")
        self._check_resource(result.rt, resource)

    def _method(self, resource: str, func: FuncType) -> None:
        if not func.params:
            raise InvalidName("function should have at least one argument")
        name, t = func.params[0]
        if name != "self":
            raise InvalidName("function should have a first argument called `self`")
        if not isinstance(t, BorrowType):
            raise InvalidName("function should take a first argument of `(borrow $T)`")
        self._check_resource(t.rt, resource)

    def _static(self, resource: str, func: FuncType) -> None:
        if resource not in self._labels:
            raise InvalidName("static resource name is not known in this context")

    def _check_resource(self, t: ResourceType, wanted: str) -> None:
        name = self._named.get(id(t))
        if name is None:
            raise InvalidName("resource used in function does not have a name in this context")
        if name != wanted:
            raise InvalidName(f"function does not match expected resource name `{name}`")


_ANNOTATED = {
    "constructor": NameTable._constructor,
    "method": NameTable._method,
    "static": NameTable._static,
}


class Scope:
    """What is known so far inside one component or type."""

    __slots__ = (
        "context_type",
        "core_features",
        "created",
        "definitions",
        "exports",
        "exposed",
        "features",
        "imported",
        "imports",
        "kind",
        "local",
        "parent",
        "spaces",
        "unused_values",
        "visible_to_exports",
        "visible_to_imports",
        "work",
    )

    def __init__(self, kind: ScopeKind, parent: Scope | None, features: Features, core_features: CoreFeatures) -> None:
        self.kind: ScopeKind = kind
        self.parent = parent
        self.features = features
        self.core_features = core_features
        self.spaces: dict[Sort, list[Any]] = {sort: [] for sort in _SORTS}
        self.imports = NameTable("import")
        self.exports = NameTable("export")
        self.visible_to_imports = Visible()
        self.visible_to_exports = Visible()
        self.imported: list[ResourceId] = []
        """Resources that imports brought."""
        self.created: dict[ResourceId, None] = {}
        """Resources of this scope's own, in order: defined, made by instantiation, or abstract exports."""
        self.exposed: set[ResourceId] = set()
        """Resources that exports mention so far."""
        self.local: set[ResourceId] = set()
        """Those of `created` that are defined here, with a representation to get at."""
        self.definitions: list[Definition] = []
        self.unused_values: dict[int, int] = {}
        """Value indices not consumed yet, with their offsets."""
        self.work = 0
        """In the outermost scope: what `charge` has added up."""
        self.context_type: core.ValType | None = None
        """The type that all `context.get` and `context.set` of the component share, once there is one."""

    def at(self, sort: Sort, index: int, offset: int) -> Any:
        """Entry `index` of a space. Raises `ValidationError` if there is none (yet)."""
        space = self.spaces[sort]
        if index >= len(space):
            name = _SPACE_NAMES.get(sort, str(sort))
            raise ValidationError(f"unknown {name} {index}: {name} index out of bounds", offset)
        return space[index]

    def outward(self, count: int, offset: int) -> Scope:
        """The scope `count` levels out."""
        scope: Scope | None = self
        for _ in range(count):
            scope = scope.parent if scope is not None else None
            if scope is None:
                raise ValidationError(f"invalid outer alias count of {count}", offset)
        assert scope is not None
        return scope

    def add_import(self, given: ExternName, extern: ExternType, offset: int) -> Attributes:
        """An import: name rules, visibility."""
        self.charge(extern.tree_size, offset)
        attributes = self.imports.add(given, extern, self.features, offset)
        if not self.visible_to_imports.covers(extern):
            self._invisible("import", extern, offset)
        if extern.has_resource and not self.created.keys().isdisjoint(extern.resources):
            # Whoever instantiates has to give the import before there is such a resource.
            raise ValidationError("local resource type found in imports", offset)
        # What an import makes visible is visible to exports too, but not the other way round.
        self.visible_to_exports.covers(extern)
        return attributes

    def add_export(self, given: ExternName, extern: ExternType, offset: int) -> Attributes:
        """An export: name rules, visibility (of instance types it is checked where they are used)."""
        self.charge(extern.tree_size, offset)
        attributes = self.exports.add(given, extern, self.features, offset)
        if self.kind != "instance type" and not self.visible_to_exports.covers(extern):
            self._invisible("export", extern, offset)
        if extern.has_resource:
            self.exposed |= extern.resources
        return attributes

    def charge(self, size: int, offset: int) -> None:
        """Account for work proportional to the size of a type (as a tree, which is never less)."""
        root = self
        while root.parent is not None:
            root = root.parent
        root.work += size
        if root.work > MAX_WORK:
            raise ValidationError(f"effective type size of imports, exports and instances exceeds {MAX_WORK}", offset)

    def create(self, resources: Iterable[ResourceId]) -> None:
        """Take up resources of this scope's own."""
        self.created.update(dict.fromkeys(resources))

    def _invisible(self, side: Side, extern: ExternType, offset: int) -> NoReturn:
        raise ValidationError(
            f"{kind_of(extern)} not valid to be used as {side}: it uses a type that has no name in this {self.kind}'s "
            f"{'imports' if side == 'import' else 'imports and exports'}",
            offset,
        )

    def exported_resources(self, externs: Iterable[ExternType]) -> tuple[ResourceId, ...]:
        """Those of `created` that the externs mention."""
        mentioned: set[ResourceId] = set()
        for extern in externs:
            mentioned |= extern.resources
        return tuple([r for r in self.created if r in mentioned])

    def name_type(self, t: Any, label: str | None) -> Any:
        """`t` as introduced here under `label`; function, instance and component types have no identity to name."""
        if isinstance(t, FuncType | InstanceType | ComponentType | CoreModuleType):
            return t
        return t.named(TypeName(label, t.name))


_SPACE_NAMES = {
    Sort.CORE_FUNC: "function",
    Sort.CORE_TABLE: "table",
    Sort.CORE_MEMORY: "memory",
    Sort.CORE_GLOBAL: "global",
    Sort.CORE_TAG: "tag",
    Sort.CORE_TYPE: "type",
    Sort.CORE_MODULE: "module",
}
