"""A WIT package as a component binary (WIT.md, "Package Format").

Each interface and world becomes a component type that the component exports under the plain name:

    (type (component                          ;; the wrapper: what the interface uses are its imports
      (import "wasi:io/poll" (instance …))
      (alias export … "pollable" (type))
      (export "local:demo/events" (instance …))))
    (export "events" (type …))

An instance type sees the types of other instances only through `alias outer`, so that each used type is aliased twice:
out of its instance in the enclosing scope, and from there into the instance type. A world is a component type inside of
a wrapper, where each import and export of an interface carries a copy of its instance type.

Interfaces come after those that they use, whatever their order in the text: decoders rely on it.

Docs and gates have no place in types. As wasm-tools do, they go to a custom section `package-docs`.
"""

from __future__ import annotations

from collections.abc import Iterable

from wit import codes
from wit.errors import WitError
from wit.graph import toposort
from wit.metadata import encode_metadata
from wit.model import (
    BorrowType,
    Enum,
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
)
from wit.walk import interface_dependencies

__all__ = ["encode"]


def encode(item: Resolve | Package, docs: bool = True) -> bytes:
    """The component binary of a package (of a `Resolve`: its root), with docs and gates unless `docs` is False."""
    package = item.root if isinstance(item, Resolve) else item
    out = bytearray(codes.PREAMBLE)
    index = 0
    for interface in toposort(package.interfaces.values(), interface_dependencies):
        if interface.package is not package:
            continue
        _top_level(out, interface.name or "", _interface_wrapper(interface), index)
        index += 2  # the type and its export
    for world in package.worlds.values():
        _top_level(out, world.name, _world_wrapper(world), index)
        index += 2
    metadata = encode_metadata(package) if docs else None
    if metadata is not None:
        _section(out, codes.SECTION_CUSTOM, _name(codes.PACKAGE_DOCS) + metadata)
    return bytes(out)


def _top_level(out: bytearray, name: str, scope: _Scope, index: int) -> None:
    _section(out, codes.SECTION_TYPE, b"\x01" + scope.type_bytes(codes.COMPONENT_TYPE))
    export = b"\x01\x00" + _name(name) + bytes((codes.SORT_TYPE,)) + _u32(index) + b"\x00"
    _section(out, codes.SECTION_EXPORT, export)


def _interface_wrapper(interface: Interface) -> _Scope:
    scope = _Scope()
    for needed in toposort([interface], interface_dependencies):
        last = needed is interface
        # Of what it uses only the types matter, but all of them: then every copy of an interface has the same order.
        instance = _instance_type(scope, needed, functions=last)
        scope.extern(codes.DECL_EXPORT if last else codes.DECL_IMPORT, needed.id, codes.SORT_INSTANCE, instance)
        scope.add_instance(needed)
    return scope


def _world_wrapper(world: World) -> _Scope:
    inner = _Scope()
    for name, item in world.imports.items():
        _world_item(inner, codes.DECL_IMPORT, name, item)
    for name, exported in world.exports.items():
        _world_item(inner, codes.DECL_EXPORT, name, exported)
    scope = _Scope()
    index = scope.add_type(inner.type_bytes(codes.COMPONENT_TYPE))
    scope.extern(codes.DECL_EXPORT, world.id, codes.SORT_COMPONENT, index)
    return scope


def _world_item(scope: _Scope, direction: int, name: str, item: Function | InterfaceItem | TypeDef) -> None:
    if isinstance(item, TypeDef):
        scope.define(item, direction)
    elif isinstance(item, Function):
        scope.function(item, direction, name)
    else:
        interface = item.interface
        instance = _instance_type(scope, interface, functions=True)
        named = interface.name is not None
        implements = interface.id if named and name != interface.id else None
        scope.extern(direction, name, codes.SORT_INSTANCE, instance, implements, item.external_id)
        scope.add_instance(interface if name == interface.id else None)


