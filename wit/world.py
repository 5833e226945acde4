"""Worlds: their items, `include`, and elaboration (WIT.md, "Union of Worlds", "Transitive imports and worlds").

Elaboration makes the implied imports explicit. Whatever an imported interface or the world itself uses is imported
before it. What an exported interface uses is exported if the world exports it, imported otherwise; an interface that is
imported for that reason must not in turn rest on an exported one, since imports cannot depend on exports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from wit import ast
from wit.errors import Span, WitError, near_name
from wit.gates import PackageGates
from wit.graph import toposort
from wit.interface import Borrows, ItemBuilder
from wit.model import (
    BorrowType,
    Function,
    FutureType,
    Gate,
    Interface,
    InterfaceItem,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Param,
    Prim,
    Record,
    ResultType,
    StreamType,
    TupleType,
    Type,
    TypeDef,
    TypeKind,
    Variant,
    World,
    WorldItem,
)
from wit.names import is_interface_name, strong_key
from wit.scope import Member, Universe
from wit.walk import interface_dependencies

__all__ = ["WorldBuilder", "elaborate", "substitute"]


class WorldBuilder:
    """Builds one world."""

    def __init__(self, universe: Universe, member: Member, world: World, borrows: Borrows) -> None:
        self._universe = universe
        self._member = member
        self._world = world
        self._borrows = borrows
        self._gates: PackageGates = member.scope.package.gates
        self._items = ItemBuilder(universe, member, world, borrows, world.gate)
        self._keys: dict[tuple[str, str], tuple[str, Span | None]] = {}

    def build(self) -> None:
        """Fill the world. Raises `WitError`."""
        node, world = self._member.node, self._world
        assert isinstance(node, ast.World)
        for typedef in self._items.build_types(node.items):
            self._claim("import", typedef.name, typedef.span)
            world.add_import(typedef)
        for function in self._items.build_functions(node.items):
            world.add_import(function)
        for item in node.items:
            if isinstance(item, ast.Extern) and self._gates.excluded(item.attributes) is None:
                self._extern(item)
        for item in node.items:
            if isinstance(item, ast.Include) and self._gates.excluded(item.attributes) is None:
                self._include(item)
        elaborate(world)

    def _claim(self, direction: str, name: str, span: Span | None) -> None:
        """Take a name in the scope of the imports or the exports."""
        first = self._keys.setdefault((direction, strong_key(name)), (name, span))
        if first != (name, span):
            related = [] if first[1] is None else [("first defined here", first[1])]
            raise WitError(
                f"{direction} `{name}` conflicts with an earlier {direction} `{first[0]}`", span, None, related
            )

    def _extern(self, item: ast.Extern) -> None:
        span = item.span if item.name is None else item.name.span
        gate = self._gates.inside(self._world.gate, item.attributes, span)
        made: Function | InterfaceItem
        if isinstance(item.what, ast.Func):
            assert item.name is not None
            name = item.name.name
            made = self._items.function(item.name, item.what, item.attributes, item.docs)
        else:
            interface = self._interface(item, gate)
            name = interface.id if item.name is None else item.name.name
            made = InterfaceItem(interface, item.docs, self._gates.gate(item.attributes), item.attributes.external_id)
        self._claim(item.direction, name, span)
        if item.direction == "import":
            self._world.add_import(made, name)
        else:
            self._world.add_export(made, name)

    def _interface(self, item: ast.Extern, gate: Gate) -> Interface:
        if isinstance(item.what, ast.UsePath):
            member = self._universe.find(item.what, self._member.scope, "interface")
            assert isinstance(member.model, Interface)
            if member.scope.package is self._member.scope.package:
                self._gates.refers(gate, member.model.gate, item.what.span)
            return member.model
        assert isinstance(item.what, ast.Interface)
        interface = Interface(None, package=self._world.package, span=item.what.span)
        builder = ItemBuilder(self._universe, self._member, interface, self._borrows, gate)
        for typedef in builder.build_types(item.what.items):
            interface.add_type(typedef)
        for function in builder.build_functions(item.what.items):
            interface.add_function(function)
        return interface

    # ---- include ----

    def _include(self, item: ast.Include) -> None:
        member = self._universe.find(item.path, self._member.scope, "world")
        source = member.model
        assert isinstance(source, World)
        gate = self._gates.inside(self._world.gate, item.attributes, item.path.span)
        ours = member.scope.package is self._member.scope.package
        if ours:
            self._gates.refers(gate, source.gate, item.path.span)
        renames = self._renames(item, source)
        types: dict[TypeDef, TypeDef] = {}
        for direction, table in ("import", source.imports), ("export", source.exports):
            for name, included in table.items():
                # versions in the gates of another package mean nothing here
                self._merge(direction, name, included, renames, types, item.path.span, included.gate if ours else gate)

    def _renames(self, item: ast.Include, source: World) -> dict[str, str]:
        renames: dict[str, str] = {}
        plain = [n for n in (*source.imports, *source.exports) if not (is_interface_name(n) or n.startswith("["))]
        for name, alias in item.names:
            if name.name not in plain:
                interfaces = [i.interface for i in source.imports.values() if isinstance(i, InterfaceItem)]
                interfaces += [i.interface for i in source.exports.values() if isinstance(i, InterfaceItem)]
                if any(interface.name == name.name for interface in interfaces):
                    raise WitError(f"`{name.name}` is an interface name, which `with` cannot rename", name.span)
                message = f"world `{source.id}` has no import or export `{name.name}`"
                raise WitError(message, name.span, near_name(name.name, plain))
            if name.name in renames:
                raise WitError(f"`{name.name}` is renamed twice", name.span)
            renames[name.name] = alias.name
        return renames

    def _merge(
        self,
        direction: str,
        name: str,
        item: WorldItem,
        renames: dict[str, str],
        types: dict[TypeDef, TypeDef],
        span: Span,
        gate: Gate,
    ) -> None:
        """Take over one import or export of an included world, with `gate` as its gate."""
        table = self._world.imports if direction == "import" else self._world.exports
        if is_interface_name(name):
            table.setdefault(name, attrs.evolve(item, gate=gate))
            self._keys.setdefault((direction, strong_key(name)), (name, span))
            return
        name = renames.get(name, name)
        mine = table.get(name)
        if isinstance(item, TypeDef):
            if isinstance(mine, TypeDef) and mine.used_from is not None and mine.definition is item.definition:
                types[item] = mine  # the same type through `use` in both worlds
                return
            renamed = attrs.evolve(item, name=name, kind=substitute(item.kind, types), owner=self._world, gate=gate)
            types[item] = renamed
            self._borrows.add(renamed)
            item = renamed
        elif isinstance(item, Function):
            item = attrs.evolve(self._merged_function(item, name, types), gate=gate)
            name = item.full_name
        else:
            item = attrs.evolve(item, gate=gate)
        known = (direction, strong_key(name))
        if known in self._keys:
            first, place = self._keys[known]
            raise WitError(
                f"{direction} `{name}` of the included world conflicts with an earlier {direction} `{first}`",
                span,
                f"rename it: `include … with {{ {name} as … }}`" if not name.startswith("[") else None,
                [] if place is None else [("first defined here", place)],
            )
        self._keys[known] = (name, span)
        table[name] = item

    @staticmethod
    def _merged_function(function: Function, name: str, types: dict[TypeDef, TypeDef]) -> Function:
        params = tuple(Param(p.name, substitute_type(p.type, types)) for p in function.params)
        result = None if function.result is None else substitute_type(function.result, types)
        if function.resource is not None:
            resource = types.get(function.resource, function.resource)
            return attrs.evolve(function, params=params, result=result, resource=resource)
        return attrs.evolve(function, name=name, params=params, result=result)


# ---- elaboration ---------------------------------------------------------------------------------------------------


def elaborate(world: World) -> None:
    """Make the implied imports of a world explicit and put every import and export behind what it needs.

    Raises `WitError` for an export that would need one interface both as import and as export.
    """
    imports = _elaborate_imports(world)
    exported = {
        item.interface: name
        for name, item in world.exports.items()
        if isinstance(item, InterfaceItem) and name == item.interface.id
    }
    exports: dict[str, WorldItem] = {}
    required: set[Interface] = set()

    def needs(interface: Interface) -> Iterable[Interface]:
        return () if interface in required else interface_dependencies(interface)

    for name, item in world.exports.items():
        if not isinstance(item, InterfaceItem):
            exports.setdefault(name, item)
            continue
        for interface in _export_needs(item.interface, exported):
            if interface in exported:
                exports.setdefault(exported[interface], world.exports[exported[interface]])
                continue
            for dependency in toposort([interface], needs):
                if dependency in exported:
                    raise WitError(
                        f"world `{world.id}` cannot export `{name}`: that needs an import of `{interface.id}`, which "
                        f"rests on `{dependency.id}`, an export; imports cannot depend on exports",
                        world.span,
                        f"export `{interface.id}` too",
                    )
                required.add(dependency)
                imports.setdefault(dependency.id, InterfaceItem(dependency, None, item.gate))
        exports.setdefault(name, item)
    world.imports = imports
    world.exports = exports


def _export_needs(interface: Interface, exported: Mapping[Interface, str]) -> list[Interface]:
    """What an export uses, seen through what is exported too: exports and the imports that they rest on directly."""

    def needs(node: Interface) -> Iterable[Interface]:
        return interface_dependencies(node) if node is interface or node in exported else ()

    return toposort([interface], needs)[:-1]


def _elaborate_imports(world: World) -> dict[str, WorldItem]:
    imports: dict[str, WorldItem] = {}
    for name, item in world.imports.items():
        if isinstance(item, InterfaceItem):
            needed = toposort([item.interface], interface_dependencies)[:-1]
        elif isinstance(item, TypeDef) and item.used_from is not None:
            needed = toposort([item.used_from], interface_dependencies)
        else:
            needed = []
        for interface in needed:
            if interface.id not in imports:
                gate = item.gate
                imports[interface.id] = world.imports.get(interface.id, InterfaceItem(interface, None, gate))
        imports.setdefault(name, item)
    return imports


# ---- substitution --------------------------------------------------------------------------------------------------


def substitute_type(type: Type, types: Mapping[TypeDef, TypeDef]) -> Type:
    """`type` with named types replaced."""
    match type:
        case Prim():
            return type
        case TypeDef():
            return types.get(type, type)
        case OwnType(resource=resource) | BorrowType(resource=resource):
            return type.__class__(types.get(resource, resource))
        case ListType(element=element, length=length):
            return ListType(substitute_type(element, types), length)
        case TupleType(types=inner):
            return TupleType(tuple(substitute_type(t, types) for t in inner))
        case OptionType(type=inner_type):
            return OptionType(substitute_type(inner_type, types))
        case MapType(key=key, value=value):
            return MapType(substitute_type(key, types), substitute_type(value, types))
        case ResultType(ok=ok, error=error):
            return ResultType(*(None if t is None else substitute_type(t, types) for t in (ok, error)))
        case StreamType(element=part) | FutureType(element=part):
            return type.__class__(None if part is None else substitute_type(part, types))


def substitute(kind: TypeKind, types: Mapping[TypeDef, TypeDef]) -> TypeKind:
    """A type or the body of a named one with named types replaced."""
    match kind:
        case Record(fields=fields):
            return Record(tuple(attrs.evolve(f, type=substitute_type(f.type, types)) for f in fields))
        case Variant(cases=cases):
            return Variant(
                tuple(c if c.type is None else attrs.evolve(c, type=substitute_type(c.type, types)) for c in cases)
            )
        case Prim() | ListType() | TupleType() | OptionType() | ResultType() | MapType() | StreamType() | FutureType():
            return substitute_type(kind, types)
        case OwnType() | BorrowType() | TypeDef():
            return substitute_type(kind, types)
    return kind
