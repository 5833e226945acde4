"""A component binary that packages WIT → model (WIT.md, "Package Format"); the inverse of `wit.encode`.

Types are evaluated while they are read. An instance type, however, is only a template until an import or export gives
it a name and so an interface: its declarations are kept as a reader and evaluated then. The same interface occurs many
times, once in full and elsewhere as a copy of what others use of it; all copies become one `Interface`, and must agree.

Structural types of the binary share by index and can stand for enormous trees: their size and depth is limited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs

from wit import codes
from wit.errors import WitError
from wit.graph import Cycle, toposort
from wit.metadata import apply_metadata
from wit.model import (
    BorrowType,
    Case,
    Enum,
    EnumCase,
    Field,
    Flag,
    Flags,
    Function,
    FutureType,
    Interface,
    InterfaceItem,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Package,
    Param,
    Prim,
    Record,
    Resolve,
    Resource,
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
from wit.names import (
    is_canonical_version,
    is_interface_name,
    is_kebab,
    parse_interface_id,
    parse_plain_name,
    strong_key,
)
from wit.reader import Reader
from wit.structure import reachable_packages, structure
from wit.walk import typedefs_of

__all__ = ["MAX_DECLARATIONS", "MAX_TYPE_SIZE", "decode_package"]

MAX_TYPE_SIZE = 100_000
"""How many nodes the tree of an anonymous type may have."""
MAX_TYPE_DEPTH = 100
MAX_DECLARATIONS = 1_000_000
"""How many declarations are evaluated at most, those of a type each time that it is used."""

T = TypeVar("T")
_PRIMS = {code: prim for prim, code in codes.PRIM_CODES.items()}
_KINDS = {code: keyword for keyword, code in codes.TYPE_CODES.items()}


@attrs.frozen
class _Signature:
    params: tuple[Param, ...]
    result: Type | None
    is_async: bool


@attrs.frozen(eq=False)
class _Template:
    """A component or instance type (`code`) whose declarations are not evaluated yet."""

    code: int
    body: Reader


@attrs.frozen
class _Weight:
    """Size and depth of the tree that a type stands for."""

    size: int = 1
    depth: int = 1


_Entry = TypeKind | _Signature | _Template
_LIGHT = _Weight()


@attrs.frozen
class _Extern:
    """An import or export declaration."""

    name: str
    implements: str | None
    external_id: str | None
    sort: int
    index: int | None
    """The type's index; None for `(sub resource)`."""


def decode_package(data: bytes) -> Resolve:
    """The package that a component binary holds, with what the binary says of other packages.

    Raises `WitError` if the bytes are no component or the component is no WIT package.
    """
    if data[:8] != codes.PREAMBLE:
        core = data[:4] == codes.PREAMBLE[:4] and data[6:8] == b"\0\0"
        raise WitError("a core module is not a WIT package" if core else "not a component binary (bad preamble)")
    return _Decoder().decode(Reader(data, 8))


