"""Syntax → model for what interfaces and worlds have in common: named types, `use`, functions.

Types are built in the order of their dependencies, so that each finds what it refers to; what has to be known of a
type's inside (does it hold a borrow?) is noted once, when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from wit import ast
from wit.errors import Span, WitError, near_name
from wit.gates import PackageGates
from wit.graph import Cycle, toposort
from wit.model import (
    UNGATED,
    BorrowType,
    Case,
    Enum,
    EnumCase,
    Field,
    Flag,
    Flags,
    Function,
    FutureType,
    Gate,
    Interface,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Param,
    Prim,
    Record,
    Resource,
    ResultType,
    StreamType,
    TupleType,
    Type,
    TypeDef,
    TypeKind,
    Variant,
    World,
)
from wit.names import strong_key
from wit.scope import Member, Universe, unique
from wit.walk import children

__all__ = ["MAX_FLAGS", "Borrows", "ItemBuilder"]

MAX_FLAGS = 32
"""The most flags that a `flags` type can have in a component (Binary.md, `defvaltype`)."""

_PRIMS = {prim.value: prim for prim in Prim}


class Borrows:
    """Which types hold a borrowed handle, directly or through the types they name."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[TypeDef, bool] = {}

    def add(self, typedef: TypeDef) -> None:
        """Note a type whose dependencies were noted before."""
        self._known[typedef] = self.inside(typedef.kind)

    def inside(self, kind: TypeKind) -> bool:
        """Whether a type holds a borrow."""
        if isinstance(kind, BorrowType):
            return True
        if isinstance(kind, TypeDef):
            return self._known.get(kind, False)
        return not isinstance(kind, OwnType) and any(map(self.inside, children(kind)))


@attrs.define(eq=False)
class _Name:
    """What a name of an interface or world stands for: the syntax that defines it, and its model when built."""

    ident: ast.Ident
    item: ast.Use | ast.TypeItem | ast.FuncItem
    source: ast.Ident | None = None
    """In a `use`: the name at its origin."""
    excluded: str | None = None
    typedef: TypeDef | None = None
    gate: Gate = UNGATED
    """The gate that counts for it, its own or that of what it is in."""


