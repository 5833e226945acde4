"""The syntax tree of WIT text: what was written, before names mean anything.

Spans take no part in equality, so that two copies of a package can be compared for having the same contents.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from wit.errors import Source, Span

__all__ = [
    "Attributes",
    "Extern",
    "Field",
    "File",
    "Func",
    "FuncItem",
    "Ident",
    "Include",
    "Interface",
    "InterfaceItem",
    "PackageBlock",
    "PackageName",
    "TopUse",
    "Type",
    "TypeItem",
    "Use",
    "UsePath",
    "World",
    "WorldItem",
]


@attrs.frozen
class Ident:
    """A label. `escaped` tells `%stream` from `stream`."""

    name: str
    span: Span = attrs.field(eq=False, repr=False)
    escaped: bool = attrs.field(default=False, eq=False)


@attrs.frozen
class PackageName:
    """`namespace` holds `:` for nested namespaces, `name` holds `/` for nested packages."""

    namespace: str
    name: str
    version: str | None
    span: Span = attrs.field(eq=False, repr=False)

    @property
    def id(self) -> str:
        """`wasi:io@0.2.3`."""
        return f"{self.namespace}:{self.name}" + ("" if self.version is None else f"@{self.version}")


@attrs.frozen
class UsePath:
    """An interface or world: by name alone, or with the package that it is in."""

    package: PackageName | None
    name: Ident
    span: Span = attrs.field(eq=False, repr=False)

    def __str__(self) -> str:
        if self.package is None:
            return self.name.name
        version = "" if self.package.version is None else f"@{self.package.version}"
        return f"{self.package.namespace}:{self.package.name}/{self.name.name}{version}"


@attrs.frozen
class Attributes:
    """The gates and the external id in front of an item, each as its text."""

    since: str | None = None
    unstable: str | None = None
    deprecated: str | None = None
    external_id: str | None = None
    span: Span | None = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class Type:
    """A type as written. `kind` is a keyword (`u8`, `list`, `result`, `borrow` …) or `name`.

    `args` are the type arguments (None for `_` and what was left out), `name` the identifier of `name`, `borrow` and
    `own`, `length` that of `list<T, N>`.
    """

    kind: str
    span: Span = attrs.field(eq=False, repr=False)
    args: tuple[Type | None, ...] = ()
    name: Ident | None = None
    length: int | None = None

    def names(self) -> Iterator[Ident]:
        """Every identifier in the type, left to right. Types are no deeper than the parser lets them be."""
        if self.name is not None:
            yield self.name
        for arg in self.args:
            if arg is not None:
                yield from arg.names()


@attrs.frozen
class Func:
    """`async func(params) -> result`."""

    params: tuple[tuple[Ident, Type], ...]
    result: Type | None
    is_async: bool
    span: Span = attrs.field(eq=False, repr=False)


@attrs.frozen
class FuncItem:
    """A function of an interface (`kind` `""`) or of a resource (`method`, `static`, `constructor`)."""

    name: Ident
    kind: str
    func: Func
    attributes: Attributes
    docs: str | None


@attrs.frozen
class Field:
    """A field of a record, a case of a variant or enum, a flag: the latter have no type, cases may have one."""

    name: Ident
    type: Type | None
    docs: str | None


@attrs.frozen
class TypeItem:
    """A named type. `kind` is its keyword; only the part of the body that it needs is filled."""

    name: Ident
    kind: str
    attributes: Attributes
    docs: str | None
    fields: tuple[Field, ...] = ()
    alias: Type | None = None
    functions: tuple[FuncItem, ...] = ()


@attrs.frozen
class Use:
    """`use path.{name, name as alias};`"""

    path: UsePath
    names: tuple[tuple[Ident, Ident | None], ...]
    attributes: Attributes
    docs: str | None


InterfaceItem = Use | TypeItem | FuncItem


@attrs.frozen
class Interface:
    """An interface, or (without a name) the body of an inline one."""

    name: Ident | None
    items: tuple[InterfaceItem, ...]
    attributes: Attributes
    docs: str | None
    span: Span = attrs.field(eq=False, repr=False)


@attrs.frozen
class Extern:
    """An import or export of a world: `name` is None in the form that only has a path."""

    direction: str
    name: Ident | None
    what: Func | Interface | UsePath
    attributes: Attributes
    docs: str | None
    span: Span = attrs.field(eq=False, repr=False)


@attrs.frozen
class Include:
    """`include path with { name as alias };`"""

    path: UsePath
    names: tuple[tuple[Ident, Ident], ...]
    attributes: Attributes
    docs: str | None


WorldItem = Extern | Use | TypeItem | Include


@attrs.frozen
class World:
    """A world."""

    name: Ident
    items: tuple[WorldItem, ...]
    attributes: Attributes
    docs: str | None


@attrs.frozen
class TopUse:
    """`use path as alias;` outside of interfaces and worlds."""

    path: UsePath
    alias: Ident | None

    @property
    def name(self) -> Ident:
        """The name that it defines in its file."""
        return self.alias or self.path.name


@attrs.frozen
class PackageBlock:
    """The items of one package in one scope: a file's own, or those of a `package … { }` block."""

    package: PackageName | None
    items: tuple[TopUse | Interface | World, ...]
    docs: str | None


@attrs.frozen
class File:
    """One parsed document."""

    source: Source = attrs.field(eq=False)
    block: PackageBlock
    nested: tuple[PackageBlock, ...]