class _Decoder:
    def __init__(self) -> None:
        self.packages: dict[str, Package] = {}
        self._metadata: list[bytes] = []
        self._exported: set[str] = set()
        self._budget = MAX_DECLARATIONS

    def decode(self, reader: Reader) -> Resolve:
        top = _Scope(self, None)
        exported: list[str] = []  # ids, in order
        while not reader.at_end():
            start = reader.position
            id = reader.byte()
            body = reader.sub(reader.u32())
            if id == codes.SECTION_TYPE:
                for _ in range(body.count()):
                    top.read_type(body)
            elif id == codes.SECTION_EXPORT:
                for _ in range(body.count()):
                    exported.append(self._top_level(body, top))
            elif id == codes.SECTION_CUSTOM:
                if body.name() == codes.PACKAGE_DOCS:
                    self._metadata.append(body.take(body.end - body.position))
                continue
            else:
                reader.fail("not a WIT package: it has more than types and their exports", start)
            if not body.at_end():
                body.fail("section size mismatch")
        return self._finish(exported)

    def _top_level(self, reader: Reader, top: _Scope) -> str:
        """One export of the package: an interface or world; returns its id."""
        start = reader.position
        name = _name_attributes(reader)[0]
        sort, index, ascribed = reader.byte(), reader.u32(), reader.flag("export type")
        if sort != codes.SORT_TYPE or ascribed:
            reader.fail(f"not a WIT package: export `{name}` is no plain export of a type", start)
        template = top.get(index, reader)
        if not isinstance(template, _Template) or template.code != codes.COMPONENT_TYPE:
            reader.fail(f"not a WIT package: export `{name}` is no component type", start)
        top.add(template)
        wrapper = _Scope(self, top)
        exports = [e for e in wrapper.declarations(template) if e[0] == codes.DECL_EXPORT]
        if len(exports) != 1:
            reader.fail(f"not a WIT package: the type of `{name}` does not have one export", start)
        extern = exports[0][1]
        id = parse_interface_id(extern.name)
        if id.interface != name:
            reader.fail(f"export `{name}` describes `{extern.name}`", start)
        if strong_key(name) in self._exported:
            reader.fail(f"export `{name}` conflicts with an earlier one", start)
        self._exported.add(strong_key(name))
        if extern.sort == codes.SORT_COMPONENT:
            package = self.package(extern.name)
            world = World(name)
            package.add(world)
            _build_world(self, wrapper, wrapper.template(extern, reader), world)
        return extern.name

    def _finish(self, exported: list[str]) -> Resolve:
        if not exported:
            raise WitError("the component exports no interface or world, so that no package is named")
        packages = {self.package(name).id: self.package(name) for name in exported}
        if len(packages) > 1:
            raise WitError(f"the component holds more than one package: {', '.join(sorted(packages))}")
        (root,) = packages.values()
        names = [parse_interface_id(name).interface for name in exported]
        root.interfaces = {
            name: root.interfaces[name] for name in (*names, *root.interfaces) if name in root.interfaces
        }
        for package in self.packages.values():
            for interface in package.interfaces.values():
                _sort_types(interface)
        for data in self._metadata:
            apply_metadata(root, data)
        return Resolve(root, {package.id: package for package in reachable_packages(root)})

    def spend(self, reader: Reader) -> None:
        """Count a declaration that is evaluated: small binaries can ask for the same large type very often."""
        self._budget -= 1
        if self._budget < 0:
            reader.fail(f"more than {MAX_DECLARATIONS} declarations")

    def package(self, name: str) -> Package:
        """The package of an interface or world id."""
        id = parse_interface_id(name)
        found = self.packages.get(id.package_id)
        if found is None:
            found = self.packages[id.package_id] = Package(id.namespace, id.package, id.version)
        return found

    def interface(self, name: str) -> Interface:
        """The interface of this id, the same for the same id."""
        package = self.package(name)
        label = parse_interface_id(name).interface
        if label not in package.interfaces:
            package.add(Interface(label))
        return package.interfaces[label]


def _sort_types(interface: Interface) -> None:
    """Put the types, gathered from several copies, behind those that they refer to."""

    def needs(name: str) -> list[str]:
        return [t.name for t in typedefs_of(interface.types[name].kind) if t.owner is interface]

    try:
        interface.types = {name: interface.types[name] for name in toposort(list(interface.types), needs)}
    except Cycle:
        raise WitError(f"types of `{interface.id}` contain themselves") from None


# ---- scopes --------------------------------------------------------------------------------------------------------


