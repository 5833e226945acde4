"""All component-level types: those of values, functions and resources (`valtypes`) and of imports and exports.

`ExternType` is what may be imported and exported, `DefType` what a type index may stand for. Extern types other than
functions have no identity of their own and are compared by `validate/subtype.py` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import attrs

from component_rt.valtypes import (
    BOOL,
    CHAR,
    ERROR_CONTEXT,
    F32,
    F64,
    NO_RESOURCES,
    PRIMITIVES,
    S8,
    S16,
    S32,
    S64,
    STRING,
    TREE_LIMIT,
    U8,
    U16,
    U32,
    U64,
    BorrowType,
    CaseType,
    EnumType,
    FieldType,
    FlagsType,
    FuncType,
    FutureType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    PrimValType,
    RecordType,
    ResourceId,
    ResourceType,
    ResultType,
    StreamType,
    TupleType,
    TypeName,
    ValType,
    VariantType,
)
from core_rt.record import record

if TYPE_CHECKING:
    from core_rt import types as core

__all__ = [
    "BOOL",
    "CHAR",
    "ERROR_CONTEXT",
    "F32",
    "F64",
    "PRIMITIVES",
    "S8",
    "S16",
    "S32",
    "S64",
    "STRING",
    "U8",
    "U16",
    "U32",
    "U64",
    "Attributes",
    "BorrowType",
    "CaseType",
    "ComponentType",
    "CoreModuleType",
    "DefType",
    "EnumType",
    "ExternType",
    "FieldType",
    "FlagsType",
    "FuncType",
    "FutureType",
    "InstanceType",
    "ListType",
    "MapType",
    "OptionType",
    "OwnType",
    "PrimValType",
    "RecordType",
    "ResourceId",
    "ResourceType",
    "ResultType",
    "StreamType",
    "TupleType",
    "TypeBound",
    "TypeName",
    "ValType",
    "ValueExtern",
    "VariantType",
]


@attrs.frozen
class Attributes:
    """What an import or export says about itself besides its name; type checking ignores all of it."""

    implements: str | None = None
    """The interface that an instance under a plain name implements."""
    external_id: str | None = None
    """An identifier of the host's own choosing."""
    version_suffix: str | None = None
    """What was cut off a canonical interface version (`.6-rc.1` of `0.2.6-rc.1`)."""


@record
class CoreModuleType:
    """A core module: what it imports under which two names, and what it exports."""

    imports: Mapping[tuple[str, str], core.ExternType]
    exports: Mapping[str, core.ExternType]

    depth: ClassVar[int] = 1
    resources: ClassVar[frozenset[ResourceId]] = NO_RESOURCES
    has_resource: ClassVar[bool] = False
    kind: ClassVar[str] = "core module"

    @property
    def tree_size(self) -> int:
        return 1 + len(self.imports) + len(self.exports)


class _OfType:
    """What externs have of their type `t`."""

    __slots__ = ()
    t: DefType

    @property
    def depth(self) -> int:
        return self.t.depth + 1

    @property
    def tree_size(self) -> int:
        return self.t.tree_size

    @property
    def resources(self) -> frozenset[ResourceId]:
        return self.t.resources

    @property
    def has_resource(self) -> bool:
        return self.t.has_resource


@record
class ValueExtern(_OfType):
    """An imported or exported value."""

    t: ValType
    kind: ClassVar[str] = "value"


@record
class TypeBound(_OfType):
    """An imported or exported type.

    `sub` says that this import or export introduces the (abstract) resource type: `(sub resource)`. Without it the type
    is equal to `t`. `t.name` is the `TypeName` made by this very import or export.
    """

    t: DefType
    sub: bool = False
    kind: ClassVar[str] = "type"


def _measure(externs: Iterable[ExternType]) -> tuple[int, int, frozenset[ResourceId]]:
    depth = size = 1
    resources: set[ResourceId] = set()
    for extern in externs:
        depth = max(depth, extern.depth + 1)
        size += extern.tree_size
        if extern.has_resource:
            resources |= extern.resources
    return depth, min(size, TREE_LIMIT), frozenset(resources) if resources else NO_RESOURCES


NO_NOTES: Mapping[str, Attributes] = MappingProxyType({})


class InstanceType:
    """A component instance, by its exports.

    `defined` are the resource types that are new with every import or export of this type (bound variables, in order of
    introduction); it is empty for the type of an actual instance, whose resources are all known. `resources` are the free
    resources: those not in `defined`.
    """

    __slots__ = ("attributes", "defined", "depth", "exports", "resources", "tree_size")

    kind: ClassVar[str] = "instance"

    def __init__(
        self,
        exports: Mapping[str, ExternType],
        defined: tuple[ResourceId, ...] = (),
        attributes: Mapping[str, Attributes] = NO_NOTES,
    ) -> None:
        self.exports = exports
        self.defined = defined
        self.attributes = attributes
        self.depth, self.tree_size, resources = _measure(exports.values())
        self.resources = resources.difference(defined) if defined else resources

    @property
    def has_resource(self) -> bool:
        """Whether a resource from outside is mentioned."""
        return bool(self.resources)


class ComponentType:
    """A component: `imports` and `exports` by name, in order.

    `imported` are the resource types that the imports bring (whoever instantiates chooses them), `defined` those that
    every instantiation makes anew and exports. `resources` are the free resources: those of enclosing scopes.
    """

    __slots__ = (
        "defined",
        "depth",
        "export_attributes",
        "exports",
        "import_attributes",
        "imported",
        "imports",
        "resources",
        "tree_size",
    )

    kind: ClassVar[str] = "component"

    def __init__(
        self,
        imports: Mapping[str, ExternType],
        exports: Mapping[str, ExternType],
        imported: tuple[ResourceId, ...] = (),
        defined: tuple[ResourceId, ...] = (),
        import_attributes: Mapping[str, Attributes] = NO_NOTES,
        export_attributes: Mapping[str, Attributes] = NO_NOTES,
    ) -> None:
        self.imports = imports
        self.exports = exports
        self.imported = imported
        self.defined = defined
        self.import_attributes = import_attributes
        self.export_attributes = export_attributes
        self.depth, self.tree_size, resources = _measure([*imports.values(), *exports.values()])
        self.resources = resources.difference(imported, defined)

    @property
    def has_resource(self) -> bool:
        """Whether a resource from outside is mentioned."""
        return bool(self.resources)


DefType: TypeAlias = ValType | ResourceType | FuncType | ComponentType | InstanceType
"""What the type index space holds."""
ExternType: TypeAlias = CoreModuleType | FuncType | ValueExtern | TypeBound | ComponentType | InstanceType
"""What may be imported and exported."""
