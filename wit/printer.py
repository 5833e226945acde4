"""Model → WIT text, in one canonical form: two spaces of indentation, `use` first, then types, then functions.

What is printed parses to an equal model (`structure()` compares them). Names that are keywords are written with `%`;
interfaces of the same package by name alone, others in full.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from wit.lexer import FORBIDDEN, KEYWORDS
from wit.model import (
    Enum,
    Flags,
    Function,
    Gate,
    Interface,
    InterfaceItem,
    OwnType,
    Package,
    Record,
    Resolve,
    Resource,
    Type,
    TypeDef,
    Variant,
    World,
    WorldItem,
)
from wit.structure import reachable_packages
from wit.walk import type_text

__all__ = ["ident", "to_text"]

# `error-context` is a type without being a keyword: only `%` tells a type of that name apart.
_ESCAPED = KEYWORDS | {"error-context"}
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNQUOTABLE = re.compile(rf'["\\\n\r\t]|{FORBIDDEN.pattern}')


def ident(name: str) -> str:
    """A label as it must be written: `%stream`, `blob`."""
    return f"%{name}" if name in _ESCAPED else name


def to_text(item: Resolve | Package | Interface | World | TypeDef | Function, nested: bool = True) -> str:
    """The WIT text of an item.

    Of a `Resolve` and of a `Package` it is a whole document, with the other packages (for a `Package`: those it
    refers to) nested behind the root, so that it can be parsed again; without them if `nested` is False. Of anything
    smaller it is that item's block.
    """
    match item:
        case Resolve(root=root, packages=packages):
            lines = _document(root, (p for p in packages.values() if p is not root and nested))
        case Package():
            lines = _document(item, (p for p in reachable_packages(item) if p is not item and nested))
        case Interface():
            lines = _interface(item)
        case World():
            lines = _world(item)
        case TypeDef():
            functions = [] if item.owner is None else item.owner.resource_functions(item)
            lines = _typedef(item, functions) if item.used_from is None else _use(item.used_from, [item], None)
        case Function():
            lines = _function(item)
    return "\n".join(lines) + "\n"


def _document(root: Package, others: Iterable[Package]) -> Iterator[str]:
    yield from _docs(root.docs)
    yield f"package {_package_name(root)};"
    members: list[Interface | World] = [*root.interfaces.values(), *root.worlds.values()]
    for member in members:
        yield ""
        yield from _world(member) if isinstance(member, World) else _interface(member)
    for package in others:
        yield ""
        yield from _docs(package.docs)
        groups = [_interface(i) for i in package.interfaces.values()] + [_world(w) for w in package.worlds.values()]
        yield from _block(f"package {_package_name(package)}", _separated(groups))


def _package_name(package: Package) -> str:
    names = ":".join(map(ident, package.namespace.split(":"))) + ":" + "/".join(map(ident, package.name.split("/")))
    return names if package.version is None else f"{names}@{package.version}"


# ---- blocks --------------------------------------------------------------------------------------------------------


def _block(head: str, body: Iterable[str]) -> Iterator[str]:
    lines = [f"  {line}" if line else "" for line in body]
    if not lines:
        yield f"{head} {{}}"
        return
    yield f"{head} {{"
    yield from lines
    yield "}"


def _separated(groups: Iterable[Iterable[str]]) -> Iterator[str]:
    """The groups with an empty line between each two."""
    first = True
    for group in groups:
        lines = list(group)
        if lines and not first:
            yield ""
        first = first and not lines
        yield from lines


def _docs(docs: str | None) -> Iterator[str]:
    if docs is not None:
        for line in docs.split("\n"):
            yield f"/// {FORBIDDEN.sub('�', line)}".rstrip()


def _head(docs: str | None, gate: Gate, external_id: str | None) -> Iterator[str]:
    yield from _docs(docs)
    if gate.unstable is not None:
        yield f"@unstable(feature = {ident(gate.unstable)})"
    if gate.since is not None:
        yield f"@since(version = {gate.since})"
    if gate.deprecated is not None:
        yield f"@deprecated(version = {gate.deprecated})"
    if external_id is not None:
        yield f"@external-id({_string(external_id)})"


def _string(text: str) -> str:
    return '"' + _UNQUOTABLE.sub(lambda match: _ESCAPES.get(match[0], f"\\u{{{ord(match[0]):x}}}"), text) + '"'


def _path(interface: Interface, package: Package | None) -> str:
    """How an interface is called from within `package`."""
    assert interface.name is not None, "an inline interface cannot be referred to"
    if interface.package is None or interface.package is package:
        return ident(interface.name)
    other = interface.package
    names = f"{_package_name(other).partition('@')[0]}/{ident(interface.name)}"
    return names if other.version is None else f"{names}@{other.version}"


# ---- interfaces and worlds -----------------------------------------------------------------------------------------


def _interface(interface: Interface) -> Iterator[str]:
    yield from _head(interface.docs, interface.gate, None)
    yield from _block(f"interface {ident(interface.name or '_')}", _interface_body(interface))


def _interface_body(interface: Interface) -> Iterator[str]:
    groups: list[Iterable[str]] = [_uses(interface)]
    for typedef in interface.types.values():
        if typedef.used_from is None:
            groups.append(_typedef(typedef, interface.resource_functions(typedef)))
    free = [function for function in interface.functions.values() if function.resource is None]
    return _separated([*groups, *_function_groups(free)])


def _function_groups(functions: list[Function]) -> Iterator[Iterable[str]]:
    """Functions one to a line, those with docs or attributes set off by empty lines."""
    group: list[str] = []
    for function in functions:
        lines = list(_function(function))
        if len(lines) > 1:
            if group:
                yield group
            yield lines
            group = []
        else:
            group += lines
    if group:
        yield group


def _uses(owner: Interface | World) -> Iterator[str]:
    """The `use` statements of an interface or world, one for each source, gate and doc comment."""
    groups: dict[tuple[int, Gate, str | None], list[TypeDef]] = {}
    for typedef in owner.types.values():
        source = typedef.used_from
        if source is not None:
            groups.setdefault((id(source), typedef.gate, typedef.docs), []).append(typedef)
    for typedefs in groups.values():
        source = typedefs[0].used_from
        assert source is not None
        yield from _use(source, typedefs, owner.package)


def _use(source: Interface, typedefs: list[TypeDef], package: Package | None) -> Iterator[str]:
    names = []
    for typedef in typedefs:
        assert isinstance(typedef.kind, TypeDef)
        origin = ident(typedef.kind.name)
        names.append(origin if typedef.kind.name == typedef.name else f"{origin} as {ident(typedef.name)}")
    yield from _head(typedefs[0].docs, typedefs[0].gate, None)
    yield f"use {_path(source, package)}.{{{', '.join(names)}}};"


def _world(world: World) -> Iterator[str]:
    yield from _head(world.docs, world.gate, None)
    groups: list[Iterable[str]] = [_uses(world)]
    for direction, table in (("import", world.imports), ("export", world.exports)):
        plain: list[str] = []
        for name, item in table.items():
            if isinstance(item, TypeDef):
                if item.used_from is None:
                    groups.append(_typedef(item, world.resource_functions(item)))
            elif isinstance(item, InterfaceItem) or item.resource is None:
                plain += _world_item(direction, name, item, world.package)
        groups.append(plain)
    yield from _block(f"world {ident(world.name)}", _separated(groups))


def _world_item(direction: str, name: str, item: WorldItem, package: Package | None) -> Iterator[str]:
    assert not isinstance(item, TypeDef)
    yield from _head(item.docs, item.gate, item.external_id)
    if isinstance(item, Function):
        yield f"{direction} {ident(name)}: {_signature(item)};"
    elif item.interface.name is None:
        yield from _block(f"{direction} {ident(name)}: interface", _interface_body(item.interface))
    elif name == item.interface.id:
        yield f"{direction} {_path(item.interface, package)};"
    else:
        yield f"{direction} {ident(name)}: {_path(item.interface, package)};"


# ---- types and functions -------------------------------------------------------------------------------------------


def _typedef(typedef: TypeDef, functions: list[Function]) -> Iterator[str]:
    yield from _head(typedef.docs, typedef.gate, typedef.external_id)
    name = ident(typedef.name)
    match typedef.kind:
        case Record(fields=fields):
            yield from _block(f"record {name}", _fields((f.docs, f"{ident(f.name)}: {_type(f.type)}") for f in fields))
        case Variant(cases=cases):
            rows = ((c.docs, ident(c.name) + ("" if c.type is None else f"({_type(c.type)})")) for c in cases)
            yield from _block(f"variant {name}", _fields(rows))
        case Enum(cases=labels):
            yield from _block(f"enum {name}", _fields((c.docs, ident(c.name)) for c in labels))
        case Flags(flags=flags):
            yield from _block(f"flags {name}", _fields((f.docs, ident(f.name)) for f in flags))
        case Resource():
            body = list(_separated(_function_groups(functions)))
            if body:
                yield from _block(f"resource {name}", body)
            else:
                yield f"resource {name};"
        case TypeDef():
            yield f"type {name} = {ident(typedef.kind.name)};"
        case OwnType(resource=resource):
            yield f"type {name} = own<{ident(resource.name)}>;"
        case _:
            yield f"type {name} = {_type(typedef.kind)};"


def _fields(rows: Iterable[tuple[str | None, str]]) -> Iterator[str]:
    for docs, text in rows:
        yield from _docs(docs)
        yield f"{text},"


def _function(function: Function) -> Iterator[str]:
    yield from _head(function.docs, function.gate, function.external_id)
    if function.kind == "constructor":
        result = function.result
        tail = "" if result is None or isinstance(result, OwnType) else f" -> {_type(result)}"
        yield f"constructor({_params(function)}){tail};"
    else:
        yield f"{ident(function.name)}: {'static ' if function.kind == 'static' else ''}{_signature(function)};"


def _signature(function: Function) -> str:
    result = "" if function.result is None else f" -> {_type(function.result)}"
    return f"{'async ' if function.is_async else ''}func({_params(function)}){result}"


def _params(function: Function) -> str:
    params = function.params[1:] if function.kind == "method" else function.params
    return ", ".join(f"{ident(p.name)}: {_type(p.type)}" for p in params)


def _type(type: Type) -> str:
    return type_text(type, ident)
