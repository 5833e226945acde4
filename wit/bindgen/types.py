"""WIT types as annotations.

Values that Python *takes* from a component have exact types (`bytes`, `list[int]`); what Python *gives* may be wider
(any buffer, any sequence). The table is that of the value documentation of `component_rt`.

Modules go by names with an underscore (`_abc.Sequence`), which no WIT name begins with, so that nothing generated
can hide them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

from wit.model import (
    BorrowType,
    Enum,
    Flags,
    FutureType,
    ListType,
    MapType,
    OptionType,
    OwnType,
    Prim,
    Record,
    Resource,
    ResultType,
    StreamType,
    TupleType,
    Type,
    TypeDef,
    Variant,
)
from wit.walk import typedefs_of

__all__ = ["MAX_SIZE", "Annotator", "Flow", "heavy_aliases"]

_PRIMS = {
    Prim.BOOL: "bool",
    Prim.F32: "float",
    Prim.F64: "float",
    Prim.CHAR: "str",
    Prim.STRING: "str",
    Prim.ERROR_CONTEXT: "str",
}


MAX_SIZE = 30
"""How many named types an alias may come to that is written out."""


class Flow(enum.Enum):
    """Whether Python takes a value from a component or gives it one."""

    TAKES = "takes"
    GIVES = "gives"


class Annotator:
    """Renders types. `named` says what the class of a record, variant, enum, flags type or resource is called."""

    def __init__(
        self, named: Callable[[TypeDef, Flow], str], shadowed: frozenset[str], heavy: frozenset[TypeDef]
    ) -> None:
        self._named = named
        self._shadowed = shadowed
        self._heavy = heavy

    def builtin(self, name: str) -> str:
        """A built-in type, qualified if a name of the world hides it."""
        return f"_builtins.{name}" if name in self._shadowed else name

    def result(self, type: Type | None, flow: Flow) -> str:
        """The annotation of a function's result: of a `result` its success, since failure is raised."""
        type = _resolved(type)
        if isinstance(type, ResultType):
            type = type.ok
        return "None" if type is None else self.of(type, flow)

    def of(self, type: Type, flow: Flow) -> str:
        """The annotation of a value."""
        if isinstance(type, TypeDef) and type.definition in self._heavy:
            return "_typing.Any"
        resolved = _resolved(type)
        assert resolved is not None
        gives = flow is Flow.GIVES
        match resolved:
            case Prim.ERROR_CONTEXT if not gives:
                return "Exception"
            case Prim():
                return self.builtin(_PRIMS.get(resolved, "int"))
            case TypeDef() as typedef:
                return self._named(typedef, flow)
            case OwnType(resource=resource) | BorrowType(resource=resource):
                return self._named(resource.definition, flow)
            case ListType(element=element) if _resolved(element) is Prim.U8:
                options = ("bytes", "bytearray", "memoryview") if gives else ("bytes",)
                return " | ".join(map(self.builtin, options))
            case ListType(element=element):
                return f"{'_abc.Sequence' if gives else self.builtin('list')}[{self.of(element, flow)}]"
            case TupleType(types=types):
                return f"{self.builtin('tuple')}[{', '.join(self.of(t, flow) for t in types)}]"
            case OptionType(type=inner) if isinstance(_resolved(inner), OptionType):
                return f"_values.Some[{self.of(inner, flow)}] | None"
            case OptionType(type=inner):
                return f"{self.of(inner, flow)} | None"
            case ResultType(ok=ok):
                return f"_values.Ok[{'None' if ok is None else self.of(ok, flow)}] | _values.Err"
            case MapType(key=key, value=value):
                table = "_abc.Mapping" if gives else self.builtin("dict")
                return f"{table}[{self.of(key, flow)}, {self.of(value, flow)}]"
            case StreamType(element=element):
                return self._stream(element, flow)
            case FutureType(element=element):
                inside = "None" if element is None else self.of(element, flow)
                return f"_abc.Awaitable[{inside}] | {inside}" if gives else f"_abc.Awaitable[{inside}]"

    def _stream(self, element: Type | None, flow: Flow) -> str:
        gives = flow is Flow.GIVES
        if element is not None and _resolved(element) is Prim.U8:
            buffer = self.of(ListType(element), flow)
            return f"{buffer} | _abc.AsyncIterable[{buffer}]" if gives else "_trio.abc.ReceiveStream"
        inside = "None" if element is None else self.of(element, flow)
        if gives:
            return f"_abc.Iterable[{inside}] | _abc.AsyncIterable[{inside}]"
        return f"_trio.abc.ReceiveChannel[{inside}]"


def heavy_aliases(definitions: Iterable[TypeDef]) -> frozenset[TypeDef]:
    """The aliases (dependencies first) that would be too long if written out, as `of` writes aliases.

    Aliases may hold each other several times over, so that a short text can stand for an endless annotation.
    """
    sizes: dict[TypeDef, int] = {}
    for definition in definitions:
        if not isinstance(definition.kind, Record | Variant | Enum | Flags | Resource):
            parts = typedefs_of(definition.kind)
            sizes[definition] = 1 + sum(min(sizes.get(part.definition, 1), MAX_SIZE + 1) for part in parts)
    return frozenset(definition for definition, size in sizes.items() if size > MAX_SIZE)


def _resolved(type: Type | None) -> Type | None:
    """The type behind aliases and uses; a definition of a record or the like stands for itself."""
    while isinstance(type, TypeDef):
        kind = type.kind
        match kind:
            case TypeDef() | Prim() | ListType() | TupleType() | OptionType() | ResultType() | MapType():
                type = kind
            case StreamType() | FutureType() | OwnType() | BorrowType():
                type = kind
            case _:
                break
    return type