class _Scope:
    """The index spaces of one component or instance type."""

    __slots__ = ("_instances", "_outer", "_types", "_weights", "decoder")

    def __init__(self, decoder: _Decoder, outer: _Scope | None) -> None:
        self.decoder = decoder
        self._outer = outer
        self._types: list[_Entry] = []
        self._weights: list[_Weight] = []
        self._instances: list[Interface] = []

    def add(self, entry: _Entry, weight: _Weight = _LIGHT) -> None:
        self._types.append(entry)
        self._weights.append(weight)

    def get(self, index: int, reader: Reader) -> _Entry:
        if index >= len(self._types):
            reader.fail(f"unknown type {index}")
        return self._types[index]

    def template(self, extern: _Extern, reader: Reader) -> _Template:
        """The component or instance type of a declaration."""
        wanted = codes.COMPONENT_TYPE if extern.sort == codes.SORT_COMPONENT else codes.INSTANCE_TYPE
        entry = self.get(extern.index or 0, reader)
        if not isinstance(entry, _Template) or entry.code != wanted:
            reader.fail(f"the type of `{extern.name}` is of the wrong sort")
        return entry

    # ---- declarations ----

    def declarations(self, template: _Template) -> list[tuple[int, _Extern]]:
        """Evaluate the declarations of a wrapper: imported and exported instances become interfaces."""
        found = []
        for direction, extern, reader in self.read(template):
            if extern.sort == codes.SORT_INSTANCE:
                interface = self.decoder.interface(extern.name)
                self.fill(interface, extern, reader)
                self._instances.append(interface)
            elif extern.sort != codes.SORT_COMPONENT or direction != codes.DECL_EXPORT:
                reader.fail("not a WIT package: a wrapper imports and exports instances only")
            found.append((direction, extern))
        return found

    def fill(self, interface: Interface, extern: _Extern, reader: Reader) -> None:
        """Evaluate the instance type of a declaration as the contents of an interface."""
        scope = _Scope(self.decoder, self)
        seen: set[str] = set()
        for _, inner, where in scope.read(self.template(extern, reader)):
            if strong_key(inner.name) in seen:
                where.fail(f"export `{inner.name}` conflicts with an earlier one")
            seen.add(strong_key(inner.name))
            if inner.sort == codes.SORT_TYPE:
                typedef = scope.typedef(inner, where)
                scope.add(_merge_type(interface, typedef, where))
            elif inner.sort == codes.SORT_FUNC:
                function = scope.function(inner, interface.types, where)
                _merge_function(interface, function, where)
            else:
                where.fail("not a WIT package: an interface holds types and functions only")

    def read(self, template: _Template) -> _Declarations:
        """The imports and exports of a template, each yielded when all before it was evaluated."""
        return _Declarations(self, template)

    def typedef(self, extern: _Extern, reader: Reader) -> TypeDef:
        """The named type that a declaration makes."""
        if not is_kebab(extern.name):
            reader.fail(f"`{extern.name}` is not in kebab case")
        kind: _Entry = Resource() if extern.index is None else self.get(extern.index, reader)
        if isinstance(kind, _Signature | _Template):
            reader.fail(f"type `{extern.name}` is no value type or resource")
        return TypeDef(extern.name, kind, external_id=extern.external_id)

    def function(self, extern: _Extern, types: dict[str, TypeDef], reader: Reader) -> Function:
        """The function that a declaration makes; `types` are those that its name may refer to."""
        signature = self.get(extern.index or 0, reader)
        if not isinstance(signature, _Signature):
            reader.fail(f"the type of `{extern.name}` is no function type")
        name = parse_plain_name(extern.name)
        resource = None
        if name.resource is not None:
            resource = types.get(name.resource)
            if resource is None or not isinstance(resource.kind, Resource):
                reader.fail(f"`{extern.name}` names no resource")
        params, result = signature.params, signature.result
        if name.kind == "method" and params[:1] != (Param("self", BorrowType(resource or TypeDef("", Resource()))),):
            reader.fail(f"the first parameter of `{extern.name}` is not `self`, a borrow of the resource")
        if name.kind == "constructor":
            made = result.ok if isinstance(result, ResultType) else result
            if not isinstance(made, OwnType) or made.resource is not resource:
                reader.fail(f"the result of `{extern.name}` is not its resource")
        return Function(
            name.label, params, result, signature.is_async, name.kind, resource, external_id=extern.external_id
        )

    def read_alias(self, reader: Reader) -> None:
        """Evaluate an alias of a type: of an enclosing scope, or of an instance."""
        start = reader.position
        sort, kind = reader.byte(), reader.byte()
        if sort != codes.SORT_TYPE:
            reader.fail("not a WIT package: only types are aliased", start)
        first = reader.u32()
        if kind == codes.ALIAS_OUTER:
            index = reader.u32()
            scope: _Scope | None = self
            for _ in range(min(first, 4)):
                scope = None if scope is None else scope._outer
            if scope is None or first > 4:
                reader.fail("invalid outer alias count", start)
            entry = scope.get(index, reader)
            self.add(entry, scope._weights[index])
        elif kind == codes.ALIAS_EXPORT:
            name = reader.name()
            if first >= len(self._instances):
                reader.fail(f"unknown instance {first}", start)
            if name not in self._instances[first].types:
                reader.fail(f"instance {first} has no type `{name}`", start)
            self.add(self._instances[first].types[name])
        else:
            reader.fail("not a WIT package: unknown kind of alias", start)

    def add_instance(self, interface: Interface) -> None:
        self._instances.append(interface)

    # ---- types ----

    def read_type(self, reader: Reader) -> None:
        """Read a type definition and add it."""
        start = reader.position
        code = reader.byte()
        if code in _PRIMS:
            self.add(_PRIMS[code])
        elif code in (codes.FUNC_TYPE, codes.FUNC_ASYNC_TYPE):
            self.add(self._signature(reader, code == codes.FUNC_ASYNC_TYPE))
        elif code in (codes.COMPONENT_TYPE, codes.INSTANCE_TYPE):
            begin = reader.position
            _skip_declarations(reader, 0)
            self.add(_Template(code, Reader(reader.data, begin, reader.position)))
        elif code in _KINDS:
            weights: list[_Weight] = []
            entry = _READERS[_KINDS[code]](self, reader, weights)
            weight = _Weight(1 + sum(w.size for w in weights), 1 + max((w.depth for w in weights), default=0))
            if weight.size > MAX_TYPE_SIZE or weight.depth > MAX_TYPE_DEPTH:
                reader.fail("type is too large", start)
            self.add(entry, weight)
        else:
            reader.fail(f"unknown type code 0x{code:x}", start)

    def _signature(self, reader: Reader, is_async: bool) -> _Signature:
        params = tuple(Param(reader.label(), self.value(reader)) for _ in range(reader.count()))
        if reader.flag("result list"):
            if reader.byte() != 0:
                reader.fail("a function has one result at most", reader.position - 1)
            return _Signature(params, None, is_async)
        return _Signature(params, self.value(reader), is_async)

    def value(self, reader: Reader, weights: list[_Weight] | None = None) -> Type:
        """A `valtype`."""
        start = reader.position
        index = reader.s33()
        if index < 0:
            prim = _PRIMS.get(index & 0x7F)
            if prim is None or index < -64:
                reader.fail("unknown value type", start)
            return prim
        entry = self.get(index, reader)
        if isinstance(entry, TypeDef):
            if entry.is_resource:
                reader.fail("a resource is no value type", start)
            return entry
        if isinstance(entry, _Signature | _Template | Record | Variant | Enum | Flags | Resource):
            reader.fail(f"type {index} has no name and cannot be used as a value type in WIT", start)
        if weights is not None:
            weights.append(self._weights[index])
        return entry

    def optional(self, reader: Reader, weights: list[_Weight]) -> Type | None:
        return self.value(reader, weights) if reader.flag("optional type") else None

    def resource(self, reader: Reader) -> TypeDef:
        start = reader.position
        entry = self.get(reader.u32(), reader)
        if not isinstance(entry, TypeDef) or not entry.is_resource:
            reader.fail("a handle is not of a resource", start)
        return entry