def _instance_type(outer: _Scope, interface: Interface, functions: bool) -> int:
    """Define the instance type of an interface in `outer`; return its index there."""
    scope = _Scope(outer)
    for typedef in interface.types.values():
        scope.define(typedef, codes.DECL_EXPORT)
    if functions:
        for name, function in interface.functions.items():
            scope.function(function, codes.DECL_EXPORT, name)
    return outer.add_new_type(scope.type_bytes(codes.INSTANCE_TYPE))


class _Scope:
    """The declarations of one component or instance type, and which index each named type has among them."""

    __slots__ = ("_anonymous", "_count", "_decls", "_instances", "_instances_count", "_named", "_outer", "_types")

    def __init__(self, outer: _Scope | None = None) -> None:
        self._outer = outer
        self._decls = bytearray()
        self._count = 0
        self._types = 0
        self._named: dict[TypeDef, int] = {}
        self._anonymous: dict[bytes, int] = {}
        self._instances: dict[Interface, int] = {}
        self._instances_count = 0

    def type_bytes(self, code: int) -> bytes:
        """The finished component or instance type."""
        return bytes((code,)) + _u32(self._count) + self._decls

    def _decl(self, code: int, body: bytes) -> None:
        self._decls.append(code)
        self._decls += body
        self._count += 1

    def add_type(self, body: bytes) -> int:
        """Define a type, or find the equal one that was defined before; return its index."""
        known = self._anonymous.get(body)
        if known is None:
            known = self._anonymous[body] = self.add_new_type(body)
        return known

    def add_new_type(self, body: bytes) -> int:
        """Define a type even if there is an equal one: an instance type for each instance, as decoders expect."""
        self._decl(codes.DECL_TYPE, body)
        return self._new_type()

    def _new_type(self) -> int:
        self._types += 1
        return self._types - 1

    def add_instance(self, interface: Interface | None) -> None:
        """Count the instance declared last; types of `interface` come from it from now on."""
        if interface is not None:
            self._instances[interface] = self._instances_count
            # The types of an earlier instance of the interface (an import) are not those of this one (an export).
            for typedef in interface.types.values():
                self._named.pop(typedef, None)
        self._instances_count += 1

    def extern(
        self,
        direction: int,
        name: str,
        sort: int,
        index: int,
        implements: str | None = None,
        external_id: str | None = None,
    ) -> None:
        """Import or export something of a type defined before."""
        self._decl(direction, _name_attributes(name, implements, external_id) + bytes((sort,)) + _u32(index))

    # ---- named types ----

    def define(self, typedef: TypeDef, direction: int) -> None:
        """Import or export a named type and let it go by the index of that."""
        name = _name_attributes(typedef.name, None, typedef.external_id)
        if isinstance(typedef.kind, Resource):
            bound = b"\x01"
        else:
            target = self.named(typedef.kind) if isinstance(typedef.kind, TypeDef) else self._kind(typedef.kind)
            bound = b"\x00" + _u32(target)
        self._decl(direction, name + bytes((codes.SORT_TYPE,)) + bound)
        self._named[typedef] = self._new_type()

    def named(self, typedef: TypeDef) -> int:
        """The index of a named type, brought into this scope if need be."""
        index = self._named.get(typedef)
        if index is None:
            owner = typedef.owner
            if isinstance(owner, Interface) and owner in self._instances:
                alias = (
                    bytes((codes.SORT_TYPE, codes.ALIAS_EXPORT)) + _u32(self._instances[owner]) + _name(typedef.name)
                )
            else:
                if self._outer is None:
                    raise WitError(f"type `{typedef.id}` is not in scope where it is used")
                alias = bytes((codes.SORT_TYPE, codes.ALIAS_OUTER)) + b"\x01" + _u32(self._outer.named(typedef))
            self._decl(codes.DECL_ALIAS, alias)
            index = self._named[typedef] = self._new_type()
        return index

    def _kind(self, kind: TypeKind) -> int:
        """The index of the type that a definition stands for."""
        match kind:
            case Prim():
                return self.add_type(_prim(kind))
            case Record(fields=fields):
                body = _vector(_name(f.name) + self._value(f.type) for f in fields)
                return self.add_type(_code("record") + body)
            case Variant(cases=cases):
                body = _vector(_name(c.name) + self._optional(c.type) + b"\x00" for c in cases)
                return self.add_type(_code("variant") + body)
            case Enum(cases=labels):
                return self.add_type(_code("enum") + _vector(_name(c.name) for c in labels))
            case Flags(flags=flags):
                return self.add_type(_code("flags") + _vector(_name(f.name) for f in flags))
            case Resource() | TypeDef():
                raise AssertionError("resources and aliases are defined by their bounds")
            case _:
                return self.add_type(self._anonymous_type(kind))

    # ---- value types ----

    def _value(self, type: Type) -> bytes:
        """A `valtype`: the code of a primitive type, or an index."""
        if isinstance(type, Prim):
            return _prim(type)
        if isinstance(type, TypeDef):
            return _s33(self.named(type))
        return _s33(self.add_type(self._anonymous_type(type)))

    def _optional(self, type: Type | None) -> bytes:
        return b"\x00" if type is None else b"\x01" + self._value(type)

    def _anonymous_type(self, type: Type) -> bytes:
        match type:
            case ListType(element=element, length=None):
                return _code("list") + self._value(element)
            case ListType(element=element, length=int(length)):
                return _code("fixed-list") + self._value(element) + _u32(length)
            case TupleType(types=types):
                return _code("tuple") + _vector(map(self._value, types))
            case OptionType(type=inner):
                return _code("option") + self._value(inner)
            case ResultType(ok=ok, error=error):
                return _code("result") + self._optional(ok) + self._optional(error)
            case MapType(key=key, value=value):
                return _code("map") + self._value(key) + self._value(value)
            case StreamType(element=item):
                return _code("stream") + self._optional(item)
            case FutureType(element=item):
                return _code("future") + self._optional(item)
            case OwnType(resource=resource):
                return _code("own") + _u32(self.named(resource))
            case BorrowType(resource=resource):
                return _code("borrow") + _u32(self.named(resource))
        raise AssertionError(f"{type!r} has a name or is primitive")

    # ---- functions ----

    def function(self, function: Function, direction: int, name: str) -> None:
        """Import or export a function."""
        body = bytes((codes.FUNC_ASYNC_TYPE if function.is_async else codes.FUNC_TYPE,))
        body += _vector(_name(p.name) + self._value(p.type) for p in function.params)
        body += b"\x01\x00" if function.result is None else b"\x00" + self._value(function.result)
        self.extern(direction, name, codes.SORT_FUNC, self.add_type(body), None, function.external_id)


