"""The resolved model of WIT: packages, interfaces, worlds, functions and types, with every name bound.

Two kinds of objects:

- *Values* (`attrs.frozen`): anonymous types such as `ListType`, bodies of named types such as `Record`, functions,
  gates. They compare by what they hold.
- *Things* (`attrs.define(eq=False)`): `Package`, `Interface`, `World` and `TypeDef`. A `TypeDef` is the identity of a
  named type: two interfaces that `use` the same type hold two `TypeDef`s whose `kind` leads to one and the same
  third. They are built once and read-only thereafter. `wit.structure` turns them into plain tuples that compare by
  content; `Package` and `Resolve` compare by it with `==`.

A type in a value position is a `Prim`, an anonymous type, or the `TypeDef` of a named type; a resource appears there
only inside `OwnType` or `BorrowType`, as in the component model. Interfaces and worlds have stable ids such as
`wasi:io/streams@0.2.3`. Everything has a plain constructor, so that a model may as well be built from a component:

    >>> errno = TypeDef("errno", Enum((EnumCase("again"), EnumCase("closed"))))
    >>> io = Interface("io", types={"errno": errno})
    >>> flush = io.add_function(Function("flush", (), ResultType(None, errno)))
    >>> package = Package("local", "demo", None)
    >>> package.add(io)
    >>> io.id
    'local:demo/io'
"""

from __future__ import annotations

import enum
from typing import TypeAlias, TypeVar

import attrs

from wit.errors import Span, WitError, near_name
from wit.names import is_interface_name, parse_interface_id

__all__ = [
    "UNGATED",
    "BorrowType",
    "Case",
    "Enum",
    "EnumCase",
    "Field",
    "Flag",
    "Flags",
    "Function",
    "FutureType",
    "Gate",
    "Interface",
    "InterfaceItem",
    "ListType",
    "MapType",
    "OptionType",
    "OwnType",
    "Package",
    "Param",
    "Prim",
    "Record",
    "Resolve",
    "Resource",
    "ResultType",
    "StreamType",
    "TupleType",
    "Type",
    "TypeDef",
    "TypeKind",
    "Variant",
    "World",
    "WorldItem",
]


M = TypeVar("M")


# ---- Types in value positions --------------------------------------------------------------------------------------


class Prim(enum.Enum):
    """The primitive types; the value is the keyword."""

    BOOL = "bool"
    S8 = "s8"
    U8 = "u8"
    S16 = "s16"
    U16 = "u16"
    S32 = "s32"
    U32 = "u32"
    S64 = "s64"
    U64 = "u64"
    F32 = "f32"
    F64 = "f64"
    CHAR = "char"
    STRING = "string"
    ERROR_CONTEXT = "error-context"


@attrs.frozen
class ListType:
    """`list<element>`, or `list<element, length>`."""

    element: Type
    length: int | None = None


@attrs.frozen
class TupleType:
    """`tuple<types…>`, at least one."""

    types: tuple[Type, ...]


@attrs.frozen
class OptionType:
    """`option<type>`."""

    type: Type


@attrs.frozen
class ResultType:
    """`result<ok, error>`, either of which may be missing."""

    ok: Type | None = None
    error: Type | None = None


@attrs.frozen
class MapType:
    """`map<key, value>`; the key is a primitive type other than the floats."""

    key: Type
    value: Type


@attrs.frozen
class StreamType:
    """`stream<element>`, or `stream`."""

    element: Type | None = None


@attrs.frozen
class FutureType:
    """`future<element>`, or `future`."""

    element: Type | None = None


@attrs.frozen
class OwnType:
    """An owned handle. `resource` is the name it goes by in scope: a resource or an alias of one."""

    resource: TypeDef


@attrs.frozen
class BorrowType:
    """A borrowed handle, `borrow<resource>`."""

    resource: TypeDef


# ---- Named types ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Field:
    """A field of a record."""

    name: str
    type: Type
    docs: str | None = None


