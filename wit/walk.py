"""What types consist of: a step inside, what they name, what they look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wit.model import (
    BorrowType,
    FutureType,
    Interface,
    ListType,
    MapType,
    OptionType,
    OwnType,
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
)

__all__ = ["children", "interface_dependencies", "type_text", "typedefs_of"]


def children(kind: TypeKind) -> tuple[Type, ...]:
    """The types directly inside a type or the body of a named one (for `OwnType` and `BorrowType` the resource)."""
    match kind:
        case ListType(element=t):
            return (t,)
        case OptionType(type=t):
            return (t,)
        case OwnType(resource=r) | BorrowType(resource=r):
            return (r,)
        case TupleType(types=ts):
            return ts
        case MapType(key=k, value=v):
            return (k, v)
        case ResultType(ok=ok, error=error):
            return tuple(t for t in (ok, error) if t is not None)
        case StreamType(element=e) | FutureType(element=e):
            return () if e is None else (e,)
        case Record(fields=fields):
            return tuple(f.type for f in fields)
        case Variant(cases=cases):
            return tuple(c.type for c in cases if c.type is not None)
        case TypeDef():
            return (kind,)
    return ()


def typedefs_of(kind: TypeKind) -> Iterator[TypeDef]:
    """Every `TypeDef` that a type or body mentions by itself, left to right; does not look into them."""
    if isinstance(kind, TypeDef):
        yield kind
        return
    stack = list(reversed(children(kind)))
    while stack:
        here = stack.pop()
        if isinstance(here, TypeDef):
            yield here
        else:
            stack.extend(reversed(children(here)))


def interface_dependencies(owner: Interface | World) -> list[Interface]:
    """The interfaces that an interface or a world's own types come from by `use`, each once, in order of use."""
    found: dict[int, Interface] = {}
    for typedef in owner.types.values():
        source = typedef.used_from
        if source is not None:
            found.setdefault(id(source), source)
    return list(found.values())


def type_text(type: Type | None, name: Callable[[str], str] = str) -> str:
    """A type as WIT text: `result<list<u8>, errno>`; None is `_`. `name` writes the names of named types."""
    match type:
        case None:
            return "_"
        case Prim():
            return str(type.value)
        case TypeDef() as typedef:
            return name(typedef.name)
        case OwnType(resource=resource):
            return name(resource.name)
        case BorrowType(resource=resource):
            return f"borrow<{name(resource.name)}>"
        case ListType(element=element, length=length):
            return f"list<{type_text(element, name)}{'' if length is None else f', {length}'}>"
        case ResultType(ok=ok, error=error):
            if error is None:
                return "result" if ok is None else f"result<{type_text(ok, name)}>"
            return f"result<{type_text(ok, name)}, {type_text(error, name)}>"
        case _:
            inside = ", ".join(type_text(t, name) for t in children(type))
            keyword = _KEYWORDS[type.__class__]
            return f"{keyword}<{inside}>" if inside else keyword


_KEYWORDS: dict[type, str] = {
    TupleType: "tuple",
    OptionType: "option",
    MapType: "map",
    StreamType: "stream",
    FutureType: "future",
}