# ---- bytes ---------------------------------------------------------------------------------------------------------


def _section(out: bytearray, id: int, body: bytes) -> None:
    out.append(id)
    out += _u32(len(body))
    out += body


def _u32(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _s33(index: int) -> bytes:
    """An index where a negative number would be a type code: signed LEB128."""
    out = bytearray()
    while index >= 0x40:
        out.append(index & 0x7F | 0x80)
        index >>= 7
    out.append(index)
    return bytes(out)


def _name(text: str) -> bytes:
    data = text.encode()
    return _u32(len(data)) + data


def _vector(items: Iterable[bytes]) -> bytes:
    parts = list(items)
    return _u32(len(parts)) + b"".join(parts)


def _prim(prim: Prim) -> bytes:
    return bytes((codes.PRIM_CODES[prim],))


def _code(keyword: str) -> bytes:
    return bytes((codes.TYPE_CODES[keyword],))


def _name_attributes(name: str, implements: str | None, external_id: str | None) -> bytes:
    attributes = []
    if implements is not None:
        attributes.append(bytes((codes.ATTRIBUTE_IMPLEMENTS,)) + _name(implements))
    if external_id is not None:
        attributes.append(bytes((codes.ATTRIBUTE_EXTERNAL_ID,)) + _name(external_id))
    if not attributes:
        return b"\x00" + _name(name)
    return b"\x02" + _name(name) + _vector(attributes)