@attrs.frozen
class Case:
    """A case of a variant, with the type of its payload."""

    name: str
    type: Type | None = None
    docs: str | None = None


@attrs.frozen
class EnumCase:
    """A case of an enum."""

    name: str
    docs: str | None = None


@attrs.frozen
class Flag:
    """A flag."""

    name: str
    docs: str | None = None


@attrs.frozen
class Record:
    """`record { … }`."""

    fields: tuple[Field, ...]


@attrs.frozen
class Variant:
    """`variant { … }`."""

    cases: tuple[Case, ...]


@attrs.frozen
class Enum:
    """`enum { … }`."""

    cases: tuple[EnumCase, ...]


@attrs.frozen
class Flags:
    """`flags { … }`, at most 32."""

    flags: tuple[Flag, ...]


@attrs.frozen
class Resource:
    """`resource`; its functions are among the functions of the interface or world that owns the type."""


@attrs.frozen
class Gate:
    """`@since`, `@unstable` and `@deprecated` of an item: two versions and a feature."""

    since: str | None = None
    unstable: str | None = None
    deprecated: str | None = None

    def __bool__(self) -> bool:
        return self.since is not None or self.unstable is not None


UNGATED = Gate()


@attrs.define(eq=False, repr=False)
class TypeDef:
    """A named type: a definition, an alias (`type a = b`), or a type brought in by `use`.

    `kind` is the body of a definition, or for an alias and a used type what it stands for; the latter two differ only
    in that the target of a `use` has another owner. `owner` is set when the type is added to an interface or world.
    """

    name: str
    kind: TypeKind
    docs: str | None = None
    gate: Gate = UNGATED
    external_id: str | None = None
    owner: Interface | World | None = None
    span: Span | None = None

    def __repr__(self) -> str:
        return f"<TypeDef {self.id}>"

    def __str__(self) -> str:
        return _text(self)

    @property
    def used_from(self) -> Interface | None:
        """The interface that a used type comes from; None for a definition or alias."""
        if isinstance(self.kind, TypeDef) and self.kind.owner is not self.owner:
            return self.kind.owner if isinstance(self.kind.owner, Interface) else None
        return None

    @property
    def definition(self) -> TypeDef:
        """The end of the chain of aliases and uses: what gives the type its identity."""
        here = self
        while isinstance(here.kind, TypeDef):
            here = here.kind
        return here

    @property
    def is_resource(self) -> bool:
        """Whether it names a resource."""
        return isinstance(self.definition.kind, Resource)

    @property
    def id(self) -> str:
        """`ns:pkg/iface#name`, for messages and comparison."""
        return f"{'?' if self.owner is None else self.owner.id}#{self.name}"


Type: TypeAlias = (
    Prim
    | ListType
    | TupleType
    | OptionType
    | ResultType
    | MapType
    | StreamType
    | FutureType
    | OwnType
    | BorrowType
    | TypeDef
)
TypeKind: TypeAlias = Record | Variant | Enum | Flags | Resource | Type


# ---- Functions, interfaces, worlds, packages -----------------------------------------------------------------------


@attrs.frozen
class Param:
    """A parameter."""

    name: str
    type: Type


@attrs.frozen
class Function:
    """A function. `kind` is `""`, `"method"`, `"static"` or `"constructor"`; all but the first have a `resource`.

    As in the component model, a method's first parameter is `self: borrow<resource>`, and a constructor's result is
    the resource or a `result` of it.
    """

    name: str
    params: tuple[Param, ...]
    result: Type | None = None
    is_async: bool = False
    kind: str = ""
    resource: TypeDef | None = None
    docs: str | None = None
    gate: Gate = UNGATED
    external_id: str | None = None
    span: Span | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def full_name(self) -> str:
        """The name of the import or export: `read`, `[method]blob.read`, `[constructor]blob`."""
        if self.resource is None:
            return self.name
        if self.kind == "constructor":
            return f"[constructor]{self.resource.name}"
        return f"[{self.kind}]{self.resource.name}.{self.name}"


