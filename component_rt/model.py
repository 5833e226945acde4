"""A validated component: its definitions in order, each with resolved types.

What `validate_component` answers and the planner reads. Rules:

- `ValidatedComponent.definitions` is the component flattened to a list; every record says in `defines` to which index
  space it appends one entry (`Start` appends one value per result). Reading the list from the start while appending to
  the thirteen spaces of `Sort` gives every index its meaning; indices in records are into those spaces.
- Nested components are records of their own (`ComponentDef.component`); `AliasOuter` counts enclosing scopes outward.
- Types in records are resolved: no type indices remain. Resource types are `ResourceId`s of *this* component's view.
  Wherever a definition brings resources into view which it does not own, `resources` lists them as
  `(id, path of export names)`: at run time the identity is found by walking the path from the definition's value (for
  an imported type the path is empty: the value is the resource type itself).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from component_rt.types import (
    Attributes,
    ComponentType,
    CoreModuleType,
    DefType,
    ExternType,
    FuncType,
    InstanceType,
    ResourceId,
    ResourceType,
    ValType,
)
from core_rt.record import record

if TYPE_CHECKING:
    from component_rt.features import Features
    from core_rt import types as core
    from core_rt.binary.model import DecodedModule

__all__ = [
    "AliasCoreExport",
    "AliasExport",
    "AliasOuter",
    "CanonBuiltin",
    "CanonLift",
    "CanonLower",
    "CanonOptions",
    "ComponentDef",
    "CoreExport",
    "CoreInlineExports",
    "CoreInstantiate",
    "CoreModuleDef",
    "CoreTypeDef",
    "Definition",
    "Export",
    "Import",
    "InlineExport",
    "InlineExports",
    "Instantiate",
    "Names",
    "ResourceDef",
    "ResourcePath",
    "Sort",
    "Start",
    "TypeDef",
    "ValidatedComponent",
    "ValueDef",
]


class Sort(enum.Enum):
    """The thirteen index spaces of a component; the value is the name used in messages."""

    CORE_FUNC = "core function"
    CORE_TABLE = "core table"
    CORE_MEMORY = "core memory"
    CORE_GLOBAL = "core global"
    CORE_TAG = "core tag"
    CORE_TYPE = "core type"
    CORE_MODULE = "core module"
    CORE_INSTANCE = "core instance"
    FUNC = "function"
    VALUE = "value"
    TYPE = "type"
    COMPONENT = "component"
    INSTANCE = "instance"

    __hash__ = object.__hash__  # members are singletons; the inherited hash is a Python call on every look-up

    def __str__(self) -> str:
        return self.value


NO_ATTRIBUTES = Attributes()

ResourcePath: TypeAlias = tuple[ResourceId, tuple[str, ...]]
"""A resource that a definition brings into view, and the export names that lead to it from the definition's value."""


@record(kw_only=True)
class Definition:
    """One definition; `offset` is its absolute byte offset in the file."""

    defines: ClassVar[Sort | None] = None
    offset: int


@record(kw_only=True)
class CoreModuleDef(Definition):
    """An embedded core module: bytes `start` to `end` of the component's `data`."""

    defines: ClassVar[Sort] = Sort.CORE_MODULE
    start: int
    end: int
    module: DecodedModule
    """Decoded, and validated but for function bodies."""
    type: CoreModuleType


@record(kw_only=True)
class CoreInstantiate(Definition):
    """Instantiate core module `module`; `args` gives a core instance for each first import name."""

    defines: ClassVar[Sort] = Sort.CORE_INSTANCE
    module: int
    args: tuple[tuple[str, int], ...]
    exports: Mapping[str, core.ExternType]


@record
class CoreExport:
    """An entry of a core instance made by hand."""

    name: str
    sort: Sort
    index: int
    type: core.ExternType


