"""Models as a whole: comparing them by content, and what packages they reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wit.model import (
    Enum,
    Flags,
    Function,
    FutureType,
    Interface,
    InterfaceItem,
    ListType,
    Package,
    Prim,
    Record,
    Resolve,
    Resource,
    ResultType,
    StreamType,
    TypeDef,
    TypeKind,
    Variant,
    World,
)
from wit.walk import children, interface_dependencies

__all__ = ["reachable_packages", "structure"]


def structure(item: Resolve | Package | Interface | World | TypeDef | Function | InterfaceItem) -> tuple[Any, ...]:
    """The content of an item as nested tuples, fit for `==`: names instead of identities, no spans.

    The order of types, functions, imports and exports does not count, that of fields, cases, flags and parameters
    does. A named interface inside a world stands there by its id only.
    """
    match item:
        case Resolve(root=root, packages=packages):
            return root.id, tuple(structure(packages[name]) for name in sorted(packages))
        case Package():
            members = (_structures(table) for table in (item.interfaces, item.worlds))
            return item.id, item.docs, *members
        case Interface():
            return item.id, item.docs, item.gate, _structures(item.types), _structures(item.functions)
        case World():
            return item.id, item.docs, item.gate, _structures(item.imports), _structures(item.exports)
        case InterfaceItem(interface=interface):
            inside = structure(interface) if interface.name is None else interface.id
            return inside, item.docs, item.gate, item.external_id
        case TypeDef():
            return item.name, item.docs, item.gate, item.external_id, _kind_structure(item.kind)
        case Function():
            params = tuple((p.name, _kind_structure(p.type)) for p in item.params)
            result = None if item.result is None else _kind_structure(item.result)
            return item.full_name, params, result, item.is_async, item.docs, item.gate, item.external_id


def _structures(table: dict[str, Any]) -> tuple[Any, ...]:
    return tuple((name, structure(table[name])) for name in sorted(table))


def _kind_structure(kind: TypeKind) -> tuple[Any, ...]:
    name = kind.__class__.__name__
    match kind:
        case Prim():
            return name, kind.value
        case TypeDef():
            return name, kind.id
        case ListType(element=element, length=length):
            return name, length, _kind_structure(element)
        case ResultType() | StreamType() | FutureType():
            parts = (kind.ok, kind.error) if isinstance(kind, ResultType) else (kind.element,)
            return name, *(None if t is None else _kind_structure(t) for t in parts)
        case Record(fields=fields):
            return name, *((f.name, f.docs, _kind_structure(f.type)) for f in fields)
        case Variant(cases=cases):
            return name, *((c.name, c.docs, None if c.type is None else _kind_structure(c.type)) for c in cases)
        case Enum() | Flags() | Resource():
            return name, kind
        case _:
            return name, *map(_kind_structure, children(kind))


def reachable_packages(package: Package) -> list[Package]:
    """The packages that a package refers to, directly or not, and itself: dependencies first.

    (In a model that comes from a component, packages may refer to each other in a circle; any order does then.)
    """
    done: dict[Package, None] = {}
    path: dict[Package, Iterator[Package]] = {package: _referred_packages(package)}
    while path:
        here, rest = next(reversed(path.items()))
        for other in rest:
            if other not in done and other not in path:
                path[other] = _referred_packages(other)
                break
        else:
            done[here] = None
            path.popitem()
    return list(done)


def _referred_packages(package: Package) -> Iterator[Package]:
    interfaces = [*package.interfaces.values()]
    for world in package.worlds.values():
        interfaces += interface_dependencies(world)
        items = (*world.imports.values(), *world.exports.values())
        interfaces += [item.interface for item in items if isinstance(item, InterfaceItem)]
    for interface in interfaces:
        for near in (interface, *interface_dependencies(interface)):
            if near.package is not None and near.package is not package:
                yield near.package
