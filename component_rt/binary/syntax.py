"""What decoding yields: the definitions of a component as the binary has them, with indices and without types.

`component_rt.validate` turns these into the records of `component_rt.model`. Offsets are absolute in the file.
A value type is an `int` (type index) or a `PrimValType`; `TypeExpr` is any other type where it is defined.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from component_rt.features import Features
from component_rt.model import Names, Sort
from component_rt.types import PrimValType
from core_rt import types as core
from core_rt.record import record

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


@record
class ExternName:
    """The name of an import or export with its attributes."""

    name: str
    implements: str | None = None
    version_suffix: str | None = None
    external_id: str | None = None


@record
class ExternExpr:
    """A type of an import or export.

    `form` is `"core module"`, `"func"`, `"component"`, `"instance"` (`index` is a type index), `"value"` (`val`),
    `"value eq"` (`index` is a value index), `"type"` (equal to `index`) or `"resource"` (`(sub resource)`).
    """

    form: str
    offset: int
    index: int = 0
    val: ValExpr | None = None


@record
class Item:
    """A definition or declarator."""

    offset: int


@record
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


@record
class CoreSub:
    """A member of a recursion group; `composite` as in `core_rt.types.TypeSpec` but over `CoreValExpr`."""

    offset: int
    final: bool
    supers: tuple[int, ...]
    composite: tuple[Any, ...]


@record
class CoreRec(Item):
    """A recursion group of core types."""

    members: tuple[CoreSub, ...]


@record
class CoreExternExpr:
    """A core import or export type. `kind` is "func" or "tag" (`index`), or "table", "memory", "global" (`type`)."""

    kind: str
    offset: int
    index: int = 0
    type: Any = None


@record
class CoreModuleTypeExpr(Item):
    """A core module type.

    Declarators are `("import", offset, module, name, extern)`, `("type", offset, CoreRec)`,
    `("alias", offset, count, index)` and `("export", offset, name, extern)`.
    """

    decls: tuple[tuple[Any, ...], ...]


# ---- definitions ----


@record
class CoreModule(Item):
    """Bytes `start` to `end` are a core module."""

    start: int
    end: int


@record
class CoreInstantiate(Item):
    module: int
    args: tuple[tuple[str, int, int], ...]
    """Name, core instance, offset."""


@record
class CoreBag(Item):
    exports: tuple[tuple[str, Sort, int, int], ...]
    """Name, sort, index, offset."""


@record
class Instantiate(Item):
    component: int
    args: tuple[tuple[str, Sort, int, int], ...]


@record
class InstanceBag(Item):
    exports: tuple[tuple[ExternName, Sort, int, int], ...]


@record
class AliasExport(Item):
    """Export `name` of an instance; `core` says whether of a core instance."""

    sort: Sort
    instance: int
    name: str
    core: bool


@record
class AliasOuter(Item):
    sort: Sort
    count: int
    index: int


@record
class Nested(Item):
    component: Component


@record
class TypeDef(Item):
    expr: TypeExpr


@record
class Opts:
    """Options of a canonical definition, in order: `(name, index | None, offset)`."""

    items: tuple[tuple[str, int | None, int], ...] = ()


NO_OPTS = Opts()


@record(kw_only=True)
class Canon(Item):
    """A canonical definition, `"lift"` and `"lower"` among them; fields are set where the definition has them."""

    offset: int
    name: str
    func: int = 0
    type: int = 0
    result: ValExpr | None = None
    opts: Opts = NO_OPTS
    is_async: bool = False
    cancellable: bool = False
    shared: bool = False
    memory: int = 0
    table: int = 0
    slot: int = 0
    core_val: core.ValType | None = None


@record
class Start(Item):
    func: int
    args: tuple[int, ...]
    results: int


@record
class Import(Item):
    name: ExternName
    type: ExternExpr


@record
class Export(Item):
    """In a component: entry `index` of space `sort`, with an ascribed `type` or None. As a declarator only `type`."""

    name: ExternName
    sort: Sort | None
    index: int
    type: ExternExpr | None


@record
class ValueDef(Item):
    """Bytes `start` to `end` hold a value of type `type`."""

    type: ValExpr
    start: int
    end: int


Decl: TypeAlias = CoreRec | CoreModuleTypeExpr | TypeDef | AliasExport | AliasOuter | Import | Export
"""A declarator of a component or instance type."""


@record
class Component:
    """A decoded component: bytes `start` to `end` of `data`."""

    data: bytes | memoryview
    start: int
    end: int
    features: Features
    items: tuple[Item, ...]
    customs: tuple[tuple[str, int, int], ...]
    names: Names