@record(kw_only=True)
class CoreInlineExports(Definition):
    """A core instance put together from core definitions."""

    defines: ClassVar[Sort] = Sort.CORE_INSTANCE
    exports: tuple[CoreExport, ...]


@record(kw_only=True)
class AliasCoreExport(Definition):
    """Export `name` of core instance `instance`."""

    sort: Sort
    instance: int
    name: str
    type: core.ExternType

    @property
    def defines(self) -> Sort:  # type: ignore[override]
        return self.sort


@record(kw_only=True)
class CoreTypeDef(Definition):
    """A core type. One recursion group makes several of these."""

    defines: ClassVar[Sort] = Sort.CORE_TYPE
    type: core.DefType | CoreModuleType


@record(kw_only=True)
class ComponentDef(Definition):
    """A nested component."""

    defines: ClassVar[Sort] = Sort.COMPONENT
    component: ValidatedComponent


@record(kw_only=True)
class Instantiate(Definition):
    """Instantiate component `component` with `args`: (import name, sort, index).

    Arguments that the component does not import have been dropped. `type.defined` is empty: the resources that this
    instance makes are in `resources`.
    """

    defines: ClassVar[Sort] = Sort.INSTANCE
    component: int
    args: tuple[tuple[str, Sort, int], ...]
    type: InstanceType
    resources: tuple[ResourcePath, ...]


@record
class InlineExport:
    """An entry of an instance made by hand."""

    name: str
    sort: Sort
    index: int
    type: ExternType


@record(kw_only=True)
class InlineExports(Definition):
    """An instance put together from definitions."""

    defines: ClassVar[Sort] = Sort.INSTANCE
    exports: tuple[InlineExport, ...]
    type: InstanceType


@record(kw_only=True)
class AliasExport(Definition):
    """Export `name` of instance `instance`. `type` is a `DefType` when `sort` is `TYPE`."""

    sort: Sort
    instance: int
    name: str
    type: ExternType | DefType

    @property
    def defines(self) -> Sort:  # type: ignore[override]
        return self.sort


@record(kw_only=True)
class AliasOuter(Definition):
    """Entry `index` of the component `count` levels out (0: this one).

    `sort` is CORE_MODULE, CORE_TYPE, COMPONENT or TYPE.
    """

    sort: Sort
    count: int
    index: int
    type: CoreModuleType | core.DefType | ComponentType | DefType

    @property
    def defines(self) -> Sort:  # type: ignore[override]
        return self.sort


@record(kw_only=True)
class TypeDef(Definition):
    """A type other than a resource; nothing to do at run time."""

    defines: ClassVar[Sort] = Sort.TYPE
    type: DefType


@record(kw_only=True)
class ResourceDef(Definition):
    """A resource type of this component: new for each instance."""

    defines: ClassVar[Sort] = Sort.TYPE
    type: ResourceType
    rep: core.ValType
    """`I32` or `I64`."""
    dtor: int | None
    """Core function of type `[rep] -> []`."""

    @property
    def id(self) -> ResourceId:
        return self.type.id


@record
class CanonOptions:
    """The options of a canonical definition; indices are into the core memory and core function spaces."""

    string_encoding: str = "utf8"
    """`"utf8"`, `"utf16"` or `"latin1+utf16"`."""
    memory: int | None = None
    memory64: bool = False
    """Whether that memory is addressed by i64."""
    realloc: int | None = None
    post_return: int | None = None
    callback: int | None = None
    is_async: bool = False


NO_OPTIONS = CanonOptions()


@record(kw_only=True)
class CanonLift(Definition):
    """Core function `core_func` as a component function of `type`."""

    defines: ClassVar[Sort] = Sort.FUNC
    core_func: int
    type: FuncType
    options: CanonOptions
    core_type: core.FuncType


@record(kw_only=True)
class CanonLower(Definition):
    """Component function `func`, of `type`, as a core function of `core_type`."""

    defines: ClassVar[Sort] = Sort.CORE_FUNC
    func: int
    type: FuncType
    options: CanonOptions
    core_type: core.FuncType


