"""Value types, function types and resource types of the component model.

The rules of this file:

- Value types, resource types and function types are *hash-consed*: building the same type twice gives the same object.
  Types are directed graphs with sharing, and `result<t, t>` nested forty times has 2**40 leaves as a tree, so anything
  that walked a type as a tree (attrs' own `==` and `hash` too) could be kept busy for ever by a small component.
- A type may carry a `TypeName`: which definition, import or export introduced it (`type bytes = list<u8>` of an
  interface); `label` is what to call it, if anything.
  The name is **not** part of equality: `==` and `hash` look at `canonical`, the same type without any names, and cost
  O(1). Named and unnamed forms are distinct objects, therefore compare with `==`, never with `is`; dispatch with
  `match` on the class or with a table on `kind`.
- A resource type is equal to itself only (`ResourceId`, compared by identity). Types which mention resources are
  rewritten by substitution when a component is instantiated (`validate/substitute.py`).

Nouns follow the Explainer ("Type definitions") and the reference semantics' `definitions.py`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn, TypeVar

from core_rt.record import record

if TYPE_CHECKING:
    from core_rt import types as core

__all__ = [
    "BOOL",
    "CHAR",
    "ERROR_CONTEXT",
    "F32",
    "F64",
    "PRIMITIVES",
    "S8",
    "S16",
    "S32",
    "S64",
    "STRING",
    "U8",
    "U16",
    "U32",
    "U64",
    "BorrowType",
    "CaseType",
    "EnumType",
    "FieldType",
    "FlagsType",
    "FuncType",
    "FutureType",
    "ListType",
    "MapType",
    "OptionType",
    "OwnType",
    "PrimValType",
    "RecordType",
    "ResourceId",
    "ResourceType",
    "ResultType",
    "StreamType",
    "TupleType",
    "TypeName",
    "ValType",
    "VariantType",
    "under_names",
]

T = TypeVar("T", bound="_Type")

NO_RESOURCES: frozenset[ResourceId] = frozenset()
TREE_LIMIT = 1 << 40
"""`tree_size` counts no further than this, so that numbers stay small however often a type is shared."""
SPELLED_LIMIT = 500
"""Larger types are not written out in messages: as a tree they may be of any size."""


class _Entry(weakref.ref["_Type"]):
    """A type as the table holds it; takes itself out when the type goes.

    (`WeakValueDictionary` does the same at several times the price, which is felt when a component has thousands of types.)
    """

    __slots__ = ("key",)
    key: tuple[Any, ...]


_TABLE: dict[tuple[Any, ...], _Entry] = {}
_LOCK = threading.RLock()  # an entry may be taken out in the middle of anything, by the thread that holds the lock too


def _take_out(entry: _Entry, table: dict[tuple[Any, ...], _Entry] = _TABLE, lock: threading.RLock = _LOCK) -> None:
    # The defaults are there still when the interpreter shuts down and the module's globals are gone.
    with lock:
        if table.get(entry.key) is entry:
            del table[entry.key]


@record
class TypeName:
    """One introduction of a type; two types with the same name object come from the same one.

    `label` is that of the import or export which introduced it, None where a record, variant, enum or flags type is
    merely defined: it still has an identity (Explainer, "External Visibility of Types") but nothing to call it by.
    """

    label: str | None = None
    origin: TypeName | None = None
    """The name of the type that was given this one: what `use` and `type a = b` lead back to."""


@record
class ResourceId:
    """The identity of a resource type, as one component sees it. `debug` is for messages only."""

    debug: str | None = None
    rep: core.ValType | None = None
    """Core representation (`i32` or `i64`) of a resource that this component defines, None for an abstract one."""

    def __str__(self) -> str:
        return self.debug or "resource"


_put: Callable[[object, str, object], None] = object.__setattr__


def _intern(cls: type[T], name: TypeName | None, children: tuple[_Type, ...], key: tuple[Any, ...], *fields: Any) -> T:
    """The one object of class `cls` with these fields (in the order of its slots), which `key` identifies.

    Keys name child types by `id`, since `==` on them ignores names; the entry's value keeps its children alive, so an
    id is not reused as long as its entry lives.
    """
    whole = (cls, id(name), *key)
    entry = _TABLE.get(whole)
    found: Any = None if entry is None else entry()
    if found is not None:
        return found  # type: ignore[no-any-return]
    made = object.__new__(cls)
    for slot, value in zip(cls.__slots__, fields, strict=True):
        _put(made, slot, value)
    _settle(made, name, children)
    mine = _Entry(made, _take_out)
    mine.key = whole
    with _LOCK:
        entry = _TABLE.get(whole)
        found = None if entry is None else entry()
        if found is not None:
            return found  # type: ignore[no-any-return]
        _TABLE[whole] = mine
    return made


class _Type:
    """What value and resource types share. Instances are immutable; the derived numbers are fixed when one is made."""

    __slots__ = (
        "__weakref__",
        "_canonical",
        "_children",
        "depth",
        "has_borrow",
        "has_names",
        "has_resource",
        "name",
        "tree_size",
    )

    kind: ClassVar[str] = ""
    """The WIT keyword of the type (`"u8"`, `"list"`, ...): the key of dispatch tables. A field of primitives."""
    name: TypeName | None
    """What introduced the type, if it matters; not part of equality."""
    depth: int
    """Levels of nesting, 1 for a leaf."""
    tree_size: int
    """Nodes of the type written out as a tree, at most `TREE_LIMIT`."""
    has_resource: bool
    """Whether a resource type occurs anywhere inside."""
    has_borrow: bool
    """Whether a `borrow` occurs anywhere inside."""
    has_names: bool
    """Whether the type or anything inside has a name."""
    _canonical: Any
    """None: not asked for yet, or the type itself, since a reference to oneself would leave every type to the cycle collector."""
    _children: tuple[_Type, ...]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a type does not change: {name}")

    def children(self) -> tuple[_Type, ...]:
        """The types directly inside, in the order of the text format."""
        return self._children

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> Any:
        """This constructor over other children (as many as `children()` has), under `name`."""
        raise NotImplementedError

    def named(self, name: TypeName | None) -> Any:
        """The same type as introduced by `name`."""
        return self if name is self.name else self.rebuild(self._children, name)

    @property
    def resources(self) -> frozenset[ResourceId]:
        """Every resource that the type mentions. Collected each time: kept sets could take memory without bound."""
        if not self.has_resource:
            return NO_RESOURCES
        if isinstance(self, ResourceType):
            return frozenset((self.id,))
        found: set[ResourceId] = set()
        seen: set[int] = set()
        pending: list[_Type] = [self]
        while pending:
            t = pending.pop()
            if isinstance(t, ResourceType):
                found.add(t.id)
            for child in t._children:
                if child.has_resource and id(child) not in seen:
                    seen.add(id(child))
                    pending.append(child)
        return frozenset(found)

    @property
    def canonical(self) -> Any:
        """The type without names; equal types have the same canonical object."""
        if not self.has_names:
            return self
        if self._canonical is None:
            _set_canonical(self, self.rebuild([child.canonical for child in self._children]))
        return self._canonical

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self.canonical is other.canonical if isinstance(other, _Type) else NotImplemented

    def __hash__(self) -> int:
        return hash(id(self.canonical))

    @property
    def label(self) -> str | None:
        """The label under which an import or export introduced the type."""
        return None if self.name is None else self.name.label

    def __str__(self) -> str:
        if self.name is not None and self.name.label is not None:
            return self.name.label
        return self.spelled() if self.tree_size <= SPELLED_LIMIT else f"{self.kind} (too large to print)"

    def __repr__(self) -> str:
        return f"<{self}>"

    def spelled(self) -> str:
        """The type as WIT spells it where it is defined."""
        return self.kind


# Through the slots themselves, since `__setattr__` refuses and `object.__setattr__` looks each name up.
_set_name: Callable[[_Type, Any], None] = _Type.__dict__["name"].__set__
_set_children: Callable[[_Type, Any], None] = _Type.__dict__["_children"].__set__
_set_depth: Callable[[_Type, Any], None] = _Type.__dict__["depth"].__set__
_set_tree_size: Callable[[_Type, Any], None] = _Type.__dict__["tree_size"].__set__
_set_has_resource: Callable[[_Type, Any], None] = _Type.__dict__["has_resource"].__set__
_set_has_borrow: Callable[[_Type, Any], None] = _Type.__dict__["has_borrow"].__set__
_set_has_names: Callable[[_Type, Any], None] = _Type.__dict__["has_names"].__set__
_set_canonical: Callable[[_Type, Any], None] = _Type.__dict__["_canonical"].__set__


def _settle(t: _Type, name: TypeName | None, children: tuple[_Type, ...]) -> None:
    """Fix what all types have."""
    kind = t.kind
    depth = size = 1
    resource = kind == "resource"
    borrow = kind == "borrow"
    names = name is not None
    for child in children:
        if child.depth >= depth:
            depth = child.depth + 1
        size += child.tree_size
        if child.has_resource:
            resource = True
            if child.has_borrow:
                borrow = True
        if child.has_names:
            names = True
    _set_name(t, name)
    _set_children(t, children)
    _set_depth(t, depth)
    _set_tree_size(t, size if size < TREE_LIMIT else TREE_LIMIT)
    _set_has_resource(t, resource)
    _set_has_borrow(t, borrow)
    _set_has_names(t, names)
    _set_canonical(t, None)


class ValType(_Type):
    """A value type (`valtype` of the Explainer)."""

    __slots__ = ()


def _angle(kind: str, *args: object) -> str:
    return f"{kind}<{', '.join('_' if a is None else str(a) for a in args)}>"


class PrimValType(ValType):
    """A primitive type; `kind` is its WIT name. Use the constants `BOOL`, `S8`, ... `ERROR_CONTEXT`."""

    __slots__ = ("kind",)
    kind: str  # type: ignore[misc]  # the one family where the keyword differs by instance

    def __new__(cls, kind: str, *, name: TypeName | None = None) -> PrimValType:
        return _intern(cls, name, (), (kind,), kind)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> PrimValType:
        return PrimValType(self.kind, name=name)


class FieldType(NamedTuple):
    """A field of a record."""

    label: str
    t: ValType


class CaseType(NamedTuple):
    """A case of a variant; `t` is its payload."""

    label: str
    t: ValType | None = None


class RecordType(ValType):
    """`record { label: t, ... }`, at least one field."""

    __slots__ = ("fields",)
    kind: ClassVar[str] = "record"
    fields: tuple[FieldType, ...]

    def __new__(cls, fields: Iterable[FieldType | tuple[str, ValType]], *, name: TypeName | None = None) -> RecordType:
        made = tuple([FieldType(*f) for f in fields])
        return _intern(cls, name, tuple([t for _, t in made]), tuple([(label, id(t)) for label, t in made]), made)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> RecordType:
        return RecordType([(f.label, t) for f, t in zip(self.fields, children, strict=True)], name=name)

    def spelled(self) -> str:
        return "record { " + ", ".join(f"{f.label}: {f.t}" for f in self.fields) + " }"


class VariantType(ValType):
    """`variant { label(t), ... }`, at least one case."""

    __slots__ = ("cases",)
    kind: ClassVar[str] = "variant"
    cases: tuple[CaseType, ...]

    def __new__(
        cls, cases: Iterable[CaseType | tuple[str, ValType | None]], *, name: TypeName | None = None
    ) -> VariantType:
        made = tuple([CaseType(*c) for c in cases])
        children = tuple([t for _, t in made if t is not None])
        return _intern(cls, name, children, tuple([(label, id(t)) for label, t in made]), made)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> VariantType:
        rest = iter(children)
        return VariantType([(c.label, None if c.t is None else next(rest)) for c in self.cases], name=name)

    def spelled(self) -> str:
        cases = [c.label if c.t is None else f"{c.label}({c.t})" for c in self.cases]
        return "variant { " + ", ".join(cases) + " }"


class ListType(ValType):
    """`list<t>`, or `list<t, length>` with a fixed number of elements."""

    __slots__ = ("length", "t")
    kind: ClassVar[str] = "list"
    t: ValType
    length: int | None

    def __new__(cls, t: ValType, length: int | None = None, *, name: TypeName | None = None) -> ListType:
        return _intern(cls, name, (t,), (id(t), length), length, t)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> ListType:
        return ListType(children[0], self.length, name=name)

    def spelled(self) -> str:
        return _angle("list", self.t) if self.length is None else _angle("list", self.t, self.length)


class TupleType(ValType):
    """`tuple<t, ...>`, at least one type."""

    __slots__ = ("ts",)
    kind: ClassVar[str] = "tuple"
    ts: tuple[ValType, ...]

    def __new__(cls, ts: Iterable[ValType], *, name: TypeName | None = None) -> TupleType:
        made = tuple(ts)
        return _intern(cls, name, made, tuple(map(id, made)), made)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> TupleType:
        return TupleType(children, name=name)

    def spelled(self) -> str:
        return _angle("tuple", *self.ts)


class FlagsType(ValType):
    """`flags { label, ... }`, 1 to 32 labels."""

    __slots__ = ("labels",)
    kind: ClassVar[str] = "flags"
    labels: tuple[str, ...]

    def __new__(cls, labels: Iterable[str], *, name: TypeName | None = None) -> FlagsType:
        made = tuple(labels)
        return _intern(cls, name, (), made, made)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> FlagsType:
        return FlagsType(self.labels, name=name)

    def spelled(self) -> str:
        return f"{self.kind} {{ {', '.join(self.labels)} }}"


class EnumType(ValType):
    """`enum { label, ... }`, at least one label."""

    __slots__ = ("labels",)
    kind: ClassVar[str] = "enum"
    labels: tuple[str, ...]

    def __new__(cls, labels: Iterable[str], *, name: TypeName | None = None) -> EnumType:
        made = tuple(labels)
        return _intern(cls, name, (), made, made)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> EnumType:
        return EnumType(self.labels, name=name)

    def spelled(self) -> str:
        return f"{self.kind} {{ {', '.join(self.labels)} }}"


class OptionType(ValType):
    """`option<t>`."""

    __slots__ = ("t",)
    kind: ClassVar[str] = "option"
    t: ValType

    def __new__(cls, t: ValType, *, name: TypeName | None = None) -> OptionType:
        return _intern(cls, name, (t,), (id(t),), t)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> OptionType:
        return OptionType(children[0], name=name)

    def spelled(self) -> str:
        return _angle("option", self.t)


class ResultType(ValType):
    """`result<ok, error>`, either may be missing."""

    __slots__ = ("error", "ok")
    kind: ClassVar[str] = "result"
    ok: ValType | None
    error: ValType | None

    def __new__(
        cls, ok: ValType | None = None, error: ValType | None = None, *, name: TypeName | None = None
    ) -> ResultType:
        children = tuple([t for t in (ok, error) if t is not None])
        return _intern(cls, name, children, (id(ok), id(error)), error, ok)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> ResultType:
        rest = iter(children)
        ok = None if self.ok is None else next(rest)
        return ResultType(ok, None if self.error is None else next(rest), name=name)

    def spelled(self) -> str:
        if self.error is not None:
            return _angle("result", self.ok, self.error)
        return "result" if self.ok is None else _angle("result", self.ok)


class MapType(ValType):
    """`map<k, v>`; `k` is bool, an integer, char or string."""

    __slots__ = ("k", "v")
    kind: ClassVar[str] = "map"
    k: ValType
    v: ValType

    def __new__(cls, k: ValType, v: ValType, *, name: TypeName | None = None) -> MapType:
        return _intern(cls, name, (k, v), (id(k), id(v)), k, v)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> MapType:
        return MapType(*children, name=name)

    def spelled(self) -> str:
        return _angle("map", self.k, self.v)


class ResourceType(_Type):
    """A reference to a resource type. Not a value type: values are `own` and `borrow` handles to it."""

    __slots__ = ("id",)
    kind: ClassVar[str] = "resource"
    id: ResourceId

    def __new__(cls, id: ResourceId, *, name: TypeName | None = None) -> ResourceType:
        return _intern(cls, name, (), (id,), id)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> ResourceType:
        return ResourceType(self.id, name=name)

    def __str__(self) -> str:
        return self.label or str(self.id)


class OwnType(ValType):
    """`own<rt>`: a handle that owns the resource."""

    __slots__ = ("rt",)
    kind: ClassVar[str] = "own"
    rt: ResourceType

    def __new__(cls, rt: ResourceType, *, name: TypeName | None = None) -> OwnType:
        return _intern(cls, name, (rt,), (id(rt),), rt)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> OwnType:
        return OwnType(children[0], name=name)

    def spelled(self) -> str:
        return _angle("own", self.rt)


class BorrowType(ValType):
    """`borrow<rt>`: a handle lent for the time of a call."""

    __slots__ = ("rt",)
    kind: ClassVar[str] = "borrow"
    rt: ResourceType

    def __new__(cls, rt: ResourceType, *, name: TypeName | None = None) -> BorrowType:
        return _intern(cls, name, (rt,), (id(rt),), rt)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> BorrowType:
        return BorrowType(children[0], name=name)

    def spelled(self) -> str:
        return _angle("borrow", self.rt)


class StreamType(ValType):
    """`stream<t>`, or `stream` whose elements carry nothing."""

    __slots__ = ("t",)
    kind: ClassVar[str] = "stream"
    t: ValType | None

    def __new__(cls, t: ValType | None = None, *, name: TypeName | None = None) -> StreamType:
        return _intern(cls, name, () if t is None else (t,), (id(t),), t)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> StreamType:
        return StreamType(children[0] if children else None, name=name)

    def spelled(self) -> str:
        return self.kind if self.t is None else _angle(self.kind, self.t)


class FutureType(ValType):
    """`future<t>`, or `future` whose value carries nothing."""

    __slots__ = ("t",)
    kind: ClassVar[str] = "future"
    t: ValType | None

    def __new__(cls, t: ValType | None = None, *, name: TypeName | None = None) -> FutureType:
        return _intern(cls, name, () if t is None else (t,), (id(t),), t)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> FutureType:
        return FutureType(children[0] if children else None, name=name)

    def spelled(self) -> str:
        return self.kind if self.t is None else _angle(self.kind, self.t)


BOOL = PrimValType("bool")
S8 = PrimValType("s8")
U8 = PrimValType("u8")
S16 = PrimValType("s16")
U16 = PrimValType("u16")
S32 = PrimValType("s32")
U32 = PrimValType("u32")
S64 = PrimValType("s64")
U64 = PrimValType("u64")
F32 = PrimValType("f32")
F64 = PrimValType("f64")
CHAR = PrimValType("char")
STRING = PrimValType("string")
ERROR_CONTEXT = PrimValType("error-context")

PRIMITIVES: Mapping[str, PrimValType] = {
    t.kind: t for t in (BOOL, S8, U8, S16, U16, S32, U32, S64, U64, F32, F64, CHAR, STRING, ERROR_CONTEXT)
}


class FuncType(_Type):
    """`func(name: t, ...) -> result`, `async func` when `is_async`."""

    __slots__ = ("is_async", "params", "result")
    kind: ClassVar[str] = "func"
    params: tuple[tuple[str, ValType], ...]
    result: ValType | None
    is_async: bool

    def __new__(
        cls,
        params: Iterable[tuple[str, ValType]],
        result: ValType | None = None,
        is_async: bool = False,
        *,
        name: TypeName | None = None,
    ) -> FuncType:
        made = tuple([(label, t) for label, t in params])
        children = tuple([t for _, t in made])
        key = (is_async, id(result), *[(label, id(t)) for label, t in made])
        return _intern(cls, name, children if result is None else (*children, result), key, is_async, made, result)

    def rebuild(self, children: Sequence[Any], name: TypeName | None = None) -> FuncType:
        names = [label for label, _ in self.params]
        result = None if self.result is None else children[-1]
        return FuncType(zip(names, children, strict=False), result, self.is_async, name=name)

    def spelled(self) -> str:
        params = ", ".join(f"{n}: {t}" for n, t in self.params)
        arrow = "" if self.result is None else f" -> {self.result}"
        return f"{'async ' if self.is_async else ''}func({params}){arrow}"


def under_names(t: T, like: T, known: dict[tuple[int, int], Any] | None = None) -> T:
    """`t` with the names that an equal type gives to itself and to what is inside. Resources keep their identities."""
    known = {} if known is None else known
    key = id(t), id(like)
    made = known.get(key)
    if made is None:
        children = [under_names(a, b, known) for a, b in zip(t.children(), like.children(), strict=True)]
        changed = like.name is not t.name or any(a is not b for a, b in zip(children, t.children(), strict=True))
        made = known[key] = t.rebuild(children, like.name) if changed else t
    return made
