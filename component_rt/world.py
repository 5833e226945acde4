"""The world of a component as WIT: from resolved component types to `wit.model`.

A component knows types by structure and by what introduced them (`TypeName`); WIT knows them by name and owner. The
builder gives each exported type of an instance and each imported type of the root a `TypeDef`, and follows a type's
chain of origins to tell a definition from a `use` or an alias. Imports and exports of one interface id become one
interface, as in a WIT package: types and functions are gathered.

What WIT has no words for is left out: imported and exported components, core modules and values, instances within
instances, functions under interface names, and annotated functions whose resource is not among the types beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from component_rt.model import ValidatedComponent
from component_rt.types import (
    Attributes,
    ComponentType,
    ExternType,
    FuncType,
    InstanceType,
    ResourceId,
    ResourceType,
    TypeBound,
    TypeName,
    ValType,
)
from wit import model as w
from wit.names import is_interface_name, parse_interface_id, parse_plain_name, strong_key

__all__ = ["world_of"]

ROOT = "root"
"""Name of the world, and of the namespace of its package `root:component`."""


def world_of(component: ValidatedComponent | ComponentType) -> w.World:
    """The world that a component targets. Its `package` is `root:component`: `wit.to_text` of it shows all that it refers to."""
    t = component.type if isinstance(component, ValidatedComponent) else component
    return _Builder().build(t)


_Owner = w.Interface | w.World


@attrs.define(eq=False)
class _Known:
    """The types introduced in one place: by introduction, and resources by identity."""

    names: dict[TypeName, w.TypeDef] = attrs.Factory(dict)
    resources: dict[ResourceId, w.TypeDef] = attrs.Factory(dict)


@attrs.define(eq=False)
class _Builder:
    packages: dict[str, w.Package] = attrs.Factory(dict)
    everywhere: _Known = attrs.Factory(_Known)
    places: dict[int, _Known] = attrs.Factory(dict)
    """By identity of the interface or world."""

    def build(self, t: ComponentType) -> w.World:
        package = self.package(ROOT, "component", None)
        world = w.World(ROOT)
        package.add(world)
        # Types that functions of the root use must have been seen, so functions come after everything else; the
        # order among the items is then put back to that of the component.
        self.items(world, t.imports, t.import_attributes, exported=False)
        self.items(world, t.exports, t.export_attributes, exported=True)
        return world

    def package(self, namespace: str, name: str, version: str | None) -> w.Package:
        key = f"{namespace}:{name}@{version}"
        if key not in self.packages:
            self.packages[key] = w.Package(namespace, name, version)
        return self.packages[key]

    def interface(self, name: str) -> w.Interface:
        """The interface of an id, the same for the same id."""
        id = parse_interface_id(name)
        package = self.package(id.namespace, id.package, id.version)
        if id.interface not in package.interfaces:
            package.add(w.Interface(id.interface))
        return package.interfaces[id.interface]

    # ---- items ----

    def items(
        self,
        world: w.World,
        externs: Mapping[str, ExternType],
        attributes: Mapping[str, Attributes],
        *,
        exported: bool,
    ) -> None:
        """The imports or the exports."""
        add = world.add_export if exported else world.add_import
        for name, extern in externs.items():
            said = attributes.get(name, Attributes())
            match extern:
                case InstanceType():
                    interface = self.named_interface(name, said.implements)
                    self.fill(interface, extern)
                    # An external id cannot be written beside the id of an interface.
                    add(
                        w.InterfaceItem(interface, external_id=None if is_interface_name(name) else said.external_id),
                        name,
                    )
                case FuncType() if not is_interface_name(name) and not (exported and name.startswith("[")):
                    function = self.function(name, extern, world, said)
                    if function is not None:
                        add(function, name)
                case TypeBound(t=inner) if name not in world.imports and isinstance(inner, ValType | ResourceType):
                    # WIT exports no types: what exported functions need is then a type of the world.
                    self.typedef(name, inner, world, said)

    def named_interface(self, name: str, implements: str | None) -> w.Interface:
        if is_interface_name(name):
            return self.interface(name)
        return w.Interface(None) if implements is None else self.interface(implements)

    def fill(self, interface: w.Interface, t: InstanceType) -> None:
        """Add the types and functions that an instance exports."""
        for name, extern in t.exports.items():
            said = t.attributes.get(name, Attributes())
            if isinstance(extern, TypeBound) and isinstance(extern.t, ValType | ResourceType):
                self.typedef(name, extern.t, interface, said)
        for name, extern in t.exports.items():
            if isinstance(extern, FuncType) and name not in interface.functions and not is_interface_name(name):
                function = self.function(name, extern, interface, t.attributes.get(name, Attributes()))
                if function is not None:
                    interface.add_function(function)

    def function(self, name: str, t: FuncType, owner: _Owner, said: Attributes) -> w.Function | None:
        plain = parse_plain_name(name)
        resource = None
        if plain.resource is not None:
            resource = owner.types.get(plain.resource)
            if resource is None or not isinstance(resource.kind, w.Resource):
                return None
        params = tuple([w.Param(label, self.type(of, owner)) for label, of in t.params])
        result = None if t.result is None else self.type(t.result, owner)
        external = said.external_id
        return w.Function(plain.label, params, result, t.is_async, plain.kind, resource, external_id=external)

    # ---- types ----

    def place(self, owner: _Owner) -> _Known:
        return self.places.setdefault(id(owner), _Known())

    def typedef(self, label: str, t: Any, owner: _Owner, said: Attributes) -> None:
        """The type that an export of an instance or an import of the root introduces."""
        here = self.place(owner)
        known = owner.types.get(label)
        if known is None:
            known = w.TypeDef(label, self.kind(t, owner, here), external_id=said.external_id)
            if isinstance(owner, w.World):
                owner.add_import(known)
            else:
                owner.add_type(known)
        for table in (here, self.everywhere):
            if t.name is not None:
                table.names.setdefault(t.name, known)
            if isinstance(t, ResourceType):
                table.resources.setdefault(t.id, known)

    def kind(self, t: Any, owner: _Owner, here: _Known) -> w.TypeKind:
        """What a new type stands for: the type it was made from if that is known, else its definition."""
        if isinstance(t, ResourceType):
            known = here.resources.get(t.id) or self.everywhere.resources.get(t.id)
            return w.Resource() if known is None else known
        name = None if t.name is None else t.name.origin
        while name is not None:
            known = here.names.get(name) or self.everywhere.names.get(name)
            if known is not None and known.name:
                return known
            name = name.origin
        return self.body(t, owner)

    def body(self, t: Any, owner: _Owner) -> w.TypeKind:
        """The definition of a type."""
        match t.kind:
            case "record":
                return w.Record(tuple([w.Field(f.label, self.type(f.t, owner)) for f in t.fields]))
            case "variant":
                cases = [w.Case(c.label, None if c.t is None else self.type(c.t, owner)) for c in t.cases]
                return w.Variant(tuple(cases))
            case "enum":
                return w.Enum(tuple([w.EnumCase(label) for label in t.labels]))
            case "flags":
                return w.Flags(tuple([w.Flag(label) for label in t.labels]))
        return self.spelled(t, owner)

    def type(self, t: Any, owner: _Owner) -> w.Type:
        """A type where it is used: by name if it has one."""
        name = t.name
        while name is not None:
            known = self.place(owner).names.get(name) or self.everywhere.names.get(name)
            if known is not None:
                return self.local(known, owner)
            name = name.origin
        if t.kind in ("record", "variant", "enum", "flags"):
            # Visibility has seen to it that this has a name somewhere; a component type made by hand may differ.
            return self.invent(t, owner)
        return self.spelled(t, owner)

    def spelled(self, t: Any, owner: _Owner) -> w.Type:
        """A type by its structure."""

        def optional(inner: ValType | None) -> w.Type | None:
            return None if inner is None else self.type(inner, owner)

        match t.kind:
            case "list":
                return w.ListType(self.type(t.t, owner), t.length)
            case "tuple":
                return w.TupleType(tuple([self.type(inner, owner) for inner in t.ts]))
            case "option":
                return w.OptionType(self.type(t.t, owner))
            case "result":
                return w.ResultType(optional(t.ok), optional(t.error))
            case "map":
                return w.MapType(self.type(t.k, owner), self.type(t.v, owner))
            case "stream":
                return w.StreamType(optional(t.t))
            case "future":
                return w.FutureType(optional(t.t))
            case "own":
                return w.OwnType(self.resource(t.rt, owner))
            case "borrow":
                return w.BorrowType(self.resource(t.rt, owner))
        return w.Prim(t.kind)

    def resource(self, t: ResourceType, owner: _Owner) -> w.TypeDef:
        """The name of a resource in `owner`."""
        here = self.place(owner)
        known = (t.name and here.names.get(t.name)) or here.resources.get(t.id)
        if known is None:
            known = (t.name and self.everywhere.names.get(t.name)) or self.everywhere.resources.get(t.id)
        return self.invent(t, owner) if known is None else self.local(known, owner)

    def local(self, known: w.TypeDef, owner: _Owner) -> w.TypeDef:
        """`known` as a name of `owner`, by a `use` if it belongs to another."""
        if known.owner is owner:
            return known
        for typedef in owner.types.values():
            if typedef.kind is known:
                return typedef
        if not isinstance(known.owner, w.Interface) or known.owner.name is None:
            # Types of a world or of an inline interface cannot be used elsewhere: they are written out again.
            return self.add(w.TypeDef(self.unique(known.name, owner), known.kind), owner)
        return self.add(w.TypeDef(self.unique(known.name, owner), known), owner)

    def invent(self, t: Any, owner: _Owner) -> w.TypeDef:
        made = w.TypeDef(self.unique(t.kind, owner), w.Resource() if isinstance(t, ResourceType) else w.Prim.BOOL)
        self.add(made, owner)
        if not isinstance(t, ResourceType):
            made.kind = self.body(t, owner)
        if t.name is not None:
            self.place(owner).names[t.name] = made
        if isinstance(t, ResourceType):
            self.place(owner).resources[t.id] = made
        return made

    def add(self, typedef: w.TypeDef, owner: _Owner) -> w.TypeDef:
        if isinstance(owner, w.World):
            owner.add_import(typedef)
        else:
            owner.add_type(typedef)
        return typedef

    def unique(self, label: str, owner: _Owner) -> str:
        names = [*owner.types, *owner.functions]
        if isinstance(owner, w.World):
            names += [*owner.imports, *owner.exports]
        taken = {strong_key(name) for name in names}
        if strong_key(label) not in taken:
            return label
        return next(name for i in range(2, len(taken) + 3) if strong_key(name := f"{label}{i}") not in taken)