@record(kw_only=True)
class CanonBuiltin(Definition):
    """Any other canonical definition: a core function of `core_type`.

    `name` is that of the specification (`"resource.new"`, `"stream.read"`, `"waitable-set.wait"`, ...). The rest is set
    where the built-in has it: `type` the resource, stream, future or (task.return) result type; `slot` and `value_type`
    of context.get/set; `table` and `start_type` of thread.new-indirect and thread.spawn-*; the memory of
    waitable-set.wait/poll lies in `options`.
    """

    defines: ClassVar[Sort] = Sort.CORE_FUNC
    name: str
    core_type: core.FuncType
    type: ResourceType | ValType | None = None
    options: CanonOptions = NO_OPTIONS
    is_async: bool = False
    cancellable: bool = False
    shared: bool = False
    slot: int = 0
    value_type: core.ValType | None = None
    table: int | None = None
    start_type: core.DefType | None = None


@record(kw_only=True)
class Start(Definition):
    """Call function `func` with values `args` during instantiation; appends its `results` (0 or 1) to the values."""

    func: int
    args: tuple[int, ...]
    type: FuncType
    results: tuple[ValType, ...]


@record(kw_only=True)
class ValueDef(Definition):
    """A constant: bytes `start` to `end` hold it, encoded as in Binary.md, "Value Definitions"; `value` is it decoded.

    bool, int, float (NaN canonical), str, list, tuple; a record is a dict by label; a variant `(label, payload)`; flags
    a frozenset of labels; an enum its label; an option None or `(payload,)`; a result `("ok" | "error", payload)`.
    """

    defines: ClassVar[Sort] = Sort.VALUE
    type: ValType
    start: int
    end: int
    value: object


@record(kw_only=True)
class Import(Definition):
    """An import. For a type, `type` is a `TypeBound`."""

    sort: Sort
    name: str
    type: ExternType
    resources: tuple[ResourcePath, ...]
    attributes: Attributes = NO_ATTRIBUTES

    @property
    def defines(self) -> Sort:  # type: ignore[override]
        return self.sort


@record(kw_only=True)
class Export(Definition):
    """Entry `index` of space `sort` under `name`; appends an entry to the same space.

    `type` is the ascribed type if there is one. `resources` are those which the ascription made abstract.
    """

    sort: Sort
    name: str
    index: int
    type: ExternType
    resources: tuple[ResourcePath, ...] = ()
    attributes: Attributes = NO_ATTRIBUTES

    @property
    def defines(self) -> Sort:  # type: ignore[override]
        return self.sort


@record
class Names:
    """The `component-name` section, as far as it could be read."""

    component: str | None = None
    sorts: Mapping[Sort, Mapping[int, str]] = MappingProxyType({})


NO_NAMES = Names()


@record
class ValidatedComponent:
    """A component that passed validation.

    `data` is the whole file, bytes `start` to `end` of it this component. `spaces` holds the resolved type of every
    index: core types (`core_rt.types`) for core sorts, `CoreModuleType` for core modules, `Mapping[str, extern]` for
    core instances, `FuncType`, `ValType` (values), `DefType` (types), `ComponentType` and `InstanceType`.
    """

    data: bytes | memoryview
    start: int
    end: int
    features: Features
    definitions: tuple[Definition, ...]
    type: ComponentType
    spaces: Mapping[Sort, tuple[object, ...]]
    customs: tuple[tuple[str, int, int], ...] = ()
    """Custom sections: name, and start and end of the payload."""
    names: Names = NO_NAMES

    @property
    def imports(self) -> Mapping[str, ExternType]:
        """Imports by name, in order."""
        return self.type.imports

    @property
    def exports(self) -> Mapping[str, ExternType]:
        """Exports by name, in order."""
        return self.type.exports