@attrs.define(eq=False, repr=False)
class Interface:
    """An interface; an inline one of a world has no name.

    `types` by name, in an order where each only refers to earlier ones; `functions` by full name, those of resources
    included.
    """

    name: str | None
    types: dict[str, TypeDef] = attrs.Factory(dict)
    functions: dict[str, Function] = attrs.Factory(dict)
    docs: str | None = None
    gate: Gate = UNGATED
    package: Package | None = None
    span: Span | None = None

    def __attrs_post_init__(self) -> None:
        for typedef in self.types.values():
            typedef.owner = self

    def __repr__(self) -> str:
        return f"<Interface {self.id}>"

    def __str__(self) -> str:
        return _text(self)

    def add_type(self, typedef: TypeDef) -> TypeDef:
        """Add a type and become its owner."""
        self.types[typedef.name] = typedef
        typedef.owner = self
        return typedef

    def add_function(self, function: Function) -> Function:
        """Add a function under its full name."""
        self.functions[function.full_name] = function
        return function

    def resource_functions(self, resource: TypeDef) -> list[Function]:
        """The constructor, methods and static functions of a resource that the interface defines."""
        return [f for f in self.functions.values() if f.resource is resource]

    @property
    def id(self) -> str:
        """`ns:pkg/name@version`; `name` alone outside of a package, `interface` for an inline one."""
        if self.name is None:
            return "interface"
        return self.name if self.package is None else self.package.member_id(self.name)


@attrs.frozen
class InterfaceItem:
    """An interface as import or export of a world.

    Its key in the world tells the three forms apart: the interface's id; a plain name for an inline interface; a
    plain name for a named interface (which the component model notes as `implements`).
    """

    interface: Interface
    docs: str | None = None
    gate: Gate = UNGATED
    external_id: str | None = None


WorldItem: TypeAlias = Function | InterfaceItem | TypeDef


@attrs.define(eq=False, repr=False)
class World:
    """A world, elaborated: includes are merged, and what its items use is among the imports, before them.

    Keys are interface ids or plain names (full names for the functions of resources); types are imports.
    """

    name: str
    imports: dict[str, WorldItem] = attrs.Factory(dict)
    exports: dict[str, WorldItem] = attrs.Factory(dict)
    docs: str | None = None
    gate: Gate = UNGATED
    package: Package | None = None
    span: Span | None = None

    def __attrs_post_init__(self) -> None:
        for typedef in self.types.values():
            typedef.owner = self

    def __repr__(self) -> str:
        return f"<World {self.id}>"

    def __str__(self) -> str:
        return _text(self)

    @property
    def id(self) -> str:
        """`ns:pkg/name@version`; `name` alone outside of a package."""
        return self.name if self.package is None else self.package.member_id(self.name)

    @property
    def types(self) -> dict[str, TypeDef]:
        """The types that the world defines or uses, in order."""
        return {name: item for name, item in self.imports.items() if isinstance(item, TypeDef)}

    @property
    def functions(self) -> dict[str, Function]:
        """The functions that the world imports, those of its resources included."""
        return {name: item for name, item in self.imports.items() if isinstance(item, Function)}

    def resource_functions(self, resource: TypeDef) -> list[Function]:
        """The constructor, methods and static functions of a resource that the world defines."""
        return [f for f in self.imports.values() if isinstance(f, Function) and f.resource is resource]

    def add_import(self, item: WorldItem, name: str | None = None) -> None:
        """Import under `name`, or under the item's own name or id."""
        self.imports[name or _item_name(item)] = item
        if isinstance(item, TypeDef):
            item.owner = self

    def add_export(self, item: Function | InterfaceItem, name: str | None = None) -> None:
        """Export under `name`, or under the item's own name or id."""
        self.exports[name or _item_name(item)] = item