class _Declarations:
    """Iterates over the declarations of a template and evaluates types and aliases on the way."""

    def __init__(self, scope: _Scope, template: _Template) -> None:
        self._scope = scope
        body = template.body
        self._reader = Reader(body.data, body.position, body.end)
        self._left = self._reader.u32()

    def __iter__(self) -> _Declarations:
        return self

    def __next__(self) -> tuple[int, _Extern, Reader]:
        reader, scope = self._reader, self._scope
        while self._left:
            self._left -= 1
            scope.decoder.spend(reader)
            code = reader.byte()
            if code == codes.DECL_TYPE:
                scope.read_type(reader)
            elif code == codes.DECL_ALIAS:
                scope.read_alias(reader)
            elif code in (codes.DECL_IMPORT, codes.DECL_EXPORT):
                return code, _read_extern(reader), reader
            else:
                reader.fail("not a WIT package: unknown declaration", reader.position - 1)
        raise StopIteration


def _merge_type(interface: Interface, typedef: TypeDef, reader: Reader) -> TypeDef:
    """Add a type to an interface, or find that it is there from another copy of the interface."""
    known = interface.types.get(typedef.name)
    if known is None:
        return interface.add_type(typedef)
    if structure(known) != structure(typedef):
        reader.fail(f"type `{known.id}` has two different definitions")
    return known


