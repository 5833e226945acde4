"""What decoding yields: the definitions of a component as the binary has them, with indices and without types.

`component_rt.validate` turns these into the records of `component_rt.model`. Offsets are absolute in the file.
A value type is an `int` (type index) or a `PrimValType`; `TypeExpr` is any other type where it is defined.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from component_rt.features import Features
from component_rt.model import Names, Sort
from component_rt.types import PrimValType
from core_rt import types as core

__all__ = [
    "AliasExport",
    "AliasOuter",
    "Canon",
    "Component",
    "CoreBag",
    "CoreExternExpr",
    "CoreInstantiate",
    "CoreModule",
    "CoreModuleTypeExpr",
    "CoreRec",
    "CoreSub",
    "Decl",
    "Export",
    "ExternExpr",
    "ExternName",
    "Import",
    "InstanceBag",
    "Instantiate",
    "Item",
    "Nested",
    "Opts",
    "Start",
    "TypeDef",
    "TypeExpr",
    "ValExpr",
    "ValueDef",
]

ValExpr: TypeAlias = int | PrimValType


@attrs.frozen(eq=False)
class ExternName:
    """The name of an import or export with its attributes."""

    name: str
    implements: str | None = None
    version_suffix: str | None = None
    external_id: str | None = None


@attrs.frozen(eq=False)
class ExternExpr:
    """A type of an import or export.

    `form` is `"core module"`, `"func"`, `"component"`, `"instance"` (`index` is a type index), `"value"` (`val`),
    `"value eq"` (`index` is a value index), `"type"` (equal to `index`) or `"resource"` (`(sub resource)`).
    """

    form: str
    offset: int
    index: int = 0
    val: ValExpr | None = None


@attrs.frozen(eq=False)
class Item:
    """A definition or declarator."""

    offset: int


@attrs.frozen(eq=False)
class TypeExpr:
    """A type where it is defined. `parts` by `kind`:

    record `((label, val), ...)`; variant `((label, val | None), ...)`; list `(val,)` or `(val, length)`; tuple
    `(val, ...)`; flags, enum `(label, ...)`; option `(val,)`; result `(ok, error)`; own, borrow `(type index,)`;
    stream, future `(val | None,)`; map `(key, val)`; resource `(rep, dtor | None)`;
    func `(((label, val), ...), result | None, is_async)`; component, instance `(declarator, ...)`; `"prim"` `(prim,)`.
    """

    kind: str
    offset: int
    parts: tuple[Any, ...]


# ---- core types ----

CoreValExpr: TypeAlias = "core.StorageType | tuple[bool, int]"
"""A core value or packed type; `(nullable, type index)` is a reference to a defined type."""


@attrs.frozen(eq=False)
class CoreSub:
    """A member of a recursion group; `composite` as in `core_rt.types.TypeSpec` but over `CoreValExpr`."""

    offset: int
    final: bool
    supers: tuple[int, ...]
    composite: tuple[Any, ...]


@attrs.frozen(eq=False)
class CoreRec(Item):
    """A recursion group of core types."""

    members: tuple[CoreSub, ...]


@attrs.frozen(eq=False)
class CoreExternExpr:
    """A core import or export type. `kind` is "func" or "tag" (`index`), or "table", "memory", "global" (`type`)."""

    kind: str
    offset: int
    index: int = 0
    type: Any = None


@attrs.frozen(eq=False)
class CoreModuleTypeExpr(Item):
    """A core module type.

    Declarators are `("import", offset, module, name, extern)`, `("type", offset, CoreRec)`,
    `("alias", offset, count, index)` and `("export", offset, name, extern)`.
    """

    decls: tuple[tuple[Any, ...], ...]


# ---- definitions ----


@attrs.frozen(eq=False)
class CoreModule(Item):
    """Bytes `start` to `end` are a core module."""

    start: int
    end: int


@attrs.frozen(eq=False)
class CoreInstantiate(Item):
    module: int
    args: tuple[tuple[str, int, int], ...]
    """Name, core instance, offset."""


@attrs.frozen(eq=False)
class CoreBag(Item):
    exports: tuple[tuple[str, Sort, int, int], ...]
    """Name, sort, index, offset."""


@attrs.frozen(eq=False)
class Instantiate(Item):
    component: int
    args: tuple[tuple[str, Sort, int, int], ...]


@attrs.frozen(eq=False)
class InstanceBag(Item):
    exports: tuple[tuple[ExternName, Sort, int, int], ...]


@attrs.frozen(eq=False)
class AliasExport(Item):
    """Export `name` of an instance; `core` says whether of a core instance."""

    sort: Sort
    instance: int
    name: str
    core: bool


@attrs.frozen(eq=False)
class AliasOuter(Item):
    sort: Sort
    count: int
    index: int


@attrs.frozen(eq=False)
class Nested(Item):
    component: Component


@attrs.frozen(eq=False)
class TypeDef(Item):
    expr: TypeExpr


@attrs.frozen(eq=False)
class Opts:
    """Options of a canonical definition, in order: `(name, index | None, offset)`."""

    items: tuple[tuple[str, int | None, int], ...] = ()


@attrs.frozen(eq=False, kw_only=True)
class Canon(Item):
    """A canonical definition, `"lift"` and `"lower"` among them; fields are set where the definition has them."""

    offset: int
    name: str
    func: int = 0
    type: int = 0
    result: ValExpr | None = None
    opts: Opts = attrs.field(factory=Opts)
    is_async: bool = False
    cancellable: bool = False
    shared: bool = False
    memory: int = 0
    table: int = 0
    slot: int = 0
    core_val: core.ValType | None = None


@attrs.frozen(eq=False)
class Start(Item):
    func: int
    args: tuple[int, ...]
    results: int


@attrs.frozen(eq=False)
class Import(Item):
    name: ExternName
    type: ExternExpr


@attrs.frozen(eq=False)
class Export(Item):
    """In a component: entry `index` of space `sort`, with an ascribed `type` or None. As a declarator only `type`."""

    name: ExternName
    sort: Sort | None
    index: int
    type: ExternExpr | None


@attrs.frozen(eq=False)
class ValueDef(Item):
    """Bytes `start` to `end` hold a value of type `type`."""

    type: ValExpr
    start: int
    end: int


Decl: TypeAlias = CoreRec | CoreModuleTypeExpr | TypeDef | AliasExport | AliasOuter | Import | Export
"""A declarator of a component or instance type."""


@attrs.frozen(eq=False)
class Component:
    """A decoded component: bytes `start` to `end` of `data`."""

    data: bytes | memoryview
    start: int
    end: int
    features: Features
    items: tuple[Item, ...]
    customs: tuple[tuple[str, int, int], ...]
    names: Names