def _item_name(item: WorldItem) -> str:
    if isinstance(item, Function):
        return item.full_name
    return item.name if isinstance(item, TypeDef) else item.interface.id


@attrs.define(eq=False, repr=False)
class Package:
    """A package: its interfaces and worlds by name. `version` is a semantic version or None.

    `==` compares contents, see `wit.structure`.
    """

    namespace: str
    name: str
    version: str | None = None
    interfaces: dict[str, Interface] = attrs.Factory(dict)
    worlds: dict[str, World] = attrs.Factory(dict)
    docs: str | None = None

    def __attrs_post_init__(self) -> None:
        for interface in self.interfaces.values():
            interface.package = self
        for world in self.worlds.values():
            world.package = self

    def __repr__(self) -> str:
        return f"<Package {self.id}>"

    def __str__(self) -> str:
        return _text(self)

    def add(self, item: Interface | World) -> None:
        """Add a named interface or a world and become its package."""
        if isinstance(item, World):
            self.worlds[item.name] = item
        else:
            assert item.name is not None, "an interface of a package has a name"
            self.interfaces[item.name] = item
        item.package = self

    def __eq__(self, other: object) -> bool:
        from wit.structure import structure

        return structure(self) == structure(other) if isinstance(other, Package) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """`ns:pkg@version`."""
        return f"{self.namespace}:{self.name}" + ("" if self.version is None else f"@{self.version}")

    def member_id(self, name: str) -> str:
        """`ns:pkg/name@version` of an interface or world."""
        return f"{self.namespace}:{self.name}/{name}" + ("" if self.version is None else f"@{self.version}")


@attrs.define(eq=False, repr=False)
class Resolve:
    """Packages that refer to each other: dependencies first, `root` (the one that was asked for) among them.

    `==` compares contents, see `wit.structure`.
    """

    root: Package
    packages: dict[str, Package] = attrs.Factory(dict)

    def __attrs_post_init__(self) -> None:
        self.packages.setdefault(self.root.id, self.root)

    def __eq__(self, other: object) -> bool:
        from wit.structure import structure

        return structure(self) == structure(other) if isinstance(other, Resolve) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.root.id)

    def __repr__(self) -> str:
        return f"<Resolve {self.root.id} of {len(self.packages)}>"

    def __str__(self) -> str:
        return _text(self)

    def interface(self, name: str) -> Interface:
        """An interface of the root package by name, or of any package by id. Raises `WitError` if there is none."""
        package, label = self._locate(name)
        return _pick(package.interfaces, label, "interface", package)

    def world(self, name: str | None = None) -> World:
        """Select a world (WIT.md, "Specifying a World").

        None: the root package's only one; a name: one of the root package; an id: one of any package. Raises
        `WitError` if there is none, or if None and there are several.
        """
        if name is not None:
            package, label = self._locate(name)
            return _pick(package.worlds, label, "world", package)
        worlds = self.root.worlds
        if len(worlds) == 1:
            return next(iter(worlds.values()))
        if not worlds:
            raise WitError(f"package `{self.root.id}` has no world")
        raise WitError(f"package `{self.root.id}` has several worlds, name one of: {', '.join(worlds)}")

    def _locate(self, name: str) -> tuple[Package, str]:
        if not is_interface_name(name):
            return self.root, name
        wanted = parse_interface_id(name)
        found = self.packages.get(wanted.package_id)
        if found is None:
            raise WitError(f"no package `{wanted.package_id}`", help=near_name(wanted.package_id, self.packages))
        return found, wanted.interface


def _pick(table: dict[str, M], label: str, what: str, package: Package) -> M:
    if label not in table:
        raise WitError(f"no {what} `{label}` in package `{package.id}`", help=near_name(label, table))
    return table[label]


def _text(item: TypeDef | Interface | World | Package | Resolve) -> str:
    """The item as WIT."""
    from wit.printer import to_text  # which knows this module

    return to_text(item).rstrip("\n")