def _merge_function(interface: Interface, function: Function, reader: Reader) -> None:
    known = interface.functions.get(function.full_name)
    if known is None:
        interface.add_function(function)
    elif structure(known) != structure(function):
        reader.fail(f"function `{function.full_name}` of `{interface.id}` has two different types")


def _build_world(decoder: _Decoder, wrapper: _Scope, template: _Template, world: World) -> None:
    """Evaluate the component type of a world."""
    scope = _Scope(decoder, wrapper)
    seen: set[tuple[int, str]] = set()
    for direction, extern, reader in scope.read(template):
        key = direction, strong_key(extern.name)
        if key in seen:
            reader.fail(f"`{extern.name}` of world `{world.id}` conflicts with an earlier name")
        seen.add(key)
        item: WorldItem
        if extern.sort == codes.SORT_INSTANCE:
            item = _world_interface(decoder, scope, extern, reader)
        elif extern.sort == codes.SORT_FUNC:
            item = scope.function(extern, world.types, reader)
        elif extern.sort == codes.SORT_TYPE and direction == codes.DECL_IMPORT:
            item = scope.typedef(extern, reader)
            scope.add(item)
        else:
            reader.fail(f"not a WIT package: `{extern.name}` of a world is of another sort")
        if direction == codes.DECL_IMPORT:
            world.add_import(item, extern.name)
        elif not isinstance(item, TypeDef):
            world.add_export(item, extern.name)


def _world_interface(decoder: _Decoder, scope: _Scope, extern: _Extern, reader: Reader) -> InterfaceItem:
    id = extern.name if is_interface_name(extern.name) else extern.implements
    interface = Interface(None) if id is None else decoder.interface(id)
    if not is_interface_name(extern.name) and not is_kebab(extern.name):
        reader.fail(f"`{extern.name}` is not in kebab case")
    scope.fill(interface, extern, reader)
    scope.add_instance(interface)
    return InterfaceItem(interface, external_id=extern.external_id)


# ---- pieces --------------------------------------------------------------------------------------------------------


def _name_attributes(reader: Reader) -> tuple[str, str | None, str | None]:
    """The name, what it implements, and its external id. A version that was split is put together again."""
    start = reader.position
    form = reader.byte()
    if form > 2:
        reader.fail(f"invalid leading byte 0x{form:x} for a name", start)
    name = reader.name()
    found: dict[int, str] = {}
    for _ in range(reader.count() if form == 2 else 0):
        kind = reader.byte()
        if kind > codes.ATTRIBUTE_EXTERNAL_ID or kind in found:
            reader.fail("unknown or repeated attribute of a name", reader.position - 1)
        found[kind] = reader.name()
    suffix = found.get(codes.ATTRIBUTE_VERSION_SUFFIX)
    if suffix is not None and is_canonical_version(name.partition("@")[2]):
        name += suffix
    if is_interface_name(name):
        parse_interface_id(name)
    return name, found.get(codes.ATTRIBUTE_IMPLEMENTS), found.get(codes.ATTRIBUTE_EXTERNAL_ID)


def _read_extern(reader: Reader) -> _Extern:
    name, implements, external_id = _name_attributes(reader)
    start = reader.position
    sort = reader.byte()
    if sort not in (codes.SORT_FUNC, codes.SORT_TYPE, codes.SORT_COMPONENT, codes.SORT_INSTANCE):
        reader.fail(f"not a WIT package: sort 0x{sort:x}", start)
    if sort == codes.SORT_TYPE and reader.flag("type bound"):
        return _Extern(name, implements, external_id, sort, None)
    return _Extern(name, implements, external_id, sort, reader.u32())


def _skip_declarations(reader: Reader, depth: int) -> None:
    """Move behind the declarations of a component or instance type."""
    if depth > 3:
        reader.fail("not a WIT package: types nest too deeply")
    for _ in range(reader.count()):
        code = reader.byte()
        if code == codes.DECL_TYPE:
            _skip_type(reader, depth)
        elif code == codes.DECL_ALIAS:
            reader.byte()
            kind = reader.byte()
            reader.u32()
            if kind == codes.ALIAS_OUTER:
                reader.u32()
            else:
                reader.name()
        elif code in (codes.DECL_IMPORT, codes.DECL_EXPORT):
            _read_extern(reader)
        else:
            reader.fail("not a WIT package: unknown declaration", reader.position - 1)