class ItemBuilder:
    """Builds the types and functions of one interface or world."""

    def __init__(
        self, universe: Universe, member: Member, owner: Interface | World, borrows: Borrows, gate: Gate
    ) -> None:
        self._universe = universe
        self._member = member
        self._owner = owner
        self._borrows = borrows
        self._gates: PackageGates = member.scope.package.gates
        self._outer = gate
        self._names: dict[str, _Name] = {}
        self._keys: dict[str, ast.Ident] = {}

    # ---- types ----

    def build_types(self, items: Sequence[object]) -> Iterator[TypeDef]:
        """Build the types among `items`, dependencies first."""
        for item in items:
            self._declare(item)
        places: dict[tuple[str, str], Span] = {}

        def dependencies(name: str) -> Iterator[str]:
            for ident in _mentions(self._names[name].item):
                target = self._names.get(ident.name)
                if target is not None and target.excluded is None:
                    places.setdefault((name, ident.name), ident.span)
                    yield ident.name

        try:
            order = toposort([n for n, entry in self._names.items() if entry.excluded is None], dependencies)
        except Cycle as cycle:
            names = [str(name) for name in cycle.path]
            span = places[names[0], names[1 % len(names)]]
            chain = " → ".join(f"`{name}`" for name in [*names, names[0]])
            raise WitError(f"type `{names[0]}` cannot contain itself ({chain})", span) from None
        for name in order:
            entry = self._names[name]
            if isinstance(entry.item, ast.Use | ast.TypeItem):
                entry.typedef = self._build(entry)
                entry.typedef.owner = self._owner
                self._borrows.add(entry.typedef)
                yield entry.typedef

    def _declare(self, item: object) -> None:
        entries: list[_Name] = []
        if isinstance(item, ast.Use):
            entries = [_Name(alias or name, item, name) for name, alias in item.names]
        elif isinstance(item, ast.TypeItem | ast.FuncItem):
            entries = [_Name(item.name, item)]
        for entry in entries:
            entry.excluded = self._gates.excluded(entry.item.attributes)
            # Names are unique among what is in; alternatives behind different gates may share one.
            if entry.excluded is None:
                unique([self._keys.setdefault(strong_key(entry.ident.name), entry.ident), entry.ident], "name")
            if entry.excluded is None or entry.ident.name not in self._names:
                self._names[entry.ident.name] = entry

    def _build(self, entry: _Name) -> TypeDef:
        item = entry.item
        span = entry.ident.span
        gate = self._gates.gate(item.attributes)
        entry.gate = self._gates.inside(self._outer, item.attributes, span)
        assert isinstance(item, ast.Use | ast.TypeItem)
        kind = self._used(item, entry) if isinstance(item, ast.Use) else self._kind(item, entry.gate)
        return TypeDef(entry.ident.name, kind, item.docs, gate, item.attributes.external_id, None, span)

    def _used(self, item: ast.Use, entry: _Name) -> TypeDef:
        assert entry.source is not None
        source = self._universe.find(item.path, self._member.scope, "interface")
        interface = source.model
        assert isinstance(interface, Interface)
        name = entry.source.name
        found = interface.types.get(name)
        if found is None:
            if name in interface.functions:
                raise WitError(f"`{name}` of `{interface.id}` is a function; `use` is for types", entry.source.span)
            excluded = [node for node in source.node.items if isinstance(node, ast.TypeItem) and node.name.name == name]
            if excluded:
                why = source.scope.package.gates.excluded(excluded[0].attributes)
                raise WitError(f"type `{name}` of `{interface.id}` is left out: {why}", entry.source.span)
            raise WitError(
                f"interface `{interface.id}` has no type `{name}`", entry.source.span, near_name(name, interface.types)
            )
        if source.scope.package is self._member.scope.package:
            self._gates.refers(entry.gate, interface.gate, item.path.span)
            self._gates.refers(entry.gate, found.gate, entry.source.span)
        return found

    def _kind(self, item: ast.TypeItem, gate: Gate) -> TypeKind:
        if item.alias is not None:
            if item.alias.kind == "name" and (target := self._lookup(item.alias.name, gate)) is not None:
                return target
            return self.type(item.alias, gate)
        if item.kind == "resource":
            return Resource()
        unique((field.name for field in item.fields), "field" if item.kind == "record" else "case")
        if item.kind == "flags":
            if len(item.fields) > MAX_FLAGS:
                raise WitError(
                    f"flags `{item.name.name}` has more than {MAX_FLAGS} flags", item.fields[MAX_FLAGS].name.span
                )
            return Flags(tuple(Flag(f.name.name, f.docs) for f in item.fields))
        if item.kind == "enum":
            return Enum(tuple(EnumCase(f.name.name, f.docs) for f in item.fields))
        types = [None if f.type is None else self.type(f.type, gate) for f in item.fields]
        if item.kind == "variant":
            return Variant(tuple(Case(f.name.name, t, f.docs) for f, t in zip(item.fields, types)))
        return Record(tuple(Field(f.name.name, t, f.docs) for f, t in zip(item.fields, types) if t is not None))

    # ---- type expressions ----

    def type(self, node: ast.Type, gate: Gate) -> Type:
        """The type that an expression of an item with this gate stands for. Raises `WitError`."""
        kind = node.kind
        prim = _PRIMS.get(kind)
        if prim is not None:
            return prim
        if kind in ("name", "own", "borrow"):
            return self._named(node, gate)
        args = [None if arg is None else self.type(arg, gate) for arg in node.args]
        if kind in ("stream", "future") and args and args[0] is not None and self._borrows.inside(args[0]):
            raise WitError(f"the element of a {kind} cannot hold a borrowed handle", node.span)
        return _CONSTRUCTORS[kind](args, node)

    def _named(self, node: ast.Type, gate: Gate) -> Type:
        assert node.name is not None
        target = self._lookup(node.name, gate)
        if target is None:
            return Prim.ERROR_CONTEXT
        if node.kind != "name" and not target.is_resource:
            raise WitError(f"`{node.name.name}` is not a resource, and only those have handles", node.name.span)
        if node.kind == "borrow":
            return BorrowType(target)
        return OwnType(target) if target.is_resource else target

    def _lookup(self, ident: ast.Ident | None, gate: Gate) -> TypeDef | None:
        """The type that a name stands for; None for `error-context`, a type without being a keyword."""
        assert ident is not None
        entry = self._names.get(ident.name)
        if entry is None:
            if ident.name == "error-context" and not ident.escaped:
                return None
            known = [name for name, other in self._names.items() if not isinstance(other.item, ast.FuncItem)]
            raise WitError(f"type `{ident.name}` is not defined", ident.span, near_name(ident.name, [*known, *_PRIMS]))
        if entry.excluded is not None:
            raise WitError(f"`{ident.name}` is left out: {entry.excluded}", ident.span)
        if entry.typedef is None:
            raise WitError(f"`{ident.name}` is a function, not a type", ident.span)
        self._gates.refers(gate, entry.gate, ident.span)
        return entry.typedef

    # ---- functions ----

    def build_functions(self, items: Sequence[object]) -> Iterator[Function]:
        """Build the functions among `items`, those of resources included, once the types are built."""
        for item in items:
            if isinstance(item, ast.FuncItem):
                if self._gates.excluded(item.attributes) is None:
                    yield self._function_item(item, None, self._outer)
            elif isinstance(item, ast.TypeItem) and self._gates.excluded(item.attributes) is None:
                entry = self._names[item.name.name]
                resource = entry.typedef
                assert resource is not None
                functions = [f for f in item.functions if self._gates.excluded(f.attributes) is None]
                self._check_resource_names(resource, functions)
                for function in functions:
                    yield self._function_item(function, resource, entry.gate)

    def _check_resource_names(self, resource: TypeDef, functions: list[ast.FuncItem]) -> None:
        constructors = [f for f in functions if f.kind == "constructor"]
        if len(constructors) > 1:
            raise WitError(
                "a resource has at most one constructor",
                constructors[1].name.span,
                related=[("first defined here", constructors[0].name.span)],
            )
        named = [f for f in functions if f.kind != "constructor"]
        unique((f.name for f in named), "function")
        for function in named:
            # `[method]r.r` counts as `r` for strong uniqueness (Explainer.md), which is the resource itself
            if strong_key(function.name.name) == strong_key(resource.name):
                message = f"{function.kind} `{function.name.name}` conflicts with the name of its resource"
                raise WitError(message, function.name.span)

    def _function_item(self, item: ast.FuncItem, resource: TypeDef | None, outer: Gate) -> Function:
        return self.function(item.name, item.func, item.attributes, item.docs, item.kind, resource, outer)

    def function(
        self,
        name: ast.Ident,
        func: ast.Func,
        attributes: ast.Attributes,
        docs: str | None,
        kind: str = "",
        resource: TypeDef | None = None,
        outer: Gate | None = None,
    ) -> Function:
        """The model of a function; `outer` is the gate of what it is in. Raises `WitError`."""
        gate = self._gates.inside(self._outer if outer is None else outer, attributes, name.span)
        idents = [ident for ident, _ in func.params]
        params = [Param(ident.name, self.type(type, gate)) for ident, type in func.params]
        if kind == "method":
            assert resource is not None
            params.insert(0, Param("self", BorrowType(resource)))
            for ident in idents:
                if strong_key(ident.name) == "self":
                    raise WitError("the parameter `self` of a method is implied", ident.span)
        unique(idents, "parameter")
        result = None if func.result is None else self.type(func.result, gate)
        if func.result is not None and result is not None and self._borrows.inside(result):
            raise WitError("the result of a function cannot hold a borrowed handle", func.result.span)
        if kind == "constructor":
            assert resource is not None
            result = self._constructor_result(func, result, resource)
        return Function(
            name.name,
            tuple(params),
            result,
            func.is_async,
            kind,
            resource,
            docs,
            self._gates.gate(attributes),
            attributes.external_id,
            name.span,
        )

    def _constructor_result(self, func: ast.Func, result: Type | None, resource: TypeDef) -> Type:
        if func.result is None or result is None:
            return OwnType(resource)
        if isinstance(result, ResultType) and result.ok == OwnType(resource):
            return result
        message = f"a constructor's result is left out or `result<{resource.name}, …>`"
        raise WitError(message, func.result.span)


def _mentions(item: object) -> Iterator[ast.Ident]:
    """The names that a type needs before it can be built (a resource needs none: its functions come later)."""
    if isinstance(item, ast.TypeItem):
        if item.alias is not None:
            yield from item.alias.names()
        for field in item.fields:
            if field.type is not None:
                yield from field.type.names()


def _list(args: list[Type | None], node: ast.Type) -> Type:
    return ListType(_given(args[0]), node.length)


def _given(type: Type | None) -> Type:
    assert type is not None, "the parser lets only `result` have `_`"
    return type


_CONSTRUCTORS: dict[str, Callable[[list[Type | None], ast.Type], Type]] = {
    "list": _list,
    "tuple": lambda args, node: TupleType(tuple(map(_given, args))),
    "option": lambda args, node: OptionType(_given(args[0])),
    "result": lambda args, node: ResultType(args[0], args[1]),
    "map": lambda args, node: MapType(_given(args[0]), _given(args[1])),
    "stream": lambda args, node: StreamType(args[0] if args else None),
    "future": lambda args, node: FutureType(args[0] if args else None),
}