def _skip_type(reader: Reader, depth: int) -> None:
    code = reader.byte()
    if code in (codes.COMPONENT_TYPE, codes.INSTANCE_TYPE):
        _skip_declarations(reader, depth + 1)
    elif code in (codes.FUNC_TYPE, codes.FUNC_ASYNC_TYPE):
        for _ in range(reader.count()):
            reader.name()
            reader.s33()
        if reader.flag("result list"):
            reader.byte()
        else:
            reader.s33()
    elif code not in _PRIMS:
        if code not in _KINDS:
            reader.fail(f"unknown type code 0x{code:x}", reader.position - 1)
        _READERS[_KINDS[code]](_SKIPPING, reader, [])


class _Skipping(_Scope):
    """A scope in which every index is some type: for moving over definitions."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def value(self, reader: Reader, weights: list[_Weight] | None = None) -> Type:
        reader.s33()
        return Prim.BOOL

    def resource(self, reader: Reader) -> TypeDef:
        reader.u32()
        return _SOME_RESOURCE


_SOME_RESOURCE = TypeDef("some", Resource())
_SKIPPING = _Skipping()


def _several(reader: Reader, what: str, element: Callable[[], T]) -> tuple[T, ...]:
    start = reader.position
    items = tuple(element() for _ in range(reader.count()))
    if not items:
        reader.fail(f"a {what} cannot be empty", start)
    return items


def _unique(items: tuple[T, ...], reader: Reader, label: Callable[[T], str]) -> tuple[T, ...]:
    keys = {strong_key(label(item)) for item in items}
    if len(keys) != len(items):
        reader.fail("names of fields or cases conflict")
    return items


def _record(scope: _Scope, reader: Reader, weights: list[_Weight]) -> TypeKind:
    fields = _several(reader, "record", lambda: Field(reader.label(), scope.value(reader, weights)))
    return Record(_unique(fields, reader, lambda field: field.name))


def _variant(scope: _Scope, reader: Reader, weights: list[_Weight]) -> TypeKind:
    def case() -> Case:
        made = Case(reader.label(), scope.optional(reader, weights))
        if reader.byte() != 0:
            reader.fail("a case does not end with 0", reader.position - 1)
        return made

    return Variant(_unique(_several(reader, "variant", case), reader, lambda case: case.name))


def _enum(scope: _Scope, reader: Reader, weights: list[_Weight]) -> TypeKind:
    return Enum(_unique(_several(reader, "enum", lambda: EnumCase(reader.label())), reader, lambda case: case.name))


def _flags(scope: _Scope, reader: Reader, weights: list[_Weight]) -> TypeKind:
    return Flags(_unique(_several(reader, "flags", lambda: Flag(reader.label())), reader, lambda flag: flag.name))


def _fixed_list(scope: _Scope, reader: Reader, weights: list[_Weight]) -> TypeKind:
    element = scope.value(reader, weights)
    length = reader.u32()
    if length == 0:
        reader.fail("a list of fixed length cannot be empty")
    return ListType(element, length)


_READERS: dict[str, Callable[[_Scope, Reader, list[_Weight]], TypeKind]] = {
    "record": _record,
    "variant": _variant,
    "enum": _enum,
    "flags": _flags,
    "list": lambda scope, reader, weights: ListType(scope.value(reader, weights)),
    "fixed-list": _fixed_list,
    "tuple": lambda scope, reader, weights: TupleType(_several(reader, "tuple", lambda: scope.value(reader, weights))),
    "option": lambda scope, reader, weights: OptionType(scope.value(reader, weights)),
    "result": lambda scope, reader, weights: ResultType(
        scope.optional(reader, weights), scope.optional(reader, weights)
    ),
    "own": lambda scope, reader, weights: OwnType(scope.resource(reader)),
    "borrow": lambda scope, reader, weights: BorrowType(scope.resource(reader)),
    "stream": lambda scope, reader, weights: StreamType(scope.optional(reader, weights)),
    "future": lambda scope, reader, weights: FutureType(scope.optional(reader, weights)),
    "map": lambda scope, reader, weights: MapType(scope.value(reader, weights), scope.value(reader, weights)),
}
